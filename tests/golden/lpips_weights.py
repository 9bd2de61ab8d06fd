"""Random weights for LPIPS's networks, reproducible on every platform.

NumPy guarantees the bit stream of PCG64 across versions, but not that of its generators.
"""

import hashlib
import math

import numpy as np

# Convolutions before the five compared ReLUs: place in torchvision's `features`, channels, kernel.
BACKBONES = {
    "alex": [(0, 64, 11), (3, 192, 5), (6, 384, 3), (8, 256, 3), (10, 256, 3)],
    "vgg": [
        *((0, 64, 3), (2, 64, 3), (5, 128, 3), (7, 128, 3)),
        *((10, 256, 3), (12, 256, 3), (14, 256, 3), (17, 512, 3), (19, 512, 3), (21, 512, 3)),
        *((24, 512, 3), (26, 512, 3), (28, 512, 3)),
    ],
}
HEADS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
SEED = 2018


def uniform(bits, shape):
    """Random numbers in [0, 1)."""
    raw = bits.random_raw(math.prod(shape)) >> np.uint64(40)
    return (raw / 2.0**24).astype(np.float32).reshape(shape)


def random_backbone(network):
    """Arrays by torchvision's names, scaled to preserve the magnitude of activations."""
    bits, arrays, before = np.random.PCG64(SEED), {}, 3
    for place, channels, kernel in BACKBONES[network]:
        shape = (channels, before, kernel, kernel)
        bound = np.float32(math.sqrt(6 / math.prod(shape[1:])))
        arrays[f"features.{place}.weight"] = (2 * uniform(bits, shape) - 1) * bound
        arrays[f"features.{place}.bias"] = (2 * uniform(bits, (channels,)) - 1) * np.float32(0.1)
        before = channels
    return arrays


def random_heads(network):
    """Non-negative arrays by the reference's names, with some zeros."""
    bits = np.random.PCG64(SEED + 1)
    return {
        f"lin{place}.model.1.weight": np.maximum(uniform(bits, (1, count, 1, 1)) - 0.25, 0)
        for place, count in enumerate(HEADS[network])
    }


def random_channels():
    """The weights of DISTS's channels by the reference's names."""
    bits, shape = np.random.PCG64(SEED + 2), (1, 3 + sum(HEADS["vgg"]), 1, 1)
    return {
        name: np.float32(0.1) + np.float32(0.1) * uniform(bits, shape) for name in ("alpha", "beta")
    }


def random_images(height, width):
    """A smooth pair and one of noise: first and second images, uint8 [2, 2, height, width, 3]."""
    bits = np.random.PCG64(SEED + height * 1000 + width)
    down, right = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    smooth = np.stack([(3 * down + 2 * right) % 256, (down * right) % 256, 255 - down], -1)
    near = smooth + 40 * uniform(bits, smooth.shape)
    noise = 255 * uniform(bits, (2, *smooth.shape))
    first = [smooth, noise[0]]
    second = [near, noise[1]]
    return np.stack([first, second]).clip(0, 255).astype(np.uint8)


def digest(arrays):
    """The SHA-256 of arrays without their names."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
