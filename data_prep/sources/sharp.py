"""Any folder of sharp photographs; the blur is made here, afresh for each picture.

Folders inside the folder are read too. Every photograph is a scene, so its copies and its tiles
are all in one split.
"""

import dataclasses
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_prep import images
from data_prep.layouts import faults
from data_prep.layouts.folders import by_stem, unrecognized, walk_files
from data_prep.layouts.splits import SceneOptions, assign_splits, select
from data_prep.layouts.synthetic import BlurOptions
from data_prep.sources.source import Item, Listing, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(BlurOptions, SceneOptions):
    """Options of the source of sharp photographs."""

    source: Annotated[str, Field(description="folder of sharp photographs")]
    test_share: Annotated[
        float, Field(ge=0, lt=1, description="share of photographs kept for the test split")
    ] = 0.125
    copies: Annotated[
        int, Field(ge=1, description="how often each photograph is used, blurred anew each time")
    ] = 1


def build(options: Options) -> "Sharp":
    """Returns the source."""
    return Sharp(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a folder of any pictures; none if there is no picture."""
    from tfdeblur.io import files

    there = files.is_dir(root) and any(map(images.is_picture, walk_files(root)))
    return [{"source": root}] if there else []


class Sharp(Source):
    """Sharp photographs with synthetic blur."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.blur = options.make_blur()

    def listing(self) -> Listing:
        """Lists all photographs below the folder; see `Source.listing`."""
        from tfdeblur.io import files

        root = self._options.source
        found_files = walk_files(root) if files.is_dir(root) else []
        photographs = by_stem(root, filter(images.is_picture, found_files))
        paths = {name: files.join(root, file) for name, file in photographs.items()}
        if not paths:
            raise unrecognized(root, f"a folder of photographs ({', '.join(images.SUFFIXES)})")
        names = select(sorted(paths), self._options)
        splits, notes = assign_splits(dict.fromkeys(names, "train"), self._options)
        found: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
        for name in names:
            try:
                width, height = images.size_of(paths[name])
            except images.Unreadable as error:
                faults.report(faults.Fault("unreadable", error.path, str(error)))
                continue
            found[splits[name]].extend(
                Item(name, f"{copy:03d}", height, width, sharp=paths[name])
                for copy in range(self._options.copies)
            )
        return Listing({s: tuple(items) for s, items in found.items() if items}, tuple(notes))

    def load(self, item: Item) -> tuple[None, np.ndarray]:
        """Returns one photograph; it has no blurred half."""
        return None, images.load_rgb(item.sharp)
