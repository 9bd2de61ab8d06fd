"""Weights and images from seeded generators, equal in every process that knows their names.

Networks of other authors get them in `tests/torch_networks/run_authors_code.py`, ours in
`tests/tfdeblur/porting/test_authors_code.py`, so no weights are stored.
"""

import math
import zlib

import numpy as np


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the values of a weight of PyTorch, float32, from its name and shape."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if name.endswith("running_var"):
        values = np.exp(values / 4)
    elif name.endswith(("bias", "running_mean")):
        values *= 0.1
    elif len(shape) == 4 and shape[-1] > 0 and name.endswith("weight"):
        values /= 2 * math.sqrt(math.prod(shape[1:]))
    else:  # factors
        values = 1 + 0.2 * values
    return values.astype(np.float32)


def image(height: int, width: int, *, signed: bool = False) -> np.ndarray:
    """Returns smooth colors with some noise, float32 [1, H, W, 3] in [0, 1] or [-1, 1]."""
    rng = np.random.default_rng(height * 1000 + width)
    rows, columns = np.mgrid[:height, :width][..., None] / 7.0
    waves = np.sin(rows * rng.uniform(0.5, 2, 3) + columns * rng.uniform(0.5, 2, 3))
    colors = np.clip(0.5 + 0.4 * waves + rng.normal(0, 0.05, waves.shape), 0, 1)
    return (2 * colors - 1 if signed else colors)[None].astype(np.float32)
