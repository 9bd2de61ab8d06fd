"""Restores frames with scikit-image's Richardson-Lucy, as a program to compare networks with.

    python examples/richardson_lucy.py GOPRO_Large/test richardson_lucy

It reads SCENE/blur/FRAME.png and writes SCENE/FRAME.png, which `evaluate --compare` and `paper
images` find by their names. The blur is assumed to be a Gaussian everywhere, which is wrong for
moving cameras and objects. Needs scikit-image.
"""

import pathlib
import sys

import numpy as np
from PIL import Image
from skimage import restoration

SIGMA = 2.0  # pixels
ITERATIONS = 10
_BORDER = 24  # mirrored, so that frames do not end in black


def restore(frame: np.ndarray) -> np.ndarray:
    """Restores a frame, uint8 [height, width, 3], channel by channel."""
    offsets = np.arange(-round(3 * SIGMA), round(3 * SIGMA) + 1)
    line = np.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel = np.outer(line, line) / line.sum() ** 2
    padding = ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0))
    wide = np.pad(frame / 255, padding, "reflect")
    found = [restoration.richardson_lucy(wide[..., c], kernel, ITERATIONS) for c in range(3)]
    inside = np.stack(found, axis=-1)[_BORDER:-_BORDER, _BORDER:-_BORDER]
    return np.rint(255 * np.clip(inside, 0, 1)).astype(np.uint8)


def main(source: str, out: str) -> None:
    """Restores all frames of a folder of scenes."""
    for path in sorted(pathlib.Path(source).glob("*/blur/*.png")):
        target = pathlib.Path(out, path.parts[-3], path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as frame:
            Image.fromarray(restore(np.asarray(frame.convert("RGB")))).save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
