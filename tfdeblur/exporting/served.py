"""Graphs of a SavedModel's signatures, which check each request before running the network.

Runtimes do not check shapes against signatures, and a tensor of the wrong rank can crash the
serving process. A failed check raises an InvalidArgumentError for that request alone.
"""

from collections.abc import Callable

import tensorflow as tf

from tfdeblur.exporting import orientation

Network = Callable[[tf.Tensor], tf.Tensor]

SIGNATURES: dict[str, str] = {
    "serving_default": "images float32 [B, H, W, 3] in [0, 1] -> restored, same shape, clipped",
    "float": "the same as serving_default",
    "uint8": "images uint8 [B, H, W, 3] -> restored uint8, rounded half to even",
    "bytes": (
        "images string [B], each a PNG or JPEG of its own size -> restored_bytes, upright 8-bit "
        "RGB PNGs: EXIF orientation is applied; alpha, 16 bits and other metadata are lost"
    ),
}


class Served:
    """The functions behind the signatures.

    Args:
        network: From float32 [B, H, W, 3] in [0, 1] to restored images of the same shape.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def from_float(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Restores float32 [B, H, W, 3] in [0, 1]."""
        return {"restored": self._restore(_checked(images))}

    def from_uint8(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Restores uint8 [B, H, W, 3]."""
        return {"restored": self._restore_uint8(_checked(images))}

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

    def _restore(self, images: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(self._network(images), 0.0, 1.0)

    def _restore_uint8(self, images: tf.Tensor) -> tf.Tensor:
        restored = self._restore(tf.cast(images, tf.float32) / 255.0)
        return tf.cast(tf.round(restored * 255.0), tf.uint8)

    def _restore_encoded(self, data: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        image = orientation.upright(tf.ensure_shape(image, [None, None, 3]), data)
        return tf.io.encode_png(self._restore_uint8(image[tf.newaxis])[0])


def _checked(images: tf.Tensor) -> tf.Tensor:
    """Returns the images if they are [B, H, W, 3] without a size of zero, else raises."""
    images = tf.ensure_shape(images, [None, None, None, 3])
    not_empty = tf.debugging.assert_positive(
        tf.shape(images), message="images: batch, height and width must be at least 1."
    )
    with tf.control_dependencies([not_empty]):
        return tf.identity(images)
