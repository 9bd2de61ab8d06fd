"""Every variant of SSIM against an independent float64 reference."""

import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import tensorflow as tf
from PIL import Image
from skimage.metrics import structural_similarity

from tfdeblur.metrics import METRICS
from tfdeblur.metrics.ssim import WINDOW

GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
COLORS = {"data_range": 1.0, "channel_axis": -1}


def volume_ssim(sharp, restored):
    """SSIM of a volume of depth 3 with SciPy's Gaussian, in float64."""

    def mean(values):
        return scipy.ndimage.gaussian_filter(values, 1.5, mode="nearest", truncate=3.5)

    mx, my = mean(sharp), mean(restored)
    vx, vy = mean(sharp**2) - mx**2, mean(restored**2) - my**2
    covariance = mean(sharp * restored) - mx * my
    top = (2 * mx * my + 1e-4) * (2 * covariance + 9e-4)
    return np.mean(top / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))


def reference_ssim(sharp, restored):
    return structural_similarity(sharp, restored, **COLORS, **GAUSSIAN)


def expected(sharp, restored):
    """All variants for one pair in float64; images in [0, 1]."""
    luma = [skimage.color.rgb2ycbcr(image)[..., 0] / 255 for image in (sharp, restored)]
    _, whole_map = structural_similarity(sharp, restored, full=True, **COLORS, **GAUSSIAN)
    return {
        "ssim": reference_ssim(sharp, restored),
        "ssim_uniform": structural_similarity(sharp, restored, **COLORS),
        "ssim_border": whole_map.mean(),
        "ssim_volume": volume_ssim(sharp, restored),
        "ssim_y": structural_similarity(*luma, data_range=1.0, **GAUSSIAN),
    }


def measured(sharp, restored, keys):
    pair = [np.float32(image)[np.newaxis] for image in (sharp, restored)]
    return {key: float(METRICS[key].compute(*pair)[0]) for key in keys}


@pytest.mark.parametrize("place", range(3))
def test_variants_equal_float64_references(photos, place) -> None:
    wanted = expected(*photos[place])
    found = measured(*photos[place], wanted)
    assert found == pytest.approx(wanted, abs=1e-5)


def test_variants_differ_from_each_other(photos) -> None:
    found = measured(*photos[1], expected(*photos[1]))
    assert np.min(np.diff(np.sort(list(found.values())))) > 1e-4


@pytest.mark.parametrize("level", [0.2, 0.9, 0.98, 0.999])
@pytest.mark.parametrize("contrast", [0.0, 1e-4, 1e-3, 0.02])
def test_ssim_of_bright_flat_images_equals_float64(level, contrast) -> None:
    """Where subtracting squared means would lose most digits."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(-contrast, contrast, (2, 64, 64, 3))
    sharp, restored = (np.float32(np.clip(level + part, 0, 1)) for part in noise)
    wanted = reference_ssim(np.float64(sharp), np.float64(restored))
    assert measured(sharp, restored, ["ssim"])["ssim"] == pytest.approx(wanted, abs=1e-5)


def test_ssim_of_half_black_and_half_white_images_equals_float64() -> None:
    """One level for the whole image is far from either half."""
    rng = np.random.default_rng(0)
    base = np.repeat([0.01, 0.99], 48)[:, np.newaxis, np.newaxis]
    pair = [np.float32(base + rng.uniform(-0.01, 0.01, (96, 64, 3))) for _ in range(2)]
    wanted = reference_ssim(*(np.float64(image) for image in pair))
    assert measured(*pair, ["ssim"])["ssim"] == pytest.approx(wanted, abs=1e-5)


def gopro(real_data):
    """Paths of whole 1280x720 frames of GoPro, (sharp, blurred)."""
    paths = sorted(real_data.glob("gopro/test/*/blur/*.png"))
    return [(path.parents[1] / "sharp" / path.name, path) for path in paths]


def reds(real_data):
    """Paths of whole 1280x720 frames of REDS, (sharp, blurred)."""
    paths = sorted(real_data.glob("reds/train_blur/*/*.png"))
    return [(real_data / "reds/train_sharp" / p.parent.name / p.name, p) for p in paths]


def read(paths):
    """Reads frames as float64 in [0, 1]."""
    return [np.asarray(Image.open(path).convert("RGB")) / 255.0 for path in paths]


@pytest.mark.slow
def test_ssim_of_real_pairs_equals_float64_and_nearly_tf_image(real_data) -> None:
    paths = gopro(real_data)
    assert paths
    for sharp, blurred in map(read, paths):
        found = measured(sharp, blurred, ["ssim"])["ssim"]
        assert found == pytest.approx(reference_ssim(sharp, blurred), abs=1e-5)
        pair = [np.float32(image)[np.newaxis] for image in (sharp, blurred)]
        assert found == pytest.approx(float(tf.image.ssim(*pair, 1.0)[0]), abs=1e-3)


@pytest.mark.slow
def test_variants_of_real_pairs_equal_float64_references(real_data) -> None:
    paths = [*gopro(real_data), *reds(real_data)]
    assert len(paths) >= 8
    worst: dict[str, float] = {}
    for pair in map(read, paths):
        wanted = expected(*pair)
        found = measured(*pair, wanted)
        for key, value in wanted.items():
            worst[key] = max(worst.get(key, 0.0), abs(found[key] - value))
    assert max(worst.values()) < 1e-5, worst


def test_ssim_of_identical_images_is_one(photos) -> None:
    sharp = photos[0][0]
    found = measured(sharp, sharp, expected(*photos[0]))
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=1e-6)


@pytest.mark.parametrize("key", ["ssim", "ssim_uniform", "ssim_border", "ssim_volume", "ssim_y"])
def test_images_smaller_than_the_window_are_rejected(key) -> None:
    metric = METRICS[key]
    assert metric.fits(11, 11) and not metric.fits(10, 40)
    small = np.zeros((1, WINDOW - 1, 32, 3), np.float32)
    with pytest.raises(ValueError, match="11 x 11"):
        metric.compute(small, small)
