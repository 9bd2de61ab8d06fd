"""Image pairs that several tests measure."""

import numpy as np
import pytest
import skimage.data


@pytest.fixture(scope="session")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Crops of a photograph and noise, with small to large errors; float32 [3, 48, 40, 3]."""
    rng = np.random.default_rng(3)
    photo = skimage.data.astronaut() / 255.0
    sharp = np.stack([photo[:48, 200:240], photo[100:148, 180:220], rng.random((48, 40, 3))])
    noise = rng.normal(0, [[[[0.005]]], [[[0.1]]], [[[0.3]]]], sharp.shape)
    return np.float32(sharp), np.float32(np.clip(sharp + noise, 0, 1))


@pytest.fixture(scope="session")
def photos() -> list[tuple[np.ndarray, np.ndarray]]:
    """A photograph with a small and a large error, and a nearly white one; float64 [80, 90, 3]."""
    rng = np.random.default_rng(3)
    photo = skimage.data.astronaut()[60:140, 180:270] / 255.0
    white = 0.96 + 0.03 * photo
    return [
        (image, np.clip(image + rng.normal(0, noise, image.shape), 0, 1))
        for image, noise in ((photo, 0.01), (photo, 0.2), (white, 0.004))
    ]
