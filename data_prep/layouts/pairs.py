"""Base of sources with recorded pairs: their options, listing and loading."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from data_prep import images
from data_prep.faults import Fault, report
from data_prep.layouts.lists import apply_lists
from data_prep.layouts.matching import Scene, items_of
from data_prep.layouts.splits import SPLITS, SceneOptions, assign_splits, by_split, select
from data_prep.plan import size_text
from data_prep.sources.source import Item, Listing, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairOptions(SceneOptions):
    """Options of sources of recorded pairs: scene options and list files."""

    train_list: str | None = None
    """text file with one scene or image per line: the whole train split"""
    val_list: str | None = None
    """likewise for the validation split"""
    test_list: str | None = None
    """likewise for the test split"""

    def lists(self) -> dict[str, str]:
        """Returns the list files that are set, by split."""
        paths = zip(SPLITS, (self.train_list, self.val_list, self.test_list), strict=True)
        return {split: path for split, path in paths if path}


class PairSource(Source):
    """A source whose halves are both files: `Item.blurred` and `Item.sharp` are their paths.

    Args:
        options: Its own `Options`.
    """

    def __init__(self, options: Any) -> None:
        self._options = options

    def load(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Returns both halves of a pair."""
        return images.load_rgb(item.blurred), images.load_rgb(item.sharp)


def describe_recorded(how: str, **more: Any) -> dict[str, Any]:
    """Returns the manifest's description of blur that is part of the data set."""
    return {"kind": "recorded", "how": how, **more}


def check_files(item: Item) -> Item | Fault:
    """Returns a pair of two files with their size, or its fault."""
    # Threads do not inherit the context variable that collects faults.
    try:
        blurred, sharp = images.size_of(item.blurred), images.size_of(item.sharp)
    except Fault as fault:
        return fault
    if blurred != sharp:
        message = (
            f"{item.blurred} is {size_text(blurred)}, but its sharp half {item.sharp} is "
            f"{size_text(sharp)}."
        )
        return Fault("size-differs", item.blurred, message)
    return dataclasses.replace(item, height=sharp[0], width=sharp[1])


def list_pairs(
    scenes: Sequence[Scene],
    options: PairOptions,
    layout: str = "",
    notes: Sequence[str] = (),
    lists: Mapping[str, str] | None = None,
    check: Callable[[Item], Item | Fault] = check_files,
) -> Listing:
    """Lists the pairs of all scenes; reads the header of every file.

    Args:
        scenes: All scenes of the data set.
        options: Which scenes to use, and how to split them.
        layout: Description of the layout, for the listing.
        notes: Further notes for the listing.
        lists: List files of the data set itself, by split; those in the options replace them.
        check: Returns a pair with its size, or its fault.

    Raises:
        DataError: A half is missing or unreadable, the halves of a pair differ in size, or a scene
            is in two splits.
    """
    home: dict[str, str] = {}
    for scene in scenes:
        other = home.setdefault(scene.name, scene.split)
        if other != scene.split:
            message = (
                f"Scene {scene.name!r} is in both {other} and {scene.split}, so a network would be "
                "evaluated on a training scene. Remove it from one of them."
            )
            report(Fault("scene-in-two-splits", scene.name, message))
    notes = list(notes)
    lists = options.lists() or lists
    if lists:
        scenes, list_notes = apply_lists(scenes, lists)
        notes += list_notes
    chosen = set(select([scene.name for scene in scenes], options))
    scenes = [scene for scene in scenes if scene.name in chosen]
    items: dict[str, list[Item]] = {}
    # Reading headers is mostly waiting for the disk.
    with ThreadPoolExecutor(16) as pool:
        for scene in sorted(scenes, key=lambda scene: scene.name):
            for checked in pool.map(check, items_of(scene)):
                if isinstance(checked, Item):
                    items.setdefault(scene.name, []).append(checked)
                else:
                    report(checked)
    # Only scenes with intact pairs, so that no split is empty because of faults.
    native = {scene.name: scene.split for scene in scenes if scene.name in items}
    splits, split_notes = assign_splits(native, options)
    return Listing(by_split(items, splits), (*notes, *split_notes), layout)
