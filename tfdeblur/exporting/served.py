"""Graphs of a SavedModel's signatures, which check each request before running the network.

Runtimes do not check shapes against signatures, and a tensor of the wrong rank can crash the
serving process, as can one that is too large. A failed check raises an InvalidArgumentError for
that request alone.
"""

from collections.abc import Callable

import tensorflow as tf

from tfdeblur.exporting import orientation

Network = Callable[[tf.Tensor], tf.Tensor]

_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 26  # up to the color type

SIGNATURES: dict[str, str] = {
    "serving_default": "images float32 [B, H, W, 3] in [0, 1] -> restored, same shape, clipped",
    "float": "the same as serving_default",
    "uint8": "images uint8 [B, H, W, 3] -> restored uint8, rounded half to even",
    "bytes": (
        "images string [B], each a PNG or JPEG of its own size -> restored_bytes, upright RGB or "
        "RGBA PNGs of 8 or 16 bits, as the image: EXIF orientation is applied, other metadata are "
        "lost"
    ),
}


class Served:
    """The functions behind the signatures.

    Args:
        network: From float32 [B, H, W, 3] in [0, 1] to restored images of the same shape.
        max_pixels: Requests of more pixels are rejected; unlimited if None. A batch counts as a
            whole, but each encoded image by itself, and by its header, before it is decoded.
    """

    def __init__(self, network: Network, max_pixels: int | None = None) -> None:
        self._network = network
        self._max_pixels = max_pixels

    def from_float(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Restores float32 [B, H, W, 3] in [0, 1]."""
        return {"restored": self._restore(self._checked(images))}

    def from_uint8(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Restores uint8 [B, H, W, 3]."""
        return {"restored": self._restore_uint8(self._checked(images))}

    def from_bytes(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Restores encoded images, string [B].

        One at a time, because their sizes differ and a large one needs all the memory. The
        REST interface of TensorFlow Serving recognizes binary outputs by the suffix `_bytes`.
        """
        images = tf.ensure_shape(images, [None])
        return {
            "restored_bytes": tf.map_fn(
                self._restore_encoded,
                images,
                fn_output_signature=tf.string,
                parallel_iterations=1,
            )
        }

    def _checked(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the images if they are [B, H, W, 3] of a valid size, else raises."""
        images = tf.ensure_shape(images, [None, None, None, 3])
        size = tf.shape(images, tf.int64)[:3]
        not_empty = tf.debugging.assert_positive(
            size, message="images: batch, height and width must be at least 1."
        )
        with tf.control_dependencies([not_empty]):
            images = tf.identity(images)
        return images if self._max_pixels is None else self._limited(images, size)

    def _limited(self, request: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Returns a request if the product of `size` is within the limit, else raises."""
        within = tf.debugging.assert_less_equal(
            tf.reduce_prod(size),
            tf.constant(self._max_pixels, tf.int64),
            message=f"images: more than {self._max_pixels} pixels, the limit of this model.",
        )
        with tf.control_dependencies([within]):
            return tf.identity(request)

    def _restore(self, images: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(self._network(images), 0.0, 1.0)

    def _restore_uint8(self, images: tf.Tensor) -> tf.Tensor:
        return _levels(self._restore(tf.cast(images, tf.float32) / 255.0), tf.uint8)

    def _restore_encoded(self, data: tf.Tensor) -> tf.Tensor:
        header = _PngHeader(data)
        if self._max_pixels is not None:
            data = self._limited(data, header.image_size(data))
        image = orientation.upright(_decoded(data, header), data)
        restored = self._restore(image[tf.newaxis, ..., :3])[0]
        # A palette, or a color, may be transparent without an alpha channel.
        channels = tf.where(header.alpha | tf.reduce_any(image[..., 3] < 1), 4, 3)
        pixels = tf.concat([restored, image[..., 3:]], -1)[..., :channels]
        return tf.cond(
            header.deep,
            lambda: tf.io.encode_png(_levels(pixels, tf.uint16)),
            lambda: tf.io.encode_png(_levels(pixels, tf.uint8)),
        )


class _PngHeader:
    """Fields of the first chunk of a PNG file; false for other files.

    Reference: W3C, "Portable Network Graphics", third edition, 2025, section 11.2.1.

    Attributes:
        png: Whether it is a PNG file.
        deep: Whether it has 16 bits per channel.
        alpha: Whether it has an alpha channel.
    """

    def __init__(self, data: tf.Tensor) -> None:
        first = tf.io.decode_raw(data, tf.uint8, fixed_length=_HEADER_BYTES)
        self.png = tf.reduce_all(first[: len(_PNG)] == tf.constant(list(_PNG), tf.uint8))
        self.deep = self.png & (first[24] == 16)
        self.alpha = self.png & ((first[25] == 4) | (first[25] == 6))
        digits = tf.reshape(tf.cast(first[16:24], tf.int64), [2, 4])
        self._size = tf.reduce_sum(digits * tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64), 1)

    def image_size(self, data: tf.Tensor) -> tf.Tensor:
        """Returns both sides of an image, int64 [2]; raises if it is neither PNG nor JPEG."""
        return tf.cond(
            self.png,
            lambda: self._size,
            lambda: tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64),
        )


def _decoded(data: tf.Tensor, header: _PngHeader) -> tf.Tensor:
    """Returns float32 [H, W, 4] in [0, 1], opaque where the file says nothing of transparency."""

    def png(dtype: tf.DType) -> tf.Tensor:
        return tf.cast(tf.io.decode_png(data, channels=4, dtype=dtype), tf.float32) / dtype.max

    def other() -> tf.Tensor:
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        unit = tf.cast(tf.ensure_shape(image, [None, None, 3]), tf.float32) / tf.uint8.max
        return tf.concat([unit, tf.ones_like(unit[..., :1])], -1)

    branches = [(header.deep, lambda: png(tf.uint16)), (header.png, lambda: png(tf.uint8))]
    return tf.ensure_shape(tf.case(branches, default=other), [None, None, 4])


def _levels(images: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Converts images in [0, 1] to integers, rounded half to even."""
    return tf.cast(tf.round(images * dtype.max), dtype)
