"""Restores Levin's photographs by their measured kernels, to compare networks with.

    python examples/levin.py levin restored

It reads levin/blur/im1_kernel2_img.png with levin/gt/kernel2.png and writes
restored/richardson_lucy/1-2.png and restored/wiener/1-2.png, which `evaluate --compare` finds by
the names that `data_prep.build pairs` gives the pairs (docs/metrics.md). Both are given the kernel,
which a network is not. Needs scikit-image.
"""

import pathlib
import re
import sys

import numpy as np
from PIL import Image
from skimage import restoration

ITERATIONS = 30
BALANCE = 0.2  # of the Wiener filter, between the data and smoothness
_BORDER = 32  # mirrored, so that the border of a photograph is not taken for an edge


def read(path: pathlib.Path) -> np.ndarray:
    """Returns a gray picture, float64 [height, width] in [0, 1]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L")) / 255


def restore(blurred: np.ndarray, kernel: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a picture restored by each method, uint8 of its size."""
    kernel = kernel / kernel.sum()
    wide = np.pad(blurred, _BORDER, "reflect")
    found = {
        "richardson_lucy": restoration.richardson_lucy(wide, kernel, ITERATIONS),
        "wiener": restoration.wiener(wide, kernel, BALANCE),
    }
    inside = (slice(_BORDER, -_BORDER),) * 2
    return {
        name: np.rint(255 * np.clip(image[inside], 0, 1)).astype(np.uint8)
        for name, image in found.items()
    }


def main(source: str, out: str) -> None:
    """Restores all photographs of the set."""
    for path in sorted(pathlib.Path(source, "blur").glob("im*_kernel*_img.png")):
        image, kernel = re.findall(r"\d+", path.name)
        restored = restore(read(path), read(pathlib.Path(source, "gt", f"kernel{kernel}.png")))
        for name, pixels in restored.items():
            target = pathlib.Path(out, name, f"{image}-{kernel}.png")
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
