"""Encoding of the images in records, without TensorFlow."""

import io
import struct
import zlib
from typing import Literal

import numpy as np
from PIL import Image

from tfdeblur.errors import DataError
from tfdeblur.io.pictures import open_image

Encoding = Literal["png", "raw"]

# Errors of Pillow for bytes that are not an intact PNG.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

# zlib's fastest level: images are decoded in every epoch, at a speed that hardly depends on it.
# Filtered photographs have runs but few longer matches: searching for runs only made files 6%
# smaller, and decoding 5% faster, than the default strategy of the same level.
PNG_COMPRESSION, PNG_STRATEGY = 1, zlib.Z_RLE


def encode_image(image: np.ndarray, encoding: Encoding) -> bytes:
    """Returns the stored bytes of an image.

    Args:
        image: uint8 [height, width, 3], RGB.
        encoding: `raw` (C order) or `png`.

    Raises:
        ValueError: The image is not uint8 RGB.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"The images of a record must be uint8 [height, width, 3]. Received: {image.dtype} "
            f"{image.shape}."
        )
    if encoding == "raw":
        return np.ascontiguousarray(image).tobytes()
    buffer = io.BytesIO()
    Image.fromarray(image).save(
        buffer, "PNG", compress_level=PNG_COMPRESSION, compress_type=PNG_STRATEGY
    )
    return buffer.getvalue()


def decode_image(data: bytes, height: int, width: int, encoding: Encoding) -> np.ndarray:
    """Returns the uint8 [height, width, 3] image that `encode_image` stored.

    Raises:
        DataError: The bytes are not an image of this size.
    """
    if encoding == "raw":
        if len(data) != height * width * 3:
            raise DataError(f"{len(data)} raw bytes instead of a {width}x{height} RGB image.")
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)
    try:
        with open_image(io.BytesIO(data), ["PNG"]) as image:
            # Before decoding: a damaged header may claim more pixels than fit in memory.
            if image.size != (width, height) or image.mode != "RGB":
                raise DataError(
                    f"a PNG of {image.size[0]}x{image.size[1]} {image.mode} instead of "
                    f"{width}x{height} RGB."
                )
            return np.array(image)
    except _DAMAGE as error:
        raise DataError(f"a damaged PNG ({error}).") from error
