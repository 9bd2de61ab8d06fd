"""What sources of recorded pairs share: their options, their listing, how a pair is loaded."""

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_prep import images
from data_prep.layouts import faults
from data_prep.layouts.halves import Scene, items_of
from data_prep.layouts.lists import apply_lists
from data_prep.layouts.splits import SceneOptions, assign_splits, select
from data_prep.sources.source import Item, Listing, Source

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairOptions(SceneOptions):
    """Options of sources of recorded pairs: those of scenes, and lists of what is in a split."""

    train_list: Annotated[
        str | None,
        Field(description="text file, a scene or picture a line: the train split, and no others"),
    ] = None
    val_list: Annotated[
        str | None, Field(description="text file like it: the validation split")
    ] = None
    test_list: Annotated[str | None, Field(description="text file like it: the test split")] = None

    def lists(self) -> dict[str, str]:
        """Returns the list files that were given, by split."""
        given = zip(SPLITS, (self.train_list, self.val_list, self.test_list), strict=True)
        return {split: path for split, path in given if path}


class PairSource(Source):
    """A source whose halves are both files: `Item.blurred` and `Item.sharp` are their paths."""

    def load(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Returns both halves of a pair."""
        return images.load_rgb(item.blurred), images.load_rgb(item.sharp)


def describe_recorded(how: str, **more: Any) -> dict[str, Any]:
    """Returns the manifest's description of blur that came with the pictures."""
    return {"kind": "recorded", "how": how, **more}


def list_pairs(
    scenes: Sequence[Scene],
    options: PairOptions,
    layout: str = "",
    notes: Sequence[str] = (),
    lists: Mapping[str, str] | None = None,
) -> Listing:
    """Lists the pairs of all scenes, looking at the header of every file.

    Args:
        scenes: All scenes of the set.
        options: Which scenes to use, and how they are split.
        layout: What the listing says of the layout.
        notes: What it says besides.
        lists: List files that the set itself brings, by split; those in the options go first.

    Raises:
        DataError: A half is missing or is no picture, or the sizes of two halves disagree.
    """
    home: dict[str, str] = {}
    for scene in scenes:
        other = home.setdefault(scene.name, scene.split)
        if other != scene.split:
            problem = (
                f"Scene {scene.name!r} is in both {other} and {scene.split}: a network would be "
                "judged on a scene that it has trained on. Remove it from one of them."
            )
            faults.report(faults.Fault("scene-in-two-splits", scene.name, problem))
    said = list(notes)
    lists = options.lists() or lists
    if lists:
        scenes, listed = apply_lists(scenes, lists)
        said += listed
    chosen = set(select([scene.name for scene in scenes], options))
    scenes = [scene for scene in scenes if scene.name in chosen]
    splits, decided = assign_splits({scene.name: scene.split for scene in scenes}, options)
    found: dict[str, list[Item]] = {split: [] for split in SPLITS}
    # Headers are small and far apart, so most of the time goes into waiting for them.
    with ThreadPoolExecutor(16) as pool:
        for scene in sorted(scenes, key=lambda scene: scene.name):
            for checked in pool.map(_check_pair, items_of(scene)):
                if isinstance(checked, Item):
                    found[splits[scene.name]].append(checked)
                else:
                    faults.report(checked)
    kept = {split: tuple(items) for split, items in found.items() if items}
    return Listing(kept, (*said, *decided), layout)


def _check_pair(item: Item) -> Item | faults.Fault:
    # Threads know nothing of faults that are collected, so they hand over what they find.
    try:
        blurred, sharp = images.size_of(item.blurred), images.size_of(item.sharp)
    except images.Unreadable as error:
        return faults.Fault("unreadable", error.path, str(error))
    if blurred != sharp:
        said = (
            f"{item.blurred} is {blurred[0]}x{blurred[1]}, but its sharp half {item.sharp} is "
            f"{sharp[0]}x{sharp[1]}."
        )
        return faults.Fault("size-differs", item.blurred, said)
    return dataclasses.replace(item, width=sharp[0], height=sharp[1])
