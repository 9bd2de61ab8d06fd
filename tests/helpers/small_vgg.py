"""Weights of the first convolutions of VGG19, small enough to compute with NumPy."""

import numpy as np

LAYER = "block2_conv1"
SHAPES = {"block1_conv1": (3, 64), "block1_conv2": (64, 64), "block2_conv1": (64, 128)}


def random_weights() -> dict[str, np.ndarray]:
    """Returns weights that preserve the magnitude of features, with biases that matter."""
    rng = np.random.default_rng(3)
    arrays = {}
    for name, (before, after) in SHAPES.items():
        spread = np.sqrt(2 / (9 * before))
        arrays[f"{name}/kernel"] = np.float32(rng.normal(0, spread, (3, 3, before, after)))
        arrays[f"{name}/bias"] = np.float32(rng.normal(0, 10, after))
    return arrays


WEIGHTS = random_weights()
