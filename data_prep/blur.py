"""Blur for sources that have sharp pictures only; each picture draws its own.

`GaussianBlur` and `TrajectoryBlur` blur and round, no more. `Degraded` puts the rest of a camera
around a blur: other kernels in other corners, highlights, noise, JPEG.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tfdeblur.degradation import degradation, kernels
from tfdeblur.degradation.degradation import CORNERS, Degradation
from tfdeblur.errors import ConfigError


class Blur(Protocol):
    """Something that blurs a picture, drawing what it needs from a random generator."""

    def describe(self) -> dict[str, Any]:
        """Returns its `kind` and parameters, as the manifest keeps them."""
        ...

    def apply(self, sharp: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the blurred picture: uint8 [height, width, 3] in and out."""
        ...


class Shapes(Protocol):
    """Something that draws kernels."""

    def describe(self) -> dict[str, Any]:
        """Returns its `kind` and parameters, as the manifest keeps them."""
        ...

    def shapes(self, rng: np.random.Generator, variation: float) -> list[np.ndarray]:
        """Draws the kernels of one picture.

        Args:
            rng: Where they come from.
            variation: How much the corners differ, in [0, 1].

        Returns:
            One kernel where `variation` is 0, else one for each corner; float32 [k, k], summing
            to one.
        """
        ...


def item_rng(seed: int, key: str) -> np.random.Generator:
    """Returns the random generator of one picture.

    It depends on the seed of the build and on what the picture is called (split and index, or
    scene and frame), so neither other pictures nor the number of workers change the draws.
    """
    digest = hashlib.sha256(key.encode()).digest()
    words = np.frombuffer(digest, np.uint32).tolist()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Rounds an image in 0..255 to the nearest uint8 values."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def in_light(
    image: np.ndarray, gamma: float, blur: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Blurs a uint8 image in light of the given gamma and rounds the result.

    Args:
        image: uint8 [height, width, 3].
        gamma: 2.2 blurs in linear light, as a lens or a moving camera does; 1 blurs the pixel
            values as they are.
        blur: Takes and returns float32 [height, width, 3].

    Returns:
        uint8 [height, width, 3].
    """
    values = image.astype(np.float32)
    if gamma == 1.0:
        return to_uint8(blur(values))
    light = blur((values / 255) ** np.float32(gamma))
    return to_uint8(255 * np.clip(light, 0, 1) ** np.float32(1 / gamma))


@dataclasses.dataclass(frozen=True)
class GaussianBlur:
    """Gaussian blur of a width drawn for each picture.

    The kernel has ``round(6 sigma + 1) | 1`` taps, borders are reflected without repeating the
    border pixel, and the result is rounded to uint8. A width near zero has a single tap and
    leaves the picture as it is.

    Attributes:
        max_sigma: Widths are uniform in [min_sigma, max_sigma], in pixels.
        gamma: Light in which the picture is blurred; see `in_light`.
        min_sigma: The narrowest width.

    Reference: Orlandi and Pinardi, on autoencoders and Wasserstein GANs for deblurring on TPUs.
    """

    max_sigma: float = 3.0
    gamma: float = 1.0
    min_sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.min_sigma > self.max_sigma:
            raise ConfigError(
                f"min_sigma: {self.min_sigma:g} is more than max_sigma, {self.max_sigma:g}."
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
        """Returns the blurred picture: uint8 [height, width, 3] in and out."""
        sigma = rng.uniform(self.min_sigma, self.max_sigma)
        size = kernels.gaussian_size(sigma)
        if size == 1:
            return sharp
        kernel = kernels.gaussian_kernel1d(sigma, size)
        return in_light(sharp, self.gamma, lambda image: kernels.convolve_separable(image, kernel))

    def shapes(self, rng: np.random.Generator, variation: float) -> list[np.ndarray]:
        """Draws the kernels of one picture; see `Shapes`."""
        widths = _mixed(rng, variation, lambda n: rng.uniform(self.min_sigma, self.max_sigma, n))
        lines = [kernels.gaussian_kernel1d(w, kernels.gaussian_size(w)) for w in widths]
        return [np.outer(line, line) for line in lines]


@dataclasses.dataclass(frozen=True)
class TrajectoryBlur:
    """Motion blur along a random path of the camera, one path for each picture.

    Attributes:
        length: Length of the whole path, in pixels.
        exposures: Shares of the path during which the shutter is open; each picture draws one.
        gamma: Light in which the picture is blurred; see `in_light`.

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
        """Side of the kernel: no path leaves it, wherever it turns."""
        return 2 * math.ceil(self.length / 2) + 4

    def apply(self, sharp: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the blurred picture: uint8 [height, width, 3] in and out."""
        exposure = self.exposures[rng.integers(len(self.exposures))]
        kernel = kernels.trajectory_kernel(rng, self.canvas, self.length, exposure)
        return in_light(sharp, self.gamma, lambda image: kernels.convolve(image, kernel))

    def shapes(self, rng: np.random.Generator, variation: float) -> list[np.ndarray]:
        """Draws the kernels of one picture; see `Shapes`. They share the time of exposure."""
        exposure = self.exposures[rng.integers(len(self.exposures))]
        paths = _mixed(
            rng,
            variation,
            lambda n: kernels.trajectories(kernels.draw_trajectories(rng, n), self.length),
        )
        return [kernels.path_kernel(path, self.canvas, exposure) for path in paths]


@dataclasses.dataclass(frozen=True)
class DiscBlur:
    """The blur of a lens out of focus, of a radius drawn for each picture.

    Attributes:
        max_radius: Radii are uniform in [min_radius, max_radius], in pixels.
        min_radius: The smallest radius.
    """

    max_radius: float = 4.0
    min_radius: float = 0.0

    def describe(self) -> dict[str, Any]:
        """Returns its kind and parameters."""
        radius = [self.min_radius, self.max_radius]
        return {"kind": "disc", "radius": radius, "border": "reflect101"}

    def shapes(self, rng: np.random.Generator, variation: float) -> list[np.ndarray]:
        """Draws the kernels of one picture; see `Shapes`."""
        radii = _mixed(rng, variation, lambda n: rng.uniform(self.min_radius, self.max_radius, n))
        return [kernels.disc(radius) for radius in radii]


@dataclasses.dataclass(frozen=True)
class NoBlur:
    """Leaves pictures sharp, for noise and compression alone."""

    def describe(self) -> dict[str, Any]:
        """Returns its kind."""
        return {"kind": "none"}

    def shapes(self, rng: np.random.Generator, variation: float) -> list[np.ndarray]:
        """Returns the kernel that changes nothing."""
        return [np.ones((1, 1), np.float32)]


def _mixed(
    rng: np.random.Generator, variation: float, draw: Callable[[int], np.ndarray]
) -> np.ndarray:
    """Draws for a picture, and mixes into it what is drawn for each corner if these differ."""
    if not variation:
        return draw(1)
    drawn = draw(1 + CORNERS)
    return (1 - variation) * drawn[:1] + variation * drawn[1:]


@dataclasses.dataclass(frozen=True)
class Degraded:
    """A blur with what else a camera does to a picture; see `degradation`.

    Attributes:
        shapes: Draws the kernels.
        options: What else is done, and how strongly.
    """

    shapes: Shapes
    options: Degradation

    def describe(self) -> dict[str, Any]:
        """Returns kind and parameters of the blur, and whatever else is done."""
        extras = ("variation", "highlights", "read_noise", "shot_noise", "jpeg")
        given = {name: getattr(self.options, name) for name in extras}
        found = {name: value for name, value in given.items() if value}
        return {**self.shapes.describe(), "gamma": self.options.gamma, **found}

    def apply(self, sharp: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the blurred picture: uint8 [height, width, 3] in and out."""
        options = self.options
        boost, level, lot = rng.uniform(size=3)
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
        blurred = degradation.to_uint8(values)
        if options.jpeg is None:
            return blurred
        return degradation.compress(blurred, options.jpeg + int(lot * (101 - options.jpeg)))


def blur_for(options: Degradation) -> Blur:
    """Returns the blur that options describe."""
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
