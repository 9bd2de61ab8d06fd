"""Generated scenes of overlapping textured shapes (dead leaves); they need no file at all.

Each scene is drawn from its own seed, so the number of scenes does not change any of them.
"""

import dataclasses
from typing import Annotated

import numpy as np
from pydantic import Field

from data_prep import leaves
from data_prep.blur import item_rng
from data_prep.layouts.splits import SceneOptions, assign_splits, select
from data_prep.layouts.synthetic import BlurOptions
from data_prep.sources.source import Item, Listing, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(BlurOptions, SceneOptions):
    """Options of the generated scenes."""

    count: Annotated[int, Field(ge=1, description="number of scenes, all splits together")] = 256
    width: Annotated[int, Field(ge=16, description="width of a scene in pixels")] = 256
    height: Annotated[int, Field(ge=16, description="height of a scene in pixels")] = 256
    test_share: Annotated[
        float, Field(ge=0, lt=1, description="share of scenes kept for the test split")
    ] = 0.125


def build(options: Options) -> "Scenes":
    """Returns the source."""
    return Scenes(options)


class Scenes(Source):
    """Generated scenes with synthetic blur."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.blur = options.make_blur()

    def listing(self) -> Listing:
        """Lists the scenes; none of them is drawn for it."""
        options = self._options
        names = select([f"{index:06d}" for index in range(options.count)], options)
        splits, notes = assign_splits(dict.fromkeys(names, "train"), options)
        found: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
        for name in names:
            found[splits[name]].append(Item(name, "000", options.height, options.width))
        return Listing({s: tuple(items) for s, items in found.items() if items}, tuple(notes))

    def load(self, item: Item) -> tuple[None, np.ndarray]:
        """Draws one scene; it has no blurred half."""
        rng = item_rng(self._options.seed, f"scene {item.scene}")
        return None, leaves.draw_scene(rng, item.height, item.width)
