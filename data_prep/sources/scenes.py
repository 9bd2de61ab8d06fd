"""Generated scenes of overlapping textured shapes (dead leaves); requires no files.

Each scene has its own seed, so the number of scenes does not affect any of them.
"""

import dataclasses
from typing import Annotated

import numpy as np
from pydantic import Field

from data_prep import leaves
from data_prep.blur import Blur, BlurOptions, item_rng
from data_prep.layouts.splits import SceneOptions, assign_splits, by_split, select
from data_prep.sources.source import Item, Listing, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(BlurOptions, SceneOptions):
    """Options of the generated scenes."""

    count: Annotated[int, Field(ge=1, description="number of scenes in all splits")] = 256
    width: Annotated[int, Field(ge=16, description="width of a scene in pixels")] = 256
    height: Annotated[int, Field(ge=16, description="height of a scene in pixels")] = 256
    test_share: Annotated[
        float, Field(ge=0, lt=1, description="fraction of scenes in the test split")
    ] = 0.125


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
        return None, leaves.draw_scene(rng, item.height, item.width)
