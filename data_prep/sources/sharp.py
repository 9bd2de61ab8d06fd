"""Any folder of sharp photographs, with synthetic blur.

Subfolders are read too. Every photograph is a scene, so all its copies and tiles are in one split.
"""

import dataclasses
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_prep import images
from data_prep.blur import Blur, BlurOptions
from data_prep.faults import Fault, report
from data_prep.layouts.folders import by_stem, unrecognized, walk_files
from data_prep.layouts.splits import SceneOptions, assign_splits, by_split, select
from data_prep.sources.source import Item, Listing, Source
from tfdeblur.io import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(BlurOptions, SceneOptions):
    """Options of the source of sharp photographs."""

    source: str
    """folder of sharp photographs"""
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.125
    """fraction of photographs in the test split"""
    copies: Annotated[int, Field(ge=1)] = 1
    """copies of each photograph, each with its own blur"""


def build(options: Options) -> "Sharp":
    """Returns the source."""
    return Sharp(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a folder of images; none if it has no images."""
    found = files.is_dir(root) and any(map(images.is_picture, walk_files(root)))
    return [{"source": root}] if found else []


class Sharp(Source):
    """Sharp photographs with synthetic blur."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.blur = Blur(options)

    def listing(self) -> Listing:
        """Lists all photographs below the folder; see `Source.listing`."""
        root = self._options.source
        found_files = walk_files(root) if files.is_dir(root) else []
        photographs = by_stem(root, filter(images.is_picture, found_files))
        paths = {name: files.join(root, file) for name, file in photographs.items()}
        if not paths:
            raise unrecognized(root, f"a folder of photographs ({', '.join(images.SUFFIXES)})")
        names = select(sorted(paths), self._options)
        items = {}
        for name in names:
            try:
                height, width = images.size_of(paths[name])
            except Fault as fault:
                report(fault)
                continue
            items[name] = [
                Item(name, f"{copy:03d}", height, width, sharp=paths[name])
                for copy in range(self._options.copies)
            ]
        splits, notes = assign_splits(dict.fromkeys(items, "train"), self._options)
        return Listing(by_split(items, splits), tuple(notes))

    def load(self, item: Item) -> tuple[None, np.ndarray]:
        """Returns no blurred half, and one photograph."""
        return None, images.load_rgb(item.sharp)
