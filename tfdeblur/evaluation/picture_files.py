"""Pictures in folders: their names and their pixels."""

import numpy as np

from tfdeblur.errors import UserError
from tfdeblur.inference.photo_files import SUFFIXES, read_photo, suffix
from tfdeblur.io import files
from tfdeblur.ops.arrays import to_uint8


def pictures_in(folder: str) -> list[str]:
    """Returns the paths of all pictures in a folder that are not hidden, relative to it."""
    names = files.walk_files(folder) if files.is_dir(folder) else []
    return [name for name in names if suffix(name) in SUFFIXES and not files.is_hidden(name)]


def read_pixels(path: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a picture, uint8 [h, w, 3]; a UserError if it has not the given size."""

    def check(height: int, width: int) -> None:
        if size is not None and (height, width) != size:
            raise UserError(
                f"is {width}x{height} pixels, and the frame is {size[1]}x{size[0]}. Restore the "
                "frame at its full size, without cropping or resizing."
            )

    pixels = to_uint8(read_photo(path, check).pixels)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., np.newaxis], 3, axis=2)
