"""Blur kernels and convolution in NumPy, used by data preparation and by synthesis.

All kernels are float32, sum to one, and are centered on index k // 2. So a blurred image keeps its
brightness and stays aligned with the sharp image.
"""

import dataclasses

import numpy as np


def gaussian_kernel1d(sigma: float, size: int) -> np.ndarray:
    """Returns a sampled Gaussian.

    Args:
        sigma: Standard deviation in pixels, at least 0. Zero gives the identity.
        size: Number of taps, odd.

    Returns:
        float32 [size], summing to one.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size must be odd. Received: {size}.")
    if sigma < 0:
        raise ValueError(f"sigma must be at least 0. Received: {sigma}.")
    offsets = np.arange(size, dtype=np.float64) - size // 2
    # The lower limit avoids division by zero and gives the same kernel.
    weights = np.exp(-0.5 * np.square(offsets / max(sigma, 1e-4)))
    return (weights / weights.sum()).astype(np.float32)


def gaussian_size(sigma: float) -> int:
    """Returns the odd size that holds three standard deviations: ``round(6 sigma + 1) | 1``."""
    return round(6 * sigma + 1) | 1


def convolve_separable(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolves rows and columns with a symmetric kernel; borders are reflected.

    The border pixel is not repeated (OpenCV's ``reflect101``, NumPy's ``reflect``).

    Args:
        image: float32 [height, width, channels].
        kernel: float32 [size], symmetric, of odd size.

    Returns:
        float32 [height, width, channels].
    """
    radius = len(kernel) // 2
    if radius == 0:
        return image * kernel[0]
    height, width = image.shape[:2]
    padded = np.pad(image, ((radius, radius), (0, 0), (0, 0)), mode="reflect")
    rows = kernel[radius] * padded[radius : radius + height]
    for tap in range(radius):
        mirrored = 2 * radius - tap
        rows += kernel[tap] * (padded[tap : tap + height] + padded[mirrored : mirrored + height])
    padded = np.pad(rows, ((0, 0), (radius, radius), (0, 0)), mode="reflect")
    out = kernel[radius] * padded[:, radius : radius + width]
    for tap in range(radius):
        mirrored = 2 * radius - tap
        out += kernel[tap] * (padded[:, tap : tap + width] + padded[:, mirrored : mirrored + width])
    return out


# Subpixels along each side of a pixel that measure how much of it a disc covers.
DISC_POINTS = 16


def disc(radius: float) -> np.ndarray:
    """Returns the kernel of a lens out of focus: a disc with an antialiased edge.

    Args:
        radius: Radius in pixels, at least 0. Zero gives the identity.

    Returns:
        float32 [size, size] with the smallest odd size that holds the disc, summing to one.
    """
    if radius < 0:
        raise ValueError(f"radius must be at least 0. Received: {radius}.")
    half = max(0, int(np.ceil(radius - 0.5)))
    fine = DISC_POINTS
    # Each pixel counts its subpixel centers inside the disc.
    points = (np.arange((2 * half + 1) * fine) + 0.5) / fine - (half + 0.5)
    inside = points[:, None] ** 2 + points[None, :] ** 2 <= max(radius, 0.5) ** 2
    size = 2 * half + 1
    counts = inside.reshape(size, fine, size, fine).sum(axis=(1, 3)).astype(np.float64)
    return (counts / counts.sum()).astype(np.float32)


# ------------------------------------------------------------------------- random trajectories

# Strengths of the shake; each trajectory draws one of them.
SHAKES = (0.01, 0.009, 0.008, 0.007, 0.005, 0.003)
# Fractions of the trajectory during which the shutter is open: from nearly sharp to fully blurred.
EXPOSURES = (0.01, 0.1, 0.5, 1.0)
STEPS = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class TrajectoryDraws:
    """Random numbers that determine a batch of trajectories.

    Attributes:
        shake: float64 [batch], e, one of `SHAKES`.
        pull: float64 [batch], c in [0, 0.7): strength of the pull towards the start.
        gaussian: float64 [batch], g in [0, 10): strength of the random force.
        heading: float64 [batch], direction of the first step in radians.
        force: complex128 [batch, steps - 1], standard normal real and imaginary parts.
        jump: complex128 [batch, steps - 1]: relative change of the velocity at jerks, 0 at all
            other steps.
    """

    shake: np.ndarray
    pull: np.ndarray
    gaussian: np.ndarray
    heading: np.ndarray
    force: np.ndarray
    jump: np.ndarray


def draw_trajectories(rng: np.random.Generator, batch: int, steps: int = STEPS) -> TrajectoryDraws:
    """Draws the random numbers of `batch` trajectories.

    Args:
        rng: Random number generator.
        batch: Number of trajectories.
        steps: Points of each trajectory, at least 2.
    """
    shake = rng.choice(np.asarray(SHAKES), batch)
    pull, probability, gaussian = rng.uniform(size=(3, batch)) * np.array([[0.7], [0.2], [10.0]])
    heading = rng.uniform(0, 2 * np.pi, batch)
    shape = (batch, steps - 1)
    force = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    jerks = rng.uniform(size=shape) < (probability * shake)[:, None]
    # A jerk reverses the velocity, to within half a radian.
    turn = np.exp(1j * (np.pi + rng.uniform(-0.5, 0.5, shape)))
    return TrajectoryDraws(shake, pull, gaussian, heading, force, np.where(jerks, 2 * turn, 0))


def trajectories(draws: TrajectoryDraws, length: float) -> np.ndarray:
    """Returns the paths of an image point during camera shake.

    A random force, a pull towards the start and rare jerks change the velocity, which is then
    scaled to constant speed, so that all paths have the same length.

    Args:
        draws: The random numbers.
        length: Length of the whole path, in pixels.

    Returns:
        complex128 [batch, steps]; the real part is x (columns), the imaginary part y (rows).

    Reference: Boracchi and Foi, Modeling the Performance of Image Restoration from Motion Blur,
        2012, section III.
    """
    batch, moves = draws.force.shape
    step = length / moves
    pull = draws.shake * step * draws.pull
    push = (draws.shake * step * draws.gaussian)[:, None] * draws.force
    velocity = draws.shake * np.exp(1j * draws.heading)
    path = np.zeros((batch, moves + 1), np.complex128)
    place = path[:, 0].copy()
    for move in range(moves):
        velocity = velocity * (1 + draws.jump[:, move]) + push[:, move] - pull * place
        velocity *= step / np.maximum(np.abs(velocity), 1e-12)
        place = place + velocity
        path[:, move + 1] = place
    return path


def path_kernel(path: np.ndarray, canvas: int, exposure: float = 1.0) -> np.ndarray:
    """Rasterizes the first part of a path as a blur kernel.

    The path is shifted so that its centroid is the center of the kernel, which aligns the blurred
    image with the sharp one. Each point is spread over its four neighbors with bilinear weights.

    Args:
        path: complex [steps], as `trajectories` returns.
        canvas: Side of the kernel in pixels; a path of length canvas - 4 always fits, and points
            outside are drawn on the border.
        exposure: Fraction of the path that is drawn, in (0, 1]; at least one point.

    Returns:
        float32 [canvas, canvas], summing to one.
    """
    if canvas < 2 or not 0 < exposure <= 1:
        raise ValueError(
            f"canvas must be at least 2 and exposure in (0, 1]. Received: {canvas}, {exposure}."
        )
    open_path = path[: max(1, round(exposure * len(path)))]
    centered = open_path - open_path.mean()
    kernel = np.zeros(canvas * canvas)
    x0, x_weight = _split_place(centered.real, canvas)
    y0, y_weight = _split_place(centered.imag, canvas)
    for dy, wy in ((0, 1 - y_weight), (1, y_weight)):
        for dx, wx in ((0, 1 - x_weight), (1, x_weight)):
            index = (y0 + dy) * canvas + x0 + dx
            kernel += np.bincount(index, wy * wx, minlength=canvas * canvas)
    return (kernel / kernel.sum()).astype(np.float32).reshape(canvas, canvas)


def _split_place(offset: np.ndarray, canvas: int) -> tuple[np.ndarray, np.ndarray]:
    place = np.clip(offset + canvas // 2, 0, canvas - 1)
    floor = np.minimum(np.floor(place), canvas - 2).astype(np.int64)
    return floor, place - floor


def trajectory_kernel(
    rng: np.random.Generator,
    canvas: int = 64,
    length: float = 60.0,
    exposure: float = 1.0,
) -> np.ndarray:
    """Draws one random-trajectory kernel; see `trajectories` and `path_kernel`.

    Args:
        rng: Random number generator.
        canvas: Side of the kernel in pixels.
        length: Length of the whole path in pixels.
        exposure: Fraction of the path during which the shutter is open, in (0, 1].

    Returns:
        float32 [canvas, canvas], summing to one, its centroid at index canvas // 2.
    """
    path = trajectories(draw_trajectories(rng, 1), length)[0]
    return path_kernel(path, canvas, exposure)


# --------------------------------------------------------------------------------- convolution


def trim(kernel: np.ndarray) -> np.ndarray:
    """Crops a kernel [k, k] to the smallest odd square around its center with all its weights."""
    center = kernel.shape[0] // 2
    rows, columns = np.nonzero(kernel)
    reach = int(max(np.abs(rows - center).max(), np.abs(columns - center).max()))
    padded = np.pad(kernel, reach)
    return padded[center : center + 2 * reach + 1, center : center + 2 * reach + 1]


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolves an image with a two-dimensional kernel by FFT; borders are reflected.

    Args:
        image: float32 [height, width, channels].
        kernel: float32 [k, k], with its center at k // 2.

    Returns:
        float32 [height, width, channels].
    """
    kernel = trim(kernel)
    reach = kernel.shape[0] // 2
    if reach == 0:
        return (image * kernel[0, 0]).astype(np.float32)
    height, width = image.shape[:2]
    planes = np.moveaxis(image, -1, 0)
    padded = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    # Circular convolution wraps around in the padding only, which is cropped.
    shape = (fast_size(padded.shape[1]), fast_size(padded.shape[2]))
    spectrum = np.fft.rfft2(padded, shape) * np.fft.rfft2(kernel, shape)
    blurred = np.fft.irfft2(spectrum, shape)
    cut = blurred[:, 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]
    return np.ascontiguousarray(np.moveaxis(cut, 0, -1), np.float32)


def fast_size(size: int) -> int:
    """Returns the smallest size from `size` on without prime factors above 5, for a fast FFT."""
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 1
