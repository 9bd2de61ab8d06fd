"""Synthesis of blurred images from sharp ones during training, with new draws in every epoch.

`Synthesis` is the TensorFlow counterpart of `degradation` and `kernels`: static shapes, uint8
in and uint8 out. The blur of an image is determined by its key, and the key by
(seed, index); neither the batch nor the number of workers matters.

Draws come from `ops.random`, 24 bits per uniform number. Logarithms and sines round differently
at the end of an array than inside it, so they are computed on rows that fill whole vector
registers, or on one image at a time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tfdeblur.degradation import degradation, kernels, kernels_tensorflow
from tfdeblur.degradation.degradation import CORNERS, Degradation
from tfdeblur.errors import ConfigError
from tfdeblur.ops import random
from tfdeblur.ops.lazy import tensorflow as tf

# Streams below the key of an image.
_IMAGE, _KERNELS, _NOISE = 0, 1, 2
# Streams below the key of one of its kernels.
_AMOUNTS, _FORCES, _JERKS = 0, 1, 2

# Rows of draws are padded to a multiple of this: the widest vector registers hold 16 float32.
_ROW = 16


class ImageDraws(NamedTuple):
    """Random numbers for a batch of images, kernels excepted.

    Attributes:
        kind: int64 [batch], index into `Degradation.shares`.
        boost: float32 [batch], extra light of white; see `degradation.to_light`.
        noise: float32 [batch] in [0, 1], multiplies both standard deviations of the noise.
        quality: int32 [batch], JPEG quality.
        noise_key: uint64 [batch], key of the noise of the pixels.
    """

    kind: tf.Tensor
    boost: tf.Tensor
    noise: tf.Tensor
    quality: tf.Tensor
    noise_key: tf.Tensor


class Synthesis:
    """Synthesizes blurred images from sharp ones, on the host.

    It degrades one image at a time, which keeps it in the CPU cache and makes the result
    bit-identical in every batch. The steps follow `degradation`, the kernels `kernels`; references
    are given there.

    Args:
        options: The degradation.
    """

    def __init__(self, options: Degradation) -> None:
        self.options = options
        self._kinds = list(options.shares)

    def __call__(self, sharp: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Returns the blurred images.

        Args:
            sharp: uint8 [batch, height, width, 3], with a static shape.
            keys: uint64 [batch], of `ops.random`; one per image.

        Returns:
            uint8 [batch, height, width, 3].
        """
        blur_kernels, draws = self.blur_kernels(keys), self.draw(keys)

        def one(example: tuple[tf.Tensor, tf.Tensor, ImageDraws]) -> tf.Tensor:
            image, own_kernels, drawn = tf.nest.map_structure(lambda part: part[None], example)
            blurred = to_uint8(self.degrade(image, own_kernels, drawn))[0]
            if self.options.jpeg is not None:
                blurred = _compress(blurred, drawn.quality[0])
            if "identity" in self._kinds:
                unchanged = drawn.kind[0] == self._kinds.index("identity")
                blurred = tf.where(unchanged, image[0], blurred)
            return blurred

        spec = tf.TensorSpec(sharp.shape[1:], tf.uint8)
        return tf.map_fn(one, (sharp, blur_kernels, draws), fn_output_signature=spec)

    def draw(self, keys: tf.Tensor) -> ImageDraws:
        """Draws everything except the kernels for images with the keys uint64 [batch]."""
        options = self.options
        uniform = _uniform(_subkeys(keys, _IMAGE), _ROW)
        lowest = options.jpeg or 100
        # Where the share of each kind begins.
        begins = np.cumsum([0.0, *options.shares.values()])[:-1].astype(np.float32)
        return ImageDraws(
            kind=tf.searchsorted(begins, uniform[:, 3], side="right", out_type=tf.int64) - 1,
            boost=np.float32(options.highlights) * uniform[:, 0],
            noise=uniform[:, 1],
            quality=lowest + tf.cast(uniform[:, 2] * (101 - lowest), tf.int32),
            noise_key=_subkeys(keys, _NOISE),
        )

    def blur_kernels(self, keys: tf.Tensor) -> tf.Tensor:
        """Draws the kernels of images with the keys uint64 [batch].

        Returns:
            float32 [batch, n, k, k], each summing to one; n is 1 for uniform blur and 4 (one
            kernel per corner) for blur that varies, k is `options.canvas`.
        """
        options, batch = self.options, keys.shape[0]
        # The first draw belongs to the whole image; `_mixed` combines it with each corner's own.
        count = 1 + CORNERS if options.variation else 1
        own = random.subkey_tensor(
            _subkeys(keys, _KERNELS)[:, None], tf.range(count, dtype=tf.int64)
        )
        own = tf.reshape(own, [batch * count])
        variation = tf.fill([batch], np.float64(options.variation))
        if options.mixed:
            variation *= tf.cast(_uniform(_subkeys(keys, _IMAGE), _ROW)[:, 4], tf.float64)
        made = [self._kernels_of(kind, own, variation) for kind in self._kinds]
        if not options.mixed:
            return made[0]
        side, number = options.canvas, max(kernels_of_kind.shape[1] for kernels_of_kind in made)
        made = [_on_canvas(kernels_of_kind, number, side) for kernels_of_kind in made]
        return tf.gather(tf.stack(made, axis=1), self.draw(keys).kind, batch_dims=1)

    def _kernels_of(self, kind: str, own: tf.Tensor, variation: tf.Tensor) -> tf.Tensor:
        """Draws kernels of one kind.

        Args:
            kind: A key of `Degradation.shares`.
            own: uint64 [batch * count], keys of each image's draws: one, or five with variation.
            variation: float64 [batch].

        Returns:
            float32 [batch, n, k, k]; k is `options.canvas_of(kind)`.
        """
        options, batch, side = self.options, variation.shape[0], self.options.canvas_of(kind)
        count = own.shape[0] // batch
        amounts = tf.reshape(_uniform(_subkeys(own, _AMOUNTS), _ROW), [batch, count, _ROW])
        if kind == "trajectory":
            length = options.strength * options.length
            paths = kernels_tensorflow.trajectories(_path_draws(own), length)
            mixed = _mixed(tf.reshape(paths, [batch, count, kernels.STEPS, 2]), variation)
            points = [max(1, round(share * kernels.STEPS)) for share in options.exposures]
            # The exposure is the same everywhere in an image.
            chosen = tf.cast(amounts[:, 0, 0] * len(points), tf.int32)
            points = tf.repeat(tf.gather(tf.constant(points), chosen), mixed.shape[1])
            made = kernels_tensorflow.path_kernels(_merged(mixed), points, side)
        elif kind == "gaussian":
            sigma = _mixed(self._between(options.min_sigma, options.max_sigma, amounts), variation)
            made = kernels_tensorflow.gaussian_kernels(_merged(sigma), side)
        elif kind == "disc":
            radius = self._between(options.min_radius, options.max_radius, amounts)
            made = kernels_tensorflow.disc_kernels(_merged(_mixed(radius, variation)), side)
        else:
            return tf.ones([batch, 1, 1, 1])
        return tf.reshape(made, [batch, made.shape[0] // batch, side, side])

    def degrade(self, sharp: tf.Tensor, blur_kernels: tf.Tensor, draws: ImageDraws) -> tf.Tensor:
        """Degrades a batch in the same way as `degradation.degrade`.

        Args:
            sharp: uint8 [batch, height, width, 3].
            blur_kernels: float32 [batch, n, k, k]; see `blur_kernels`.
            draws: The other random numbers of the images.

        Returns:
            float32 [batch, height, width, 3] in [0, 1].
        """
        options = self.options
        reach = blur_kernels.shape[2] // 2
        # The FFT wants channels first; transposing uint8 moves a quarter of float32's bytes.
        planes = kernels_tensorflow.reflected(tf.transpose(sharp, [0, 3, 1, 2]), reach)
        light = tf.cast(planes, tf.float32) / 255
        if options.highlights:
            darkest = tf.reduce_min(light, axis=1, keepdims=True)
            threshold = np.float32(degradation.SATURATED)
            excess = tf.clip_by_value((darkest - threshold) / (1 - threshold), 0, 1)
        if options.gamma != 1.0:
            light = tf.pow(light, np.float32(options.gamma))
        if options.highlights:
            light *= 1 + draws.boost[:, None, None, None] * excess
        if options.blurs:
            light = kernels_tensorflow.convolve(light, blur_kernels)
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
        """Draws standard deviations or radii, float64 [batch, count]."""
        uniform = tf.cast(amounts[..., 1], tf.float64)
        return self.options.strength * (low + (high - low) * uniform)


def synthesis_of(options: Degradation | None) -> Synthesis | None:
    """Returns the synthesis for some options, or None for None and the defaults.

    Raises:
        ConfigError: Options are set, but none that would change an image.
    """
    if options is None or options == Degradation():
        return None
    if not options.changes:
        raise ConfigError(
            "synthesis: the options have no effect without blur, noise or JPEG. Choose "
            "synthesis.blur: trajectory, gaussian, disc, or shares of several."
        )
    return Synthesis(options)


def standard_normals(keys: tf.Tensor, shape: tuple[int, ...] | tf.TensorShape) -> tf.Tensor:
    """Draws standard normal numbers: float32 [batch, *shape] for keys uint64 [batch]."""
    size = math.prod(shape)
    numbers = tf.reshape(_complex_normals(keys, -(-size // 2)), [keys.shape[0], -1])
    return tf.reshape(numbers[:, :size], [keys.shape[0], *shape])


def _path_draws(keys: tf.Tensor) -> kernels_tensorflow.PathDraws:
    """Draws the same quantities as `kernels.draw_trajectories`, for keys uint64 [batch]."""
    uniform = _uniform(_subkeys(keys, _AMOUNTS), _ROW)
    shake = tf.gather(
        tf.constant(kernels.SHAKES), tf.cast(uniform[:, 2] * len(kernels.SHAKES), tf.int32)
    )
    pull, probability, gaussian = 0.7 * uniform[:, 3], 0.2 * uniform[:, 4], 10 * uniform[:, 5]
    # On the whole row, so that vector registers are filled (see the module's docstring).
    heading = tf.stack([tf.cos(2 * np.pi * uniform), tf.sin(2 * np.pi * uniform)], axis=-1)[:, 6]
    moves = kernels.STEPS - 1
    force = _complex_normals(_subkeys(keys, _FORCES), moves)
    chance, turn = _uniform_pairs(_subkeys(keys, _JERKS), moves)
    jerks = tf.cast(chance < (probability * shake)[:, None], tf.float32)
    # -2 exp(i a) reverses the velocity, to within half a radian.
    turned = tf.stack([-2 * tf.cos(turn - 0.5), -2 * tf.sin(turn - 0.5)], axis=-1)
    jump = (jerks[..., None] * turned)[:, :moves]
    return kernels_tensorflow.PathDraws(shake, pull, gaussian, heading, force[:, :moves], jump)


def _subkeys(keys: tf.Tensor, stream: int) -> tf.Tensor:
    return random.subkey_tensor(keys, tf.constant(stream, tf.int64))


def _uniform_pairs(keys: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws two numbers per 64 bits: two float32 [batch, at least count] in [0, 1)."""
    width = -(-count // _ROW) * _ROW
    bits = random.subkey_tensor(keys[:, None], tf.range(width, dtype=tf.int64))
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


def _mixed(drawn: tf.Tensor, variation: tf.Tensor) -> tf.Tensor:
    """Mixes the draws of whole images with those of their corners.

    Mixed paths are no longer than the paths they are made of, and so stay on the canvas.

    Args:
        drawn: float64 [batch, 1 + corners, ...], or [batch, 1, ...] without variation.
        variation: float64 [batch].

    Returns:
        float64 [batch, corners, ...], or the draws unchanged without variation.
    """
    if drawn.shape[1] == 1:
        return drawn
    variation = tf.reshape(variation, [-1] + [1] * (len(drawn.shape) - 1))
    return (1 - variation) * drawn[:, :1] + variation * drawn[:, 1:]


def _on_canvas(blur_kernels: tf.Tensor, number: int, side: int) -> tf.Tensor:
    """Pads kernels [batch, n, k, k] to [batch, number, side, side] around their center."""
    count, size = blur_kernels.shape[1:3]
    before = side // 2 - size // 2
    margin = [before, side - size - before]
    padded = tf.pad(blur_kernels, [[0, 0], [0, 0], margin, margin])
    return tf.repeat(padded, number // count, axis=1)


def _merged(drawn: tf.Tensor) -> tf.Tensor:
    """Merges the first two dimensions."""
    return tf.reshape(drawn, [drawn.shape[0] * drawn.shape[1], *drawn.shape[2:]])


def to_uint8(values: tf.Tensor) -> tf.Tensor:
    """Converts floating-point pixel values to uint8; the tensor form of `ops.arrays.to_uint8`."""
    return tf.cast(tf.round(255 * tf.clip_by_value(values, 0, 1)), tf.uint8)


def _compress(image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """Compresses uint8 [height, width, 3] with quality int32 []; see `degradation.compress`."""
    data = tf.raw_ops.EncodeJpegVariableQuality(images=image, quality=quality)
    decoded = tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(decoded, image.shape)
