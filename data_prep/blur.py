"""Synthetic blur for sources that have only sharp images; each image gets a random blur.

The steps and their options are those of `tfdeblur.degradation`: spatially varying kernels,
highlights, noise and JPEG, as in a camera. Gaussian blur and camera shake without any of these
take a shorter way.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tfdeblur.degradation import degradation, kernels
from tfdeblur.degradation.degradation import CORNERS, Degradation, Kind, Shares
from tfdeblur.ops.arrays import to_uint8

# Effects other than blur; an image without any of them is only blurred and rounded.
_EFFECTS = ("variation", "highlights", "read_noise", "shot_noise", "jpeg")


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
class Blur:
    """A random blur for each image, with the other effects of a camera.

    A Gaussian has a sigma that is uniform in its range and ``round(6 sigma + 1) | 1`` taps; with
    a sigma near zero that is a single tap, which does not change the image. Camera shake follows a
    random path, of which each image draws a fraction. The radius of a disc is uniform in its range.
    Borders are reflected without repeating the border pixel, and the result is rounded to uint8.

    Attributes:
        options: The kind of blur, the other effects, and their strengths.

    Reference: Orlandi and Pinardi, on autoencoders and Wasserstein GANs for deblurring on TPUs
        (Gaussian blur); Boracchi and Foi, Modeling the Performance of Image Restoration from Motion
        Blur, 2012, section III (camera shake).
    """

    options: Degradation

    def describe(self) -> dict[str, Any]:
        """Returns the `kind` of the blur, its parameters and the other effects that are on."""
        options = self.options
        parameters: dict[str, dict[str, Any]] = {
            "gaussian": {"sigma": list(self._range("sigma")), "size": "round(6 sigma + 1) | 1"},
            "trajectory": {
                "length": options.strength * options.length,
                "canvas": options.canvas,
                "exposures": list(options.exposures),
            },
            "disc": {"radius": list(self._range("radius"))},
            "none": {},
            "identity": {},
        }
        border = {"border": "reflect101"} if options.blurs else {}
        if isinstance(options.blur, str):
            kind: dict[str, Any] = {"kind": options.blur, **parameters[options.blur]}
        else:
            shares = options.shares
            kind = {"kind": "mixed", "shares": shares, **{k: parameters[k] for k in shares}}
        found = {**kind, **border, "gamma": options.gamma}
        return found | {name: getattr(options, name) for name in self._effects}

    def apply(self, sharp: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the blurred image: uint8 [height, width, 3] in and out."""
        options = self.options
        if options.mixed:
            shares = options.shares
            kind: Any = rng.choice(list(shares), p=list(shares.values()))
            variation = options.variation * rng.uniform()
            if kind == "identity":
                return sharp
            drawn = dataclasses.replace(options, blur=kind.item(), variation=variation)
            return Blur(drawn).apply(sharp, rng)
        if not self._effects and options.blur == "gaussian":
            sigma = rng.uniform(*self._range("sigma"))
            size = kernels.gaussian_size(sigma)
            if size == 1:
                return sharp
            line = kernels.gaussian_kernel1d(sigma, size)
            return in_light(sharp, options.gamma, lambda x: kernels.convolve_separable(x, line))
        if not self._effects and options.blur == "trajectory":
            (kernel,) = self.draw_kernels(rng)
            return in_light(sharp, options.gamma, lambda x: kernels.convolve(x, kernel))
        boost, level, quality = rng.uniform(size=3)
        noisy = options.read_noise > 0 or options.shot_noise > 0
        values = degradation.degrade(
            sharp,
            self.draw_kernels(rng),
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

    def draw_kernels(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Draws the kernels of one image; for one kind of blur.

        Returns:
            One kernel, or one per corner if `options.variation` is set: float32 [k, k], summing to
            one. Kernels of camera shake share the exposure.
        """
        options = self.options
        if options.blur == "none":
            return [np.ones((1, 1), np.float32)]
        if options.blur == "trajectory":
            exposure = options.exposures[rng.integers(len(options.exposures))]
            length = options.strength * options.length
            paths = self._mixed(
                lambda n: kernels.trajectories(kernels.draw_trajectories(rng, n), length)
            )
            return [kernels.path_kernel(path, options.canvas, exposure) for path in paths]
        if options.blur == "disc":
            radii = self._mixed(lambda n: rng.uniform(*self._range("radius"), n))
            return [kernels.disc(radius) for radius in radii]
        widths = self._mixed(lambda n: rng.uniform(*self._range("sigma"), n))
        lines = [kernels.gaussian_kernel1d(w, kernels.gaussian_size(w)) for w in widths]
        return [np.outer(line, line) for line in lines]

    @property
    def _effects(self) -> list[str]:
        return [name for name in _EFFECTS if getattr(self.options, name)]

    def _range(self, name: str) -> tuple[float, float]:
        strength = self.options.strength
        low, high = getattr(self.options, f"min_{name}"), getattr(self.options, f"max_{name}")
        return strength * low, strength * high

    def _mixed(self, draw: Callable[[int], np.ndarray]) -> np.ndarray:
        """Draws one value for the image or, if corners differ, interpolates to one per corner."""
        variation = self.options.variation
        if not variation:
            return draw(1)
        drawn = draw(1 + CORNERS)
        return (1 - variation) * drawn[:1] + variation * drawn[1:]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlurOptions(Degradation):
    """Options of sources that have only sharp images."""

    blur: Kind | Shares = "trajectory"
    """trajectory: camera shake along a random path; gaussian: soft focus; disc: a lens out of
    focus; none: noise and JPEG only; or the shares of several, such as {trajectory: 3, disc: 1,
    identity: 1}, where identity leaves images as they are"""
