"""Blurred pictures made from sharp ones while training runs, fresh in every epoch.

`Synthesis` is the twin of `degradation` and `kernels` for tensors: static shapes, compiles with
XLA, uint8 in and uint8 out. What happens to a picture follows from its key alone, and a key from
(seed, index): neither the batch nor the number of workers has a part in it.

Draws are values of SplitMix64 (`order`), 24 bits for each uniform number. Logarithms and sines
round differently at the end of an array than inside it, so they are taken of rows that fill whole
vector registers, or of one picture at a time.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdeblur.data import blur_kernels, shuffle
from tfdeblur.degradation import degradation, kernels
from tfdeblur.degradation.degradation import CORNERS, Degradation
from tfdeblur.errors import ConfigError

# The streams drawn from the key of a picture.
_PICTURE, _SHAPES, _NOISE = 0, 1, 2
# The streams drawn from the key of one of its kernels.
_AMOUNTS, _FORCES, _JERKS = 0, 1, 2

# Widths of rows of draws are multiples of this, in numbers: the largest vector registers hold 16.
_ROW = 16


class PictureDraws(NamedTuple):
    """What is drawn for a batch of pictures beside their kernels.

    Attributes:
        boost: float32 [batch], how much brighter white is; see `degradation.to_light`.
        noise: float32 [batch] in [0, 1], multiplies both standard deviations of the noise.
        quality: int32 [batch], of JPEG.
        noise_key: uint64 [batch], for the noise of each pixel.
    """

    boost: tf.Tensor
    noise: tf.Tensor
    quality: tf.Tensor
    noise_key: tf.Tensor


def picture_keys(seed: int, indices: tf.Tensor) -> tf.Tensor:
    """Returns the keys of pictures, uint64 [n], for indices int64 [n], non-negative."""
    return shuffle.subkey_tensor(shuffle.key_of(seed), indices)


class Synthesis:
    """Makes blurred pictures out of sharp ones.

    Attributes:
        options: What is done.
        host: Whether it runs on the host. There pictures are convolved one after another, which
            keeps them in the processor's cache and makes each the same, to the bit, in every
            batch; on an accelerator a whole batch goes at once.

    Reference: the steps stand in `degradation`, the kernels in `kernels`.
    """

    def __init__(self, options: Degradation, *, host: bool = True) -> None:
        """Keeps the options.

        Raises:
            ConfigError: JPEG is asked for on an accelerator, which cannot compress pictures.
        """
        if options.jpeg is not None and not host:
            raise ConfigError(
                "jpeg: an accelerator cannot compress pictures. Leave it away, or make the blur in "
                "the input pipeline, on the host."
            )
        self.options = options
        self.host = host

    def __call__(self, sharp: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Returns the blurred pictures.

        Args:
            sharp: uint8 [batch, height, width, 3], with a static shape.
            keys: uint64 [batch]; see `picture_keys`.

        Returns:
            uint8 [batch, height, width, 3].
        """
        shapes, draws = self.shapes(keys), self.draw(keys)
        if not self.host:
            return _to_uint8(self.degrade(sharp, shapes, draws))

        def one(parts: tuple[tf.Tensor, tf.Tensor, PictureDraws]) -> tf.Tensor:
            image, shape, drawn = tf.nest.map_structure(lambda part: part[None], parts)
            blurred = _to_uint8(self.degrade(image, shape, drawn))[0]
            return blurred if self.options.jpeg is None else _compress(blurred, drawn.quality[0])

        spec = tf.TensorSpec(sharp.shape[1:], tf.uint8)
        return tf.map_fn(one, (sharp, shapes, draws), fn_output_signature=spec)

    def draw(self, keys: tf.Tensor) -> PictureDraws:
        """Draws all but the kernels for pictures with keys uint64 [batch]."""
        options = self.options
        lots = _uniform(_subkeys(keys, _PICTURE), _ROW)
        lowest = options.jpeg or 100
        return PictureDraws(
            boost=np.float32(options.highlights) * lots[:, 0],
            noise=lots[:, 1],
            quality=lowest + tf.cast(lots[:, 2] * (101 - lowest), tf.int32),
            noise_key=_subkeys(keys, _NOISE),
        )

    def shapes(self, keys: tf.Tensor) -> tf.Tensor:
        """Makes the kernels of pictures with keys uint64 [batch].

        Returns:
            float32 [batch, n, k, k], each summing to one; n is 1 for one kernel everywhere and 4
            for one at each corner, k is `options.canvas`.
        """
        options, batch = self.options, keys.shape[0]
        # The picture's own draw comes first; those of the corners are mixed into it.
        count = 1 + CORNERS if options.variation else 1
        own = shuffle.subkey_tensor(
            _subkeys(keys, _SHAPES)[:, None], tf.range(count, dtype=tf.int64)
        )
        own = tf.reshape(own, [batch * count])
        amounts = tf.reshape(_uniform(_subkeys(own, _AMOUNTS), _ROW), [batch, count, _ROW])
        if options.blur == "trajectory":
            length, unrolled = options.strength * options.length, 8 if self.host else 1
            paths = blur_kernels.trajectories(_path_draws(own), length, unrolled)
            mixed = self._mixed(tf.reshape(paths, [batch, count, kernels.STEPS, 2]))
            points = [max(1, round(share * kernels.STEPS)) for share in options.exposures]
            # The shutter is open for the same time everywhere in a picture.
            chosen = tf.cast(amounts[:, 0, 0] * len(points), tf.int32)
            points = tf.repeat(tf.gather(tf.constant(points), chosen), mixed.shape[1])
            made = blur_kernels.path_kernels(_merged(mixed), points, options.canvas)
        elif options.blur == "gaussian":
            sigma = self._mixed(self._between(options.min_sigma, options.max_sigma, amounts))
            made = blur_kernels.gaussian_kernels(_merged(sigma), options.canvas)
        elif options.blur == "disc":
            radius = self._mixed(self._between(options.min_radius, options.max_radius, amounts))
            made = blur_kernels.disc_kernels(_merged(radius), options.canvas)
        else:
            return tf.ones([batch, 1, 1, 1])
        return tf.reshape(made, [batch, made.shape[0] // batch, options.canvas, options.canvas])

    def degrade(self, sharp: tf.Tensor, shapes: tf.Tensor, draws: PictureDraws) -> tf.Tensor:
        """Does what `degradation.degrade` does, for a batch.

        Args:
            sharp: uint8 [batch, height, width, 3].
            shapes: float32 [batch, n, k, k].
            draws: What is drawn for the pictures.

        Returns:
            float32 [batch, height, width, 3] in [0, 1].
        """
        options = self.options
        reach = shapes.shape[2] // 2
        # Channels come first for the FFT. As uint8, moving pixels takes a quarter of the bytes.
        planes = blur_kernels.reflected(tf.transpose(sharp, [0, 3, 1, 2]), reach)
        light = tf.cast(planes, tf.float32) / 255
        if options.highlights:
            darkest = tf.reduce_min(light, axis=1, keepdims=True)
            threshold = np.float32(degradation.SATURATED)
            excess = tf.clip_by_value((darkest - threshold) / (1 - threshold), 0, 1)
        if options.gamma != 1.0:
            light = tf.pow(light, np.float32(options.gamma))
        if options.highlights:
            light *= 1 + draws.boost[:, None, None, None] * excess
        if options.blur != "none":
            light = blur_kernels.convolve(light, shapes)
        light = tf.transpose(tf.clip_by_value(light, 0, 1), [0, 2, 3, 1])
        if options.read_noise or options.shot_noise:
            level = tf.square(draws.noise)[:, None, None, None]
            dark, white = np.float32(options.read_noise**2), np.float32(options.shot_noise**2)
            normals = standard_normals(draws.noise_key, sharp.shape[1:])
            noisy = light + tf.sqrt(level * (dark + white * light)) * normals
            light = tf.clip_by_value(noisy, 0, 1)
        if options.gamma != 1.0:
            light = tf.pow(light, np.float32(1 / options.gamma))
        return tf.ensure_shape(light, sharp.shape)

    def _between(self, low: float, high: float, amounts: tf.Tensor) -> tf.Tensor:
        """Draws widths or radii, float64 [batch, count]."""
        lots = tf.cast(amounts[..., 1], tf.float64)
        return self.options.strength * (low + (high - low) * lots)

    def _mixed(self, drawn: tf.Tensor) -> tf.Tensor:
        """Turns the draws [batch, 1 + corners, ...] of each picture into those of its corners.

        Mixed paths are no longer than the paths they are made of, and so stay on the canvas.
        """
        if drawn.shape[1] == 1:
            return drawn
        variation = np.float64(self.options.variation)
        return (1 - variation) * drawn[:, :1] + variation * drawn[:, 1:]


def synthesis_of(options: Degradation | None) -> Synthesis | None:
    """Returns the synthesis that options ask for, on the host, or None where they ask for none.

    Raises:
        ConfigError: Something was set, but nothing that would change a picture.
    """
    if options is None or options == Degradation():
        return None
    if not options.changes:
        raise ConfigError(
            "synthesis: blur is none, and there is neither noise nor JPEG, so the other options "
            "have nothing to work on. Choose synthesis.blur: trajectory, gaussian or disc."
        )
    return Synthesis(options)


def synthesize(
    sharp: tf.Tensor, indices: tf.Tensor, options: Degradation, *, seed: int = 0, host: bool = True
) -> tf.Tensor:
    """Blurs pictures; (seed, index) decides how.

    Args:
        sharp: uint8 [batch, height, width, 3], with a static shape.
        indices: int64 [batch], non-negative: what the pictures are called.
        options: What is done to them.
        seed: Another one draws everything anew.
        host: See `Synthesis`.

    Returns:
        uint8 [batch, height, width, 3].

    Raises:
        ConfigError: JPEG is asked for on an accelerator.
    """
    return Synthesis(options, host=host)(sharp, picture_keys(seed, indices))


def standard_normals(keys: tf.Tensor, shape: tuple[int, ...] | tf.TensorShape) -> tf.Tensor:
    """Draws standard normal numbers: float32 [batch, *shape] for keys uint64 [batch]."""
    size = math.prod(shape)
    numbers = tf.reshape(_complex_normals(keys, -(-size // 2)), [keys.shape[0], -1])
    return tf.reshape(numbers[:, :size], [keys.shape[0], *shape])


def _path_draws(keys: tf.Tensor) -> blur_kernels.PathDraws:
    """Draws what `kernels.draw_trajectories` does, for keys uint64 [batch]."""
    lots = _uniform(_subkeys(keys, _AMOUNTS), _ROW)
    shake = tf.gather(
        tf.constant(kernels.SHAKES), tf.cast(lots[:, 2] * len(kernels.SHAKES), tf.int32)
    )
    pull, probability, gaussian = 0.7 * lots[:, 3], 0.2 * lots[:, 4], 10 * lots[:, 5]
    # All angles of the row are turned into directions, for one alone would fill no register.
    heading = tf.stack([tf.cos(2 * np.pi * lots), tf.sin(2 * np.pi * lots)], axis=-1)[:, 6]
    moves = kernels.STEPS - 1
    force = _complex_normals(_subkeys(keys, _FORCES), moves)
    chance, turn = _uniform_pairs(_subkeys(keys, _JERKS), moves)
    jerks = tf.cast(chance < (probability * shake)[:, None], tf.float32)
    # -2 exp(i a) turns the hand back, within half a radian.
    turned = tf.stack([-2 * tf.cos(turn - 0.5), -2 * tf.sin(turn - 0.5)], axis=-1)
    jump = (jerks[..., None] * turned)[:, :moves]
    return blur_kernels.PathDraws(shake, pull, gaussian, heading, force[:, :moves], jump)


def _subkeys(keys: tf.Tensor, stream: int) -> tf.Tensor:
    return shuffle.subkey_tensor(keys, tf.constant(stream, tf.int64))


def _uniform_pairs(keys: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws two numbers from each hash: float32 [batch, at least count] in [0, 1), twice."""
    width = -(-count // _ROW) * _ROW
    bits = shuffle.subkey_tensor(keys[:, None], tf.range(width, dtype=tf.int64))
    parts = []
    for shift in (40, 16):
        part = tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint64))
        part = tf.cast(tf.bitwise.bitwise_and(part, tf.constant(0xFFFFFF, tf.uint64)), tf.int32)
        parts.append(tf.cast(part, tf.float32) * np.float32(2**-24))
    return parts[0], parts[1]


def _uniform(keys: tf.Tensor, count: int) -> tf.Tensor:
    return _uniform_pairs(keys, count)[0]


def _complex_normals(keys: tf.Tensor, count: int) -> tf.Tensor:
    """Draws pairs of standard normal numbers: float32 [batch, at least count, 2].

    Reference: Box and Muller, A Note on the Generation of Random Normal Deviates, 1958.
    """
    first, second = _uniform_pairs(keys, count)
    radius = tf.sqrt(-2 * tf.math.log(1 - first))
    angle = np.float32(2 * np.pi) * second
    return tf.stack([radius * tf.cos(angle), radius * tf.sin(angle)], axis=-1)


def _merged(drawn: tf.Tensor) -> tf.Tensor:
    """Makes one leading dimension of the first two."""
    return tf.reshape(drawn, [drawn.shape[0] * drawn.shape[1], *drawn.shape[2:]])


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(255 * tf.clip_by_value(values, 0, 1)), tf.uint8)


def _compress(image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """Does what `degradation.compress` does: uint8 [height, width, 3], quality int32 []."""
    data = tf.raw_ops.EncodeJpegVariableQuality(images=image, quality=quality)
    decoded = tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(decoded, image.shape)
