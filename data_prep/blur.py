"""Synthetic blur for sources that have only sharp images; each image gets a random blur.

`GaussianBlur` and `TrajectoryBlur` blur and round. `Degraded` adds the other effects of a camera:
spatially varying kernels, highlights, noise and JPEG.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field

from tfdeblur.degradation import degradation, kernels
from tfdeblur.degradation.degradation import CORNERS, Degradation
from tfdeblur.errors import ConfigError
from tfdeblur.ops.arrays import to_uint8


class Blur(Protocol):
    """A random blur."""

    def describe(self) -> dict[str, Any]:
        """Returns its `kind` and parameters for the manifest."""
        ...

    def apply(self, sharp: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the blurred image: uint8 [height, width, 3] in and out."""
        ...


class Shapes(Protocol):
    """A distribution of blur kernels."""

    def describe(self) -> dict[str, Any]:
        """Returns its `kind` and parameters for the manifest."""
        ...

    def shapes(self, rng: np.random.Generator, variation: float) -> list[np.ndarray]:
        """Draws the kernels of one image.

        Args:
            rng: Random generator.
            variation: How much the corners differ, in [0, 1].

        Returns:
            One kernel if `variation` is 0, else one per corner; float32 [k, k], summing to one.
        """
        ...


def item_rng(seed: int, key: str) -> np.random.Generator:
    """Returns the random generator of one image.

    It depends on the seed of the build and the key of the image (split and index, or scene and
    frame), so neither other images nor the number of workers affect it.
    """
    digest = hashlib.sha256(key.encode()).digest()
    words = np.frombuffer(digest, np.uint32).tolist()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


def in_light(
    image: np.ndarray, gamma: float, blur: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Blurs an image in light of the given gamma and rounds the result.

    Args:
        image: uint8 [height, width, 3].
        gamma: 2.2 blurs in linear light, as a lens or a moving camera does; 1 blurs the pixel
            values.
        blur: Takes and returns float32 [height, width, 3].

    Returns:
        uint8 [height, width, 3].
    """
    values = image.astype(np.float32)
    if gamma == 1.0:
        # Not scaled to [0, 1] and back, which would round ties differently.
        return np.clip(np.rint(blur(values)), 0, 255).astype(np.uint8)
    light = blur((values / 255) ** np.float32(gamma))
    return to_uint8(np.clip(light, 0, 1) ** np.float32(1 / gamma))


@dataclasses.dataclass(frozen=True)
class GaussianBlur:
    """Gaussian blur with a random sigma for each image.

    The kernel has ``round(6 sigma + 1) | 1`` taps, borders are reflected without repeating the
    border pixel, and the result is rounded to uint8. A sigma near zero has a single tap and does
    not change the image.

    Attributes:
        max_sigma: Sigma is uniform in [min_sigma, max_sigma], in pixels.
        gamma: Light in which the image is blurred; see `in_light`.
        min_sigma: Lower bound of sigma.

    Reference: Orlandi and Pinardi, on autoencoders and Wasserstein GANs for deblurring on TPUs.
    """

    max_sigma: float = 3.0
    gamma: float = 1.0
    min_sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.min_sigma > self.max_sigma:
            raise ConfigError(
                f"min_sigma: {self.min_sigma:g} is greater than max_sigma, {self.max_sigma:g}."
            )

    def describe(self) -> dict[str, Any]:
        """Returns its kind and parameters."""
        return {
            "kind": "gaussian",
            "sigma": [self.min_sigma, self.max_sigma],
            "size": "round(6 sigma + 1) | 1",
            "border": "reflect101",
            "gamma": self.gamma,
        }

    def apply(self, sharp: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the blurred image: uint8 [height, width, 3] in and out."""
        sigma = rng.uniform(self.min_sigma, self.max_sigma)
        size = kernels.gaussian_size(sigma)
        if size == 1:
            return sharp
        kernel = kernels.gaussian_kernel1d(sigma, size)
        return in_light(sharp, self.gamma, lambda image: kernels.convolve_separable(image, kernel))

    def shapes(self, rng: np.random.Generator, variation: float) -> list[np.ndarray]:
        """Draws the kernels of one image; see `Shapes`."""
        widths = _mixed(rng, variation, lambda n: rng.uniform(self.min_sigma, self.max_sigma, n))
        lines = [kernels.gaussian_kernel1d(w, kernels.gaussian_size(w)) for w in widths]
        return [np.outer(line, line) for line in lines]


@dataclasses.dataclass(frozen=True)
class TrajectoryBlur:
    """Motion blur along a random camera path for each image.

    Attributes:
        length: Length of the path, in pixels.
        exposures: Fractions of the path during which the shutter is open; each image draws one.
        gamma: Light in which the image is blurred; see `in_light`.

    Reference: Boracchi and Foi, Modeling the Performance of Image Restoration from Motion Blur,
        2012, section III.
    """

    length: float = 60.0
    exposures: tuple[float, ...] = kernels.EXPOSURES
    gamma: float = 1.0

    def describe(self) -> dict[str, Any]:
        """Returns its kind and parameters."""
        return {
            "kind": "trajectory",
            "length": self.length,
            "canvas": self.canvas,
            "exposures": list(self.exposures),
            "border": "reflect101",
            "gamma": self.gamma,
        }

    @property
    def canvas(self) -> int:
        """Side of the kernel, in pixels; every path of this length fits."""
        return 2 * math.ceil(self.length / 2) + 4

    def apply(self, sharp: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the blurred image: uint8 [height, width, 3] in and out."""
        exposure = self.exposures[rng.integers(len(self.exposures))]
        kernel = kernels.trajectory_kernel(rng, self.canvas, self.length, exposure)
        return in_light(sharp, self.gamma, lambda image: kernels.convolve(image, kernel))

    def shapes(self, rng: np.random.Generator, variation: float) -> list[np.ndarray]:
        """Draws the kernels of one image; see `Shapes`. They share the exposure."""
        exposure = self.exposures[rng.integers(len(self.exposures))]
        paths = _mixed(
            rng,
            variation,
            lambda n: kernels.trajectories(kernels.draw_trajectories(rng, n), self.length),
        )
        return [kernels.path_kernel(path, self.canvas, exposure) for path in paths]


@dataclasses.dataclass(frozen=True)
class DiscBlur:
    """The blur of a lens out of focus, with a random radius for each image.

    Attributes:
        max_radius: The radius is uniform in [min_radius, max_radius], in pixels.
        min_radius: Lower bound of the radius.
    """

    max_radius: float = 4.0
    min_radius: float = 0.0

    def describe(self) -> dict[str, Any]:
        """Returns its kind and parameters."""
        radius = [self.min_radius, self.max_radius]
        return {"kind": "disc", "radius": radius, "border": "reflect101"}

    def shapes(self, rng: np.random.Generator, variation: float) -> list[np.ndarray]:
        """Draws the kernels of one image; see `Shapes`."""
        radii = _mixed(rng, variation, lambda n: rng.uniform(self.min_radius, self.max_radius, n))
        return [kernels.disc(radius) for radius in radii]


@dataclasses.dataclass(frozen=True)
class NoBlur:
    """No blur, for noise and compression only."""

    def describe(self) -> dict[str, Any]:
        """Returns its kind."""
        return {"kind": "none"}

    def shapes(self, rng: np.random.Generator, variation: float) -> list[np.ndarray]:
        """Returns the identity kernel."""
        return [np.ones((1, 1), np.float32)]


def _mixed(
    rng: np.random.Generator, variation: float, draw: Callable[[int], np.ndarray]
) -> np.ndarray:
    """Draws one value for the image or, if corners differ, interpolates to one per corner."""
    if not variation:
        return draw(1)
    drawn = draw(1 + CORNERS)
    return (1 - variation) * drawn[:1] + variation * drawn[1:]


@dataclasses.dataclass(frozen=True)
class Degraded:
    """A blur with the other effects of a camera; see `tfdeblur.degradation`.

    Attributes:
        shapes: Distribution of the kernels.
        options: The other effects and their strengths.
    """

    shapes: Shapes
    options: Degradation

    def describe(self) -> dict[str, Any]:
        """Returns the kind and parameters of the blur, and the other effects that are on."""
        extras = ("variation", "highlights", "read_noise", "shot_noise", "jpeg")
        given = {name: getattr(self.options, name) for name in extras}
        found = {name: value for name, value in given.items() if value}
        return {**self.shapes.describe(), "gamma": self.options.gamma, **found}

    def apply(self, sharp: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the blurred image: uint8 [height, width, 3] in and out."""
        options = self.options
        boost, level, quality = rng.uniform(size=3)
        noisy = options.read_noise > 0 or options.shot_noise > 0
        values = degradation.degrade(
            sharp,
            self.shapes.shapes(rng, options.variation),
            gamma=options.gamma,
            boost=boost * options.highlights,
            read=level * options.read_noise,
            shot=level * options.shot_noise,
            normals=rng.standard_normal(sharp.shape, np.float32) if noisy else None,
        )
        blurred = to_uint8(values)
        if options.jpeg is None:
            return blurred
        return degradation.compress(blurred, options.jpeg + int(quality * (101 - options.jpeg)))


def blur_for(options: Degradation) -> Blur:
    """Returns the blur for a set of options; the simplest class that implements it."""
    strength, gamma = options.strength, options.gamma
    low, high = strength * options.min_sigma, strength * options.max_sigma
    gaussian = GaussianBlur(high, gamma, low)
    trajectory = TrajectoryBlur(strength * options.length, options.exposures, gamma)
    plain = not (
        options.variation
        or options.highlights
        or options.read_noise
        or options.shot_noise
        or options.jpeg
    )
    if plain and options.blur == "gaussian":
        return gaussian
    if plain and options.blur == "trajectory":
        return trajectory
    shapes: dict[str, Shapes] = {
        "gaussian": gaussian,
        "trajectory": trajectory,
        "disc": DiscBlur(strength * options.max_radius, strength * options.min_radius),
        "none": NoBlur(),
    }
    return Degraded(shapes[options.blur], options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlurOptions(Degradation):
    """Options of sources that have only sharp images."""

    blur: Annotated[
        Literal["none", "trajectory", "gaussian", "disc"],
        Field(
            description="trajectory: camera shake along a random path; gaussian: soft focus; "
            "disc: a lens out of focus; none: noise and JPEG only"
        ),
    ] = "trajectory"
