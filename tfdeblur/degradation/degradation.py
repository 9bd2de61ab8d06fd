"""From a sharp picture to a blurred photograph, in NumPy: what is drawn, and the mathematics.

A camera adds up light, and only then counts, clips, rounds and compresses it. So the steps are:
pixel values become light; highlights become brighter than the picture can show; the light is
blurred, by one kernel or by four that change from corner to corner; the sensor clips it and adds
noise; the result is written as pixel values again, and perhaps as JPEG.

`data.synthesis` does the same in TensorFlow, for training. `data_prep` uses what stands here.
"""

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from tfdeblur.degradation import kernels

# Light of linear sensors against pixel values.
LINEAR_GAMMA = 2.2

# From here to 1 a pixel value may stand for more light than the picture can show.
SATURATED = 250 / 255

# Kernels of a blur that varies: one for each corner, in the order of `corner_weights`.
CORNERS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Degradation:
    """How sharp pictures become blurred ones; each picture draws its own kernel and amounts."""

    blur: Annotated[
        Literal["none", "trajectory", "gaussian", "disc"],
        Field(
            description="trajectory: camera shake along a random path; gaussian: soft focus; "
            "disc: a lens out of focus; none: no blur"
        ),
    ] = "none"
    strength: Annotated[
        float, Field(gt=0, le=4, description="multiplies lengths, widths and radii")
    ] = 1.0
    min_sigma: Annotated[
        float, Field(ge=0, le=16, description="gaussian: narrowest width, in pixels")
    ] = 0.0
    max_sigma: Annotated[
        float, Field(ge=0, le=16, description="gaussian: widest width, in pixels")
    ] = 3.0
    min_radius: Annotated[
        float, Field(ge=0, le=32, description="disc: smallest radius, in pixels")
    ] = 0.0
    max_radius: Annotated[
        float, Field(ge=0, le=32, description="disc: largest radius, in pixels")
    ] = 4.0
    length: Annotated[
        float, Field(gt=0, le=256, description="trajectory: length of the whole path in pixels")
    ] = 60.0
    exposures: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...],
        Field(min_length=1, description="trajectory: shares of the path; each picture draws one"),
    ] = kernels.EXPOSURES
    variation: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="how much the blur differs between the corners of a picture: 0 not at all, "
            "1 each has a blur of its own",
        ),
    ] = 0.0
    linear_light: Annotated[
        bool,
        Field(description="blur in linear light (gamma 2.2), where bright points leave traces"),
    ] = False
    highlights: Annotated[
        float,
        Field(
            ge=0,
            description="white may stand for up to 1 + this times as much light, which leaves "
            "white streaks",
        ),
    ] = 0.0
    read_noise: Annotated[
        float,
        Field(
            ge=0, le=1, description="largest standard deviation of noise in the dark; 1 is white"
        ),
    ] = 0.0
    shot_noise: Annotated[
        float,
        Field(ge=0, le=1, description="the same for noise of the light itself, at white"),
    ] = 0.0
    jpeg: Annotated[
        int | None,
        Field(
            ge=1, le=100, description="compress as JPEG; a quality from this one to 100 is drawn"
        ),
    ] = None

    def __post_init__(self) -> None:
        for name in ("sigma", "radius"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(f"min_{name}: {low:g} is more than max_{name}, {high:g}")

    @property
    def gamma(self) -> float:
        """The power that turns pixel values into light."""
        return LINEAR_GAMMA if self.linear_light else 1.0

    @property
    def changes(self) -> bool:
        """Whether anything is done to a picture at all."""
        noise = self.read_noise or self.shot_noise
        return self.blur != "none" or bool(noise) or self.jpeg is not None

    @property
    def canvas(self) -> int:
        """Side of a square that holds every kernel that may be drawn; 1 where there is no blur."""
        if self.blur == "trajectory":
            # No path leaves it, wherever it turns.
            return 2 * math.ceil(self.strength * self.length / 2) + 4
        if self.blur == "gaussian":
            return kernels.gaussian_size(self.strength * self.max_sigma)
        if self.blur == "disc":
            return 2 * max(0, math.ceil(self.strength * self.max_radius - 0.5)) + 1
        return 1


def to_light(values: np.ndarray, gamma: float, boost: float = 0.0) -> np.ndarray:
    """Turns pixel values into light.

    Args:
        values: float32 [height, width, 3] in [0, 1].
        gamma: 2.2 for linear light, 1 to leave the values as they are.
        boost: White stands for 1 + boost times the light. Only where all three channels are near
            1: a bright red would turn white, and the sharp picture, which clips too, says it is
            red.

    Returns:
        float32 [height, width, 3] in [0, 1 + boost].
    """
    light = values if gamma == 1.0 else values ** np.float32(gamma)
    if not boost:
        return light
    darkest = values.min(axis=-1, keepdims=True)
    excess = np.clip((darkest - np.float32(SATURATED)) / np.float32(1 - SATURATED), 0, 1)
    return light * (1 + np.float32(boost) * excess)


def from_light(light: np.ndarray, gamma: float) -> np.ndarray:
    """Turns light, of any size, into float32 pixel values in [0, 1], and clips what is beyond."""
    clipped = np.clip(light, 0, 1)
    return clipped if gamma == 1.0 else clipped ** np.float32(1 / gamma)


def corner_weights(height: int, width: int) -> np.ndarray:
    """Returns how much the kernel of each corner counts at each pixel.

    The weights are bilinear in the place of the pixel, and so change smoothly over the picture.

    Returns:
        float32 [4, height, width], adding up to one at each pixel; the corners are top left, top
        right, bottom left and bottom right.
    """
    down = np.linspace(0, 1, height)[:, None] if height > 1 else np.full((1, 1), 0.5)
    right = np.linspace(0, 1, width)[None, :] if width > 1 else np.full((1, 1), 0.5)
    weights = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    return np.stack(weights).astype(np.float32)


def blur(image: np.ndarray, shapes: Sequence[np.ndarray]) -> np.ndarray:
    """Blurs an image with one kernel, or with four that change from corner to corner.

    Args:
        image: float32 [height, width, 3].
        shapes: One or four kernels, float32 [k, k] with their centers at k // 2.

    Returns:
        float32 [height, width, 3]. Each pixel is the weighted mean of what the four kernels make
        of the image, so brightness is kept and there are no seams.

    Reference: Hirsch, Sra, Schoelkopf and Harmeling, Efficient Filter Flow for Space-Variant
        Multiframe Blind Deconvolution, CVPR 2010, section 2, with bilinear windows.
    """
    if len(shapes) == 1:
        return kernels.convolve(image, shapes[0])
    weights = corner_weights(*image.shape[:2])[..., None]
    blurred = np.zeros(image.shape, np.float32)
    for weight, shape in zip(weights, shapes, strict=True):
        blurred += weight * kernels.convolve(image, shape)
    return blurred


def noise_deviation(light: np.ndarray, read: float, shot: float) -> np.ndarray:
    """Returns the standard deviation of a sensor's noise, ``sqrt(read^2 + shot^2 light)``.

    Args:
        light: float32, any shape, in [0, 1].
        read: Standard deviation in the dark.
        shot: Standard deviation at white of the part that comes from counting light, whose
            variance grows with the light as that of a Poisson distribution does.

    Reference: Foi, Trimeche, Katkovnik and Egiazarian, Practical Poissonian-Gaussian noise
        modeling and fitting for single-image raw-data, 2008, equation 3.
    """
    return np.sqrt(np.float32(read**2) + np.float32(shot**2) * light)


def degrade(
    sharp: np.ndarray,
    shapes: Sequence[np.ndarray],
    *,
    gamma: float = 1.0,
    boost: float = 0.0,
    read: float = 0.0,
    shot: float = 0.0,
    normals: np.ndarray | None = None,
) -> np.ndarray:
    """Does all but rounding and compressing.

    Args:
        sharp: uint8 [height, width, 3].
        shapes: One kernel or four; see `blur`.
        gamma: See `to_light`.
        boost: See `to_light`.
        read: See `noise_deviation`.
        shot: See `noise_deviation`.
        normals: float32 [height, width, 3], standard normal; needed where there is noise.

    Returns:
        float32 [height, width, 3] in [0, 1], pixel values.
    """
    light = blur(to_light(sharp.astype(np.float32) / 255, gamma, boost), shapes)
    if normals is not None:
        light = np.clip(light, 0, 1)
        light = light + noise_deviation(light, read, shot) * normals
    return from_light(light, gamma)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounds pixel values in [0, 1] to the nearest uint8."""
    return np.clip(np.rint(255 * values), 0, 255).astype(np.uint8)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Returns what is left of uint8 [height, width, 3] after JPEG of some quality, 1 to 100."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as picture:
        return np.asarray(picture)
