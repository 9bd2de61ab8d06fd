"""List files: text files that name the scenes or images of a split, one per line.

A line names a scene or an image, as in the listing (`SCENE/FRAME`) or by the end of its path
(`SCENE/blur/FRAME.png`), with or without extension. A line with several columns, such as the paths
of the sharp and the blurred half, must refer to a single pair. Empty lines and lines that start
with `#` are ignored.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from data_prep.layouts.folders import stem
from data_prep.layouts.matching import Scene, items_of
from data_prep.sources.source import Item
from tfdeblur.errors import DataError
from tfdeblur.io import files

# An image can be named by up to this many trailing components of its path. Longer names in a list
# may be shortened to the minimum, because lists are often written relative to another folder.
_MAX_PARTS, _MIN_PARTS = 5, 3

# A scene, and the index of an image in it.
Place = tuple[int, int]


def apply_lists(scenes: Sequence[Scene], lists: Mapping[str, str]) -> tuple[list[Scene], list[str]]:
    """Assigns scenes to splits by list files.

    Of a listed scene, only the listed images are used, since the others must not be used in
    another split. A list replaces the original split: scenes of that split which are not listed
    become train scenes, or are dropped if train has a list as well.

    Args:
        scenes: All scenes of the data set.
        lists: Path of the list file by split.

    Returns:
        The remaining scenes, and notes about the assignment.

    Raises:
        DataError: A line matches nothing or is ambiguous, or two lists share a scene.
    """
    items = [items_of(scene) for scene in scenes]
    index = _index(scenes, items)
    home: dict[int, tuple[str, str]] = {}
    listed: dict[int, set[int]] = {}
    for split, path in lists.items():
        for scene, number in _read(path, index):
            other, other_path = home.setdefault(scene, (split, path))
            if other != split:
                raise DataError(
                    f"{other_path} puts scene {scenes[scene].name!r} in {other}, and {path} puts "
                    f"{items[scene][number].key!r} in {split}, so a network would be evaluated on "
                    "a training scene. If these are different scenes, use the source `pairs` with "
                    "a --scene-pattern that separates them."
                )
            listed.setdefault(scene, set()).add(number)

    kept, dropped = [], 0
    counts = dict.fromkeys(lists, 0)
    for place, candidate in enumerate(scenes):
        if place in listed:
            split = home[place][0]
            chosen = tuple(items[place][number] for number in sorted(listed[place]))
            counts[split] += len(chosen)
            dropped += len(items[place]) - len(chosen)
            kept.append(dataclasses.replace(candidate, split=split, items=chosen))
        elif candidate.split not in lists:
            kept.append(candidate)
        elif "train" in lists:
            dropped += len(items[place])
        else:
            kept.append(dataclasses.replace(candidate, split="train"))
    notes = [
        f"Split {split}: {counts[split]} pairs from the list {lists[split]}." for split in lists
    ]
    if dropped:
        notes.append(f"Pairs dropped because they are in no list: {dropped}.")
    return kept, notes


def _index(scenes: Sequence[Scene], items: Sequence[tuple[Item, ...]]) -> dict[str, set[Place]]:
    """Returns the images that each possible name refers to."""
    index: dict[str, set[Place]] = {}
    for place, scene in enumerate(scenes):
        for number, item in enumerate(items[place]):
            names = {scene.name, scene.name.rsplit("/", 1)[-1], item.key}
            for path in (item.blurred, item.sharp):
                parts = stem(path).split("/")[-_MAX_PARTS:]
                names.update("/".join(parts[start:]) for start in range(len(parts)))
            for name in names:
                index.setdefault(name, set()).add((place, number))
    return index


def _read(path: str, index: Mapping[str, set[Place]]) -> list[Place]:
    if not files.exists(path):
        raise DataError(f"The list {path} does not exist.")
    found: list[Place] = []
    for number, line in enumerate(files.read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        # Names may contain spaces, so the whole line is tried first.
        matches = [_look_up(text, index)]
        if not matches[0]:
            matches = [_look_up(column, index) for column in re.split(r"[\s,;]+", text)]
        if not all(matches):
            raise DataError(
                f"{path}, line {number}: {text!r} matches no scene or image of the source. Fetch "
                "the missing files, or remove the line."
            )
        common = set.intersection(*matches)
        if len({scene for scene, _ in common}) != 1:
            problem = "several scenes" if common else "halves of different pairs"
            raise DataError(
                f"{path}, line {number}: {text!r} matches {problem}. Write more of the path."
            )
        found.extend(sorted(common))
    return found


def _look_up(name: str, index: Mapping[str, set[Place]]) -> set[Place]:
    parts = stem(name.strip().replace("\\", "/").removeprefix("./")).strip("/").split("/")
    while True:
        found = index.get("/".join(parts))
        if found is not None or len(parts) <= _MIN_PARTS:
            return found or set()
        parts = parts[1:]
