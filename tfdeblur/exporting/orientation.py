"""EXIF orientation of JPEG and PNG data, read and applied by TensorFlow operations alone.

Reference:
    CIPA DC-008, "Exchangeable image file format for digital still cameras: Exif 2.32", 2019,
    sections 4.5 and 4.6.4; W3C, "Portable Network Graphics", third edition, 2025, section
    11.3.4.6 (eXIf).
"""

import tensorflow as tf

_JPEG, _PNG = 0xFFD8, 0x89504E47
_APP1, _START_OF_SCAN = 0xFFE1, 0xFFDA
_EXIF, _EXIF_CHUNK = 0x45786966, 0x65584966  # "Exif" and "eXIf"
_LITTLE_ENDIAN = 0x4949
_ORIENTATION = 0x0112

# Bounds the time for a damaged file.
_MAX_SEGMENTS = 2**12


def upright(image: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors a decoded image according to its EXIF record.

    Args:
        image: [H, W, C] as decoded.
        data: Scalar string, the file that the image was decoded from.

    Returns:
        [H, W, C], or [W, H, C] if the orientation transposes the image.
    """
    orientation = read(data)
    image = tf.cond(
        orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: tf.identity(image)
    )
    rows, columns = [3, 4, 7, 8], [2, 3, 6, 7]
    mirrored = tf.reduce_any(orientation == [rows, columns], axis=1)
    return tf.reverse(image, tf.boolean_mask([0, 1], mirrored))


def read(data: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation of a file.

    Args:
        data: Scalar string.

    Returns:
        Scalar int64 from 1 to 8; 1 (upright) if the file is neither JPEG nor PNG, or has no EXIF
        record or a damaged one.
    """
    file = _Bytes(data)
    start = tf.case(
        [
            (file.number(0, 2) == _JPEG, lambda: _exif_in_jpeg(file)),
            (file.number(0, 4) == _PNG, lambda: _exif_in_png(file)),
        ],
        default=lambda: file.size,
    )
    return _orientation(file, start)


class _Bytes:
    """The bytes of a file; zero beyond its end."""

    def __init__(self, data: tf.Tensor) -> None:
        self._bytes = tf.concat([tf.io.decode_raw(data, tf.uint8), [0]], axis=0)
        self.size = tf.size(self._bytes, tf.int64) - 1

    def number(self, starts: tf.Tensor, count: int, little_endian: tf.Tensor = False) -> tf.Tensor:
        """Returns unsigned integers of `count` bytes, int64, for each position in `starts`."""
        places = tf.range(count, dtype=tf.int64)
        positions = tf.minimum(tf.cast(starts, tf.int64)[..., tf.newaxis] + places, self.size)
        digits = tf.cast(tf.gather(self._bytes, positions), tf.int64)
        exponents = tf.where(little_endian, places, places[::-1])
        return tf.reduce_sum(
            digits * tf.bitwise.left_shift(tf.ones_like(places), 8 * exponents), -1
        )


def _exif_in_jpeg(file: _Bytes) -> tf.Tensor:
    """Returns the position of the EXIF record, or one without a record."""

    def is_exif(start: tf.Tensor) -> tf.Tensor:
        return (file.number(start, 2) == _APP1) & (file.number(start + 4, 4) == _EXIF)

    def is_other_segment(start: tf.Tensor) -> tf.Tensor:
        marker = file.number(start, 2)
        return (marker > 0xFF00) & (marker != _START_OF_SCAN) & ~is_exif(start)

    (start,) = tf.while_loop(
        is_other_segment,
        lambda start: [start + 2 + file.number(start + 2, 2)],
        [tf.constant(2, tf.int64)],
        maximum_iterations=_MAX_SEGMENTS,
    )
    return tf.where(is_exif(start), start + 10, file.size)


def _exif_in_png(file: _Bytes) -> tf.Tensor:
    """Returns the position of the EXIF record, or one without a record."""

    def is_other_chunk(start: tf.Tensor) -> tf.Tensor:
        return (start < file.size) & (file.number(start + 4, 4) != _EXIF_CHUNK)

    (start,) = tf.while_loop(
        is_other_chunk,
        lambda start: [start + 12 + file.number(start, 4)],
        [tf.constant(8, tf.int64)],
        maximum_iterations=_MAX_SEGMENTS,
    )
    return tf.where(is_other_chunk(start), file.size, start + 8)


def _orientation(file: _Bytes, start: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in the first directory of a TIFF structure."""
    little = file.number(start, 2) == _LITTLE_ENDIAN
    directory = start + file.number(start + 4, 4, little)
    entries = directory + 2 + 12 * tf.range(file.number(directory, 2, little))
    values = tf.boolean_mask(
        file.number(entries + 8, 2, little),
        file.number(entries, 2, little) == _ORIENTATION,
    )
    orientation = tf.concat([values, [1]], axis=0)[0]
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, 1)
