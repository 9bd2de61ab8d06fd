"""Image conversions in NumPy, for code that loads neither Keras nor TensorFlow."""

import numpy as np


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Converts an image to uint8, rounding to the nearest value (halves to even).

    Args:
        image: Floating-point array of any shape; 0 is black, 1 is white, and values outside are
            clipped. The full range of uint16 is scaled; a uint8 array is returned as it is.

    Returns:
        uint8 array of the same shape.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return np.rint(image / 257.0).astype(np.uint8)
    return np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)
