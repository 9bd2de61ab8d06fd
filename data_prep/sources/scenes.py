"""Generated scenes of overlapping textured shapes (dead leaves); requires no files.

Shapes of all sizes, most of them small, occlude each other, which yields edges of every direction
and contrast and textures of every scale for a deblurring network to learn from. Each scene has its
own seed, so the number of scenes does not affect any of them.

Reference: Lee, Mumford and Huang, Occlusion Models for Natural Images, 2001.
"""

import dataclasses
from typing import Annotated

import numpy as np
from pydantic import Field

from data_prep.blur import Blur, BlurOptions, item_rng
from data_prep.layouts.splits import SceneOptions, assign_splits, by_split, select
from data_prep.sources.source import Item, Listing, Source
from tfdeblur.ops.arrays import to_uint8

# Radii follow r**-3 between these shares of the shorter side: each scale covers the same area.
SMALLEST, LARGEST = 0.025, 0.6
# The image is covered long before this many shapes; any remaining area is sky.
MAX_SHAPES = 6000
# Pixels with a lower remaining transmittance are treated as covered.
COVERED = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(BlurOptions, SceneOptions):
    """Options of the generated scenes."""

    count: Annotated[int, Field(ge=1)] = 256
    """number of scenes in all splits"""
    width: Annotated[int, Field(ge=16)] = 256
    """width of a scene in pixels"""
    height: Annotated[int, Field(ge=16)] = 256
    """height of a scene in pixels"""
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.125
    """fraction of scenes in the test split"""


def build(options: Options) -> "Scenes":
    """Returns the source."""
    return Scenes(options)


class Scenes(Source):
    """Generated scenes with synthetic blur."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.blur = Blur(options)

    def listing(self) -> Listing:
        """Lists the scenes without drawing them."""
        options = self._options
        names = select([f"{index:06d}" for index in range(options.count)], options)
        splits, notes = assign_splits(dict.fromkeys(names, "train"), options)
        items = {name: [Item(name, "000", options.height, options.width)] for name in names}
        return Listing(by_split(items, splits), tuple(notes))

    def load(self, item: Item) -> tuple[None, np.ndarray]:
        """Returns no blurred half, and one scene."""
        rng = item_rng(self._options.seed, f"scene {item.scene}")
        return None, draw_scene(rng, item.height, item.width)


def draw_scene(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws one scene, front to back, until every pixel is covered.

    Args:
        rng: Source of all random numbers.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        uint8 [height, width, 3], RGB.
    """
    side = min(height, width)
    picture = np.zeros((height, width, 3), np.float32)
    open_ = np.ones((height, width), np.float32)
    palette = _palette(rng)
    smallest, largest = max(1.5, SMALLEST * side), LARGEST * side
    for _ in range(MAX_SHAPES):
        radius = _power_law(rng, smallest, largest)
        x, y = rng.uniform(-radius, width + radius), rng.uniform(-radius, height + radius)
        reach = int(np.ceil(1.5 * radius)) + 2
        top, bottom = max(0, int(y) - reach), min(height, int(y) + reach)
        left, right = max(0, int(x) - reach), min(width, int(x) + reach)
        if top >= bottom or left >= right:
            continue
        window = (slice(top, bottom), slice(left, right))
        if open_[window].max() < COVERED:
            continue
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
        columns = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)
        angle = rng.uniform(0, 2 * np.pi)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u, v = cos * columns + sin * rows, cos * rows - sin * columns
        # A ramp one pixel wide is the sharpest edge without aliasing.
        cover = np.clip(0.5 - _distance(rng, u, v, radius), 0, 1)
        color = _texture(rng, u, v, radius, palette)
        picture[window] += (open_[window] * cover)[..., None] * color
        open_[window] *= 1 - cover
    sky = np.linspace(0.85, 0.55, height, dtype=np.float32)[:, None, None]
    picture += open_[..., None] * sky * np.array([0.8, 0.9, 1.0], np.float32)
    return to_uint8(picture)


def _power_law(rng: np.random.Generator, smallest: float, largest: float) -> float:
    share = rng.uniform()
    low, high = smallest**-2, largest**-2
    return float((low + share * (high - low)) ** -0.5)


def _palette(rng: np.random.Generator) -> np.ndarray:
    """Returns the colors of a scene [8, 3]: related hues, mostly muted, some vivid."""
    hue = rng.uniform() + rng.normal(0, 0.25, 8)
    saturation = rng.beta(1.2, 2.2, 8)
    value = rng.uniform(0.08, 1.0, 8)
    return np.stack([_hsv(h, s, v) for h, s, v in zip(hue, saturation, value, strict=True)])


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    # The channels of a pure hue are triangle waves, a third of the circle apart.
    distance = np.abs((hue * 6 - np.array([0.0, 2.0, 4.0]) + 3) % 6 - 3)
    pure = np.clip(2 - distance, 0, 1)
    return value * (1 - saturation + saturation * pure)


def _color(rng: np.random.Generator, palette: np.ndarray) -> np.ndarray:
    base = palette[rng.integers(len(palette))] * rng.uniform(0.6, 1.25)
    return np.clip(base + rng.normal(0, 0.05, 3), 0, 1).astype(np.float32)


def _distance(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Returns the approximate signed distance to the edge of a random shape; negative inside."""
    kind = rng.choice(4, p=[0.3, 0.25, 0.3, 0.15])
    if kind == 0:  # an ellipse
        a, b = radius, max(1.0, radius * rng.uniform(0.3, 1.0))
        level = np.sqrt((u / a) ** 2 + (v / b) ** 2) + 1e-6
        slope = np.sqrt((u / a**2) ** 2 + (v / b**2) ** 2) / level + 1e-6
        return (level - 1) / slope
    if kind == 1:  # a rectangle
        a, b = radius, max(0.8, radius * rng.uniform(0.15, 1.0))
        return np.maximum(np.abs(u) - a, np.abs(v) - b)
    if kind == 2:  # a convex polygon
        sides = int(rng.integers(3, 8))
        angles = (np.arange(sides) + rng.uniform(-0.3, 0.3, sides)) * 2 * np.pi / sides
        reach = radius * rng.uniform(0.6, 0.9, sides)
        planes = [
            np.float32(np.cos(t)) * u + np.float32(np.sin(t)) * v - np.float32(r)
            for t, r in zip(angles, reach, strict=True)
        ]
        return np.maximum.reduce(planes)
    # a leaf: a disc with waves around it
    waves, depth = int(rng.integers(2, 9)), rng.uniform(0.05, 0.3)
    edge = radius * (1 - depth * (0.5 + 0.5 * np.cos(waves * np.arctan2(v, u))))
    return np.hypot(u, v) - edge


def _texture(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, radius: float, palette: np.ndarray
) -> np.ndarray:
    """Returns the color of each pixel [h, w, 3]: two colors mixed by a pattern, plus grain."""
    first, second = _color(rng, palette), _color(rng, palette)
    kind = rng.choice(5, p=[0.25, 0.35, 0.15, 0.07, 0.18])
    # Shorter periods would alias.
    period = max(3.0, radius * rng.uniform(0.08, 0.8))
    if kind == 0:  # plain
        mix = np.zeros_like(u)
    elif kind == 1:  # shaded from one side to the other
        mix = 0.5 + 0.5 * u / max(radius, 1.0)
    elif kind == 2:  # stripes
        mix = _soft_square(u, period)
    elif kind == 3:  # checks
        a, b = _soft_square(u, period), _soft_square(v, period)
        mix = a + b - 2 * a * b
    else:  # marbled
        warp = period * np.sin(2 * np.pi * v / (2.7 * period) + rng.uniform(0, 6))
        mix = 0.5 + 0.5 * np.sin(2 * np.pi * (u + warp) / (2 * period))
    mix = np.clip(mix, 0, 1)[..., None]
    color = first * (1 - mix) + second * mix
    light = 1 + np.float32(rng.uniform(-0.35, 0.35)) * v[..., None] / np.float32(radius)
    grain = np.float32(rng.choice([0.0, 0.01, 0.03])) * rng.standard_normal(
        (*u.shape, 1), np.float32
    )
    return np.clip(color * light + grain, 0, 1).astype(np.float32)


def _soft_square(position: np.ndarray, period: float) -> np.ndarray:
    """Returns stripes of 0 and 1 with edges one pixel wide."""
    triangle = np.abs((position / period) % 1 - 0.5) - 0.25
    return np.clip(0.5 + triangle * period, 0, 1)
