"""Blur kernels and convolution in TensorFlow, the counterpart of `kernels`.

All functions take batches, have static shapes, compile with XLA, and agree with the NumPy functions
to 1e-5 for the same draws. Random paths are integrated in float64, because they amplify rounding
errors about a hundred thousand times: when the pull points straight back, the path may turn either
way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfdeblur.degradation import degradation, kernels
from tfdeblur.ops.lazy import tensorflow as tf

# Steps per iteration of the loop over a path; on a CPU, 8 takes half the time of 1.
_UNROLLED = 8


class PathDraws(NamedTuple):
    """Random numbers of a batch of paths: `kernels.TrajectoryDraws` without complex numbers.

    Attributes:
        shake: float [batch].
        pull: float [batch].
        gaussian: float [batch].
        heading: float [batch, 2], cosine and sine of the direction of the first step.
        force: float [batch, steps - 1, 2].
        jump: float [batch, steps - 1, 2].
    """

    shake: tf.Tensor
    pull: tf.Tensor
    gaussian: tf.Tensor
    heading: tf.Tensor
    force: tf.Tensor
    jump: tf.Tensor


def trajectories(draws: PathDraws, length: float) -> tf.Tensor:
    """Returns random camera paths; see `kernels.trajectories`.

    A loop over the steps, each a few operations on the whole batch: sums, products, quotients and
    square roots, which round the same way at every place in an array, so a path does not depend
    on its batch.

    Args:
        draws: The random numbers.
        length: Length of the whole path, in pixels.

    Returns:
        float64 [batch, steps, 2], x (columns) and y (rows).
    """
    shake, pull, gaussian, heading, force, jump = (tf.cast(part, tf.float64) for part in draws)
    batch, moves, _ = force.shape
    step = length / moves
    pull = shake * step * pull
    # Batch last, so that each iteration reads one contiguous slice.
    push = tf.transpose((shake * step * gaussian)[:, None, None] * force, [1, 2, 0])
    jump = tf.transpose(jump, [1, 2, 0])
    # (a + ib)(vx + ivy), as one product with the velocity and one with its swapped halves.
    keep = tf.repeat(1 + jump[:, :1], 2, axis=1)
    turn = tf.concat([-jump[:, 1:], jump[:, 1:]], axis=1)
    iterations = -(-moves // _UNROLLED)
    surplus = iterations * _UNROLLED - moves
    parts = tf.pad(tf.concat([keep, turn, push], axis=1), [[0, surplus], [0, 0], [0, 0]])
    parts = tf.reshape(parts, [iterations, _UNROLLED * 6, batch])

    def move(
        number: tf.Tensor, velocity: tf.Tensor, place: tf.Tensor, path: tf.TensorArray
    ) -> tuple[tf.Tensor, ...]:
        drawn = iter(tf.split(tf.gather(parts, number), _UNROLLED * 3))
        places = []
        for keep, turn, push in zip(drawn, drawn, drawn, strict=True):
            velocity = velocity * keep + tf.reverse(velocity, [0]) * turn
            velocity = velocity + push - pull * place
            speed = tf.sqrt(tf.reduce_sum(velocity * velocity, axis=0))
            velocity = velocity * (step / tf.maximum(speed, np.float64(1e-12)))
            place = place + velocity
            places.append(place)
        return number + 1, velocity, place, path.write(number, tf.stack(places))

    start = tf.zeros([2, batch], tf.float64)
    path = tf.TensorArray(tf.float64, iterations, element_shape=[_UNROLLED, 2, batch])
    begun = (tf.constant(0), shake * tf.transpose(heading), start, path)
    *_, path = tf.while_loop(
        lambda number, *_: number < iterations, move, begun, maximum_iterations=iterations
    )
    stacked = tf.reshape(path.stack(), [iterations * _UNROLLED, 2, batch])[:moves]
    return tf.transpose(tf.concat([start[None], stacked], axis=0), [2, 0, 1])


def path_kernels(path: tf.Tensor, points: tf.Tensor, canvas: int) -> tf.Tensor:
    """Rasterizes the first part of each path as a blur kernel; see `kernels.path_kernel`.

    Args:
        path: float64 [batch, steps, 2].
        points: int32 [batch]: number of leading points to draw.
        canvas: Side of the kernels, at least 2.

    Returns:
        float32 [batch, canvas, canvas], each summing to one.
    """
    batch, steps, _ = path.shape
    is_open = tf.range(steps) < points[:, None]
    shares = tf.cast(is_open, tf.float64) / tf.cast(points, tf.float64)[:, None]
    centered = path - tf.reduce_sum(path * shares[..., None], axis=1, keepdims=True)
    place = tf.clip_by_value(centered + canvas // 2, np.float64(0), np.float64(canvas - 1))
    floor = tf.minimum(tf.floor(place), np.float64(canvas - 2))
    part = tf.cast(place - floor, tf.float32)
    corner = tf.cast(floor, tf.int32)
    first = corner[..., 1] * canvas + corner[..., 0] + tf.range(batch)[:, None] * canvas**2
    opened = tf.cast(is_open, tf.float32)
    x, y = part[..., 0], part[..., 1]
    weights = tf.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], axis=-1)
    index = first[..., None] + tf.constant([0, 1, canvas, canvas + 1])
    summed = tf.math.unsorted_segment_sum(
        tf.reshape(weights * opened[..., None], [-1]), tf.reshape(index, [-1]), batch * canvas**2
    )
    # Each point has weight one, so the sum is known.
    return tf.reshape(summed, [batch, canvas, canvas]) / tf.cast(points, tf.float32)[:, None, None]


def gaussian_kernels(sigma: tf.Tensor, canvas: int) -> tf.Tensor:
    """Returns separable Gaussians of `kernels.gaussian_kernel1d` and `kernels.gaussian_size`.

    Args:
        sigma: float [batch], at least 0: standard deviations in pixels.
        canvas: Side of the kernels, odd and at least the size of the widest.

    Returns:
        float32 [batch, canvas, canvas], each summing to one.
    """
    sigma = tf.cast(sigma, tf.float64)[:, None]
    offsets = np.arange(canvas, dtype=np.float64) - canvas // 2
    half = tf.cast(tf.round(6 * sigma + 1), tf.int32) // 2
    inside = tf.cast(np.abs(offsets).astype(np.int32) <= half, tf.float64)
    weights = inside * tf.exp(-0.5 * tf.square(offsets / tf.maximum(sigma, np.float64(1e-4))))
    line = tf.cast(weights / tf.reduce_sum(weights, axis=1, keepdims=True), tf.float32)
    return line[:, :, None] * line[:, None, :]


def disc_kernels(radius: tf.Tensor, canvas: int) -> tf.Tensor:
    """Returns defocus discs; see `kernels.disc`.

    Args:
        radius: float [batch], at least 0: radii in pixels.
        canvas: Side of the kernels, odd and at least the size of the largest.

    Returns:
        float32 [batch, canvas, canvas], each summing to one.
    """
    batch = radius.shape[0]
    radius = tf.maximum(tf.cast(radius, tf.float64), np.float64(0.5))
    fine = kernels.DISC_POINTS
    # Distances in units of half a subpixel are integers, so rounding cannot move a point in or out.
    limit = tf.cast(tf.floor(tf.square(radius * (2 * fine))), tf.int32)
    places = 2 * np.arange(canvas * fine, dtype=np.int32) + 1 - canvas * fine
    distances = np.square(places)[:, None] + np.square(places)[None, :]
    inside = tf.cast(distances <= limit[:, None, None], tf.float32)
    inside = tf.reshape(inside, [batch, canvas, fine, canvas, fine])
    counts = tf.reduce_sum(inside, axis=[2, 4])
    return counts / tf.reduce_sum(counts, axis=[1, 2], keepdims=True)


def reflected(images: tf.Tensor, reach: int) -> tf.Tensor:
    """Pads height and width by reflection, for images of any size.

    Args:
        images: [batch, channels, height, width], any dtype.
        reach: Pixels on each side.

    Returns:
        [batch, channels, height + 2 reach, width + 2 reach], equal to `numpy.pad` in `reflect`
        mode. (`tf.pad` cannot pad by more pixels than the image has.)
    """
    for axis in (2, 3):
        index = np.pad(np.arange(images.shape[axis], dtype=np.int32), reach, mode="reflect")
        images = tf.gather(images, index, axis=axis)
    return images


def convolve(padded: tf.Tensor, blur_kernels: tf.Tensor) -> tf.Tensor:
    """Convolves each image with its own kernel, or with four kernels blended between the corners.

    Uses the FFT. A kernel serves the three channels of one image only, so a grouped convolution
    would take k^2 products per pixel that a matrix unit cannot share (64 x 64 for camera shake);
    the FFT costs the same for every kernel and is a fast library call on CPUs, GPUs and TPUs.
    Several kernels share one transform of the image.

    Args:
        padded: float32 [batch, channels, height + 2r, width + 2r], padded by r = k // 2.
        blur_kernels: float32 [batch, n, k, k], with n 1 or 4; the centers are at k // 2.

    Returns:
        float32 [batch, channels, height, width].
    """
    count, side = blur_kernels.shape[1:3]
    reach = side // 2
    size = [kernels.fast_size(length) for length in padded.shape[2:]]
    height, width = padded.shape[2] - 2 * reach, padded.shape[3] - 2 * reach
    # Circular convolution wraps around in the padding only, which is cropped.
    image_spectrum = tf.signal.rfft2d(padded, size)
    kernel_spectra = tf.signal.rfft2d(blur_kernels, size)
    weights = degradation.corner_weights(height, width)

    def blurred(number: int) -> tf.Tensor:
        whole = tf.signal.irfft2d(image_spectrum * kernel_spectra[:, number, None], size)
        return whole[..., 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]

    if count == 1:
        return blurred(0)
    return tf.add_n([weights[number] * blurred(number) for number in range(count)])
