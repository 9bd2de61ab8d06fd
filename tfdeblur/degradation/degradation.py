"""Degradation of sharp images to blurred photographs: the options, and the steps in NumPy.

A camera integrates light before it clips, quantizes and compresses it. So the steps are: convert
pixel values to light; make highlights brighter than an image can represent; blur, with one kernel
or with four that are blended between the corners; clip and add sensor noise; convert back to pixel
values; optionally compress as JPEG.

`data_prep` uses this module; `synthesis` is its counterpart in TensorFlow, for training.
"""

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import numpy as np
from PIL import Image
from pydantic import Field

from tfdeblur.degradation import kernels

# Pixel values from here to 1 may represent more light than an image can hold.
SATURATED = 250 / 255

Kind: TypeAlias = Literal["none", "trajectory", "gaussian", "disc"]
_MixedKind: TypeAlias = Literal["none", "trajectory", "gaussian", "disc", "identity"]
Shares: TypeAlias = dict[_MixedKind, Annotated[float, Field(ge=0, allow_inf_nan=False)]]

# Kinds without a kernel; `identity` has no noise and no JPEG either.
_WITHOUT_KERNEL = ("none", "identity")

# Kernels of a varying blur: one per corner, in the order of `corner_weights`.
CORNERS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Degradation:
    """Options of the degradation; each image draws its own kernel and amounts."""

    blur: Kind | Shares = "none"
    """trajectory: camera shake along a random path; gaussian: soft focus; disc: a lens out of
    focus; none: no blur; or the shares of several, such as {trajectory: 3, disc: 1, identity: 1},
    where identity leaves images as they are"""
    strength: Annotated[float, Field(gt=0, le=4)] = 1.0
    """multiplies lengths, widths and radii"""
    min_sigma: Annotated[float, Field(ge=0, le=16)] = 0.0
    """gaussian: narrowest width, in pixels"""
    max_sigma: Annotated[float, Field(ge=0, le=16)] = 3.0
    """gaussian: widest width, in pixels"""
    min_radius: Annotated[float, Field(ge=0, le=32)] = 0.0
    """disc: smallest radius, in pixels"""
    max_radius: Annotated[float, Field(ge=0, le=32)] = 4.0
    """disc: largest radius, in pixels"""
    length: Annotated[float, Field(gt=0, le=256)] = 60.0
    """trajectory: length of the whole path in pixels"""
    exposures: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (
        kernels.EXPOSURES
    )
    """trajectory: fractions of the path; each image draws one"""
    variation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """how much the blur differs between the corners of an image: 0 is uniform, 1 is independent
    blur in each corner; with several kinds of blur, each image draws a value from 0 to this"""
    linear_light: bool = False
    """blur in linear light (gamma 2.2), where bright points leave streaks"""
    highlights: Annotated[float, Field(ge=0)] = 0.0
    """white represents up to 1 + this times as much light, which leaves white streaks"""
    read_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """maximum standard deviation of noise in the dark; 1 is white"""
    shot_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """maximum standard deviation of photon noise, at white"""
    jpeg: Annotated[int | None, Field(ge=1, le=100)] = None
    """compress as JPEG with a random quality from this to 100"""

    def __post_init__(self) -> None:
        if not isinstance(self.blur, str) and not any(self.blur.values()):
            raise ValueError("blur: at least one share must be above 0")
        for name in ("sigma", "radius"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(f"min_{name}: {low:g} is above max_{name}, {high:g}")

    @property
    def gamma(self) -> float:
        """The exponent that converts pixel values to light."""
        return 2.2 if self.linear_light else 1.0

    @property
    def shares(self) -> dict[str, float]:
        """The share of images of each kind of blur, adding up to one, sorted by kind."""
        if isinstance(self.blur, str):
            return {self.blur: 1.0}
        total = sum(self.blur.values())
        return {kind: share / total for kind, share in sorted(self.blur.items()) if share}

    @property
    def mixed(self) -> bool:
        """Whether each image draws its kind of blur."""
        return not isinstance(self.blur, str)

    @property
    def blurs(self) -> bool:
        """Whether any kind of blur has a kernel."""
        return any(kind not in _WITHOUT_KERNEL for kind in self.shares)

    @property
    def changes(self) -> bool:
        """Whether the options change an image at all."""
        effects = self.read_noise or self.shot_noise or self.jpeg is not None
        return self.blurs or (bool(effects) and list(self.shares) != ["identity"])

    @property
    def canvas(self) -> int:
        """Side of a square that holds every kernel that may be drawn; 1 without blur."""
        return max(self.canvas_of(kind) for kind in self.shares)

    def canvas_of(self, kind: str) -> int:
        """Returns the side of a square that holds every kernel of one kind."""
        if kind == "trajectory":
            # No path of this length leaves it.
            return 2 * math.ceil(self.strength * self.length / 2) + 4
        if kind == "gaussian":
            return kernels.gaussian_size(self.strength * self.max_sigma)
        if kind == "disc":
            return 2 * max(0, math.ceil(self.strength * self.max_radius - 0.5)) + 1
        return 1


def to_light(values: np.ndarray, gamma: float, boost: float = 0.0) -> np.ndarray:
    """Converts pixel values to light.

    Args:
        values: float32 [height, width, 3] in [0, 1].
        gamma: 2.2 for linear light, 1 to keep the values.
        boost: White represents 1 + boost times the light. Applies only where all three channels
            are near 1: otherwise a bright red would turn white, while the sharp image, which is
            clipped too, shows it red.

    Returns:
        float32 [height, width, 3] in [0, 1 + boost].
    """
    light = values if gamma == 1.0 else values ** np.float32(gamma)
    if not boost:
        return light
    darkest = values.min(axis=-1, keepdims=True)
    excess = np.clip((darkest - np.float32(SATURATED)) / np.float32(1 - SATURATED), 0, 1)
    return light * (1 + np.float32(boost) * excess)


def corner_weights(height: int, width: int) -> np.ndarray:
    """Returns the weight of each corner's kernel at each pixel.

    The weights are bilinear in the coordinates of the pixel.

    Returns:
        float32 [4, height, width], adding up to one at each pixel; the corners are top left, top
        right, bottom left and bottom right.
    """
    down = np.linspace(0, 1, height)[:, None] if height > 1 else np.full((1, 1), 0.5)
    right = np.linspace(0, 1, width)[None, :] if width > 1 else np.full((1, 1), 0.5)
    weights = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    return np.stack(weights).astype(np.float32)


def blur(image: np.ndarray, blur_kernels: Sequence[np.ndarray]) -> np.ndarray:
    """Blurs an image with one kernel, or with four that are blended between the corners.

    Args:
        image: float32 [height, width, 3].
        blur_kernels: One or four kernels, float32 [k, k] with their centers at k // 2.

    Returns:
        float32 [height, width, 3]. Each pixel is the weighted mean of the image convolved with
        each of the four kernels, which preserves brightness and leaves no seams.

    Reference: Hirsch, Sra, Schoelkopf and Harmeling, Efficient Filter Flow for Space-Variant
        Multiframe Blind Deconvolution, CVPR 2010, section 2, with bilinear windows.
    """
    if len(blur_kernels) == 1:
        return kernels.convolve(image, blur_kernels[0])
    weights = corner_weights(*image.shape[:2])[..., None]
    blurred = np.zeros(image.shape, np.float32)
    for weight, kernel in zip(weights, blur_kernels, strict=True):
        blurred += weight * kernels.convolve(image, kernel)
    return blurred


def degrade(
    sharp: np.ndarray,
    blur_kernels: Sequence[np.ndarray],
    *,
    gamma: float = 1.0,
    boost: float = 0.0,
    read: float = 0.0,
    shot: float = 0.0,
    normals: np.ndarray | None = None,
) -> np.ndarray:
    """Applies all steps except rounding and compression.

    Args:
        sharp: uint8 [height, width, 3].
        blur_kernels: One kernel or four; see `blur`.
        gamma: See `to_light`.
        boost: See `to_light`.
        read: Standard deviation of the sensor's noise in the dark.
        shot: Standard deviation of photon noise at white; its variance is proportional to the
            light, as in a Poisson distribution.
        normals: float32 [height, width, 3], standard normal; required for noise.

    Returns:
        float32 [height, width, 3] in [0, 1], pixel values.

    Reference: Foi, Trimeche, Katkovnik and Egiazarian, Practical Poissonian-Gaussian noise
        modeling and fitting for single-image raw-data, 2008, equation 3.
    """
    light = blur(to_light(sharp.astype(np.float32) / 255, gamma, boost), blur_kernels)
    if normals is not None:
        light = np.clip(light, 0, 1)
        light = light + np.sqrt(np.float32(read**2) + np.float32(shot**2) * light) * normals
    light = np.clip(light, 0, 1)
    return light if gamma == 1.0 else light ** np.float32(1 / gamma)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Returns uint8 [height, width, 3] after JPEG compression with a quality from 1 to 100."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file, formats=["JPEG"]) as compressed:
        return np.asarray(compressed)
