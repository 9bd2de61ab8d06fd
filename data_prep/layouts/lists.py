"""Published lists: text files that say, line by line, what belongs to a split.

A line names a scene or one picture, as the listing does (`SCENE/FRAME`) or by the end of its path
(`SCENE/blur/FRAME.png`), with or without its ending. A line with several columns, such as the path
of the sharp and of the blurred half, must mean one pair. Empty lines and those that begin with
`#` are skipped.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from data_prep.layouts.folders import stem
from data_prep.layouts.halves import Scene, items_of
from data_prep.sources.source import Item
from tfdeblur.errors import DataError

# The longest end of a path by which a picture can be named, in components, and the shortest that
# a longer name may be cut to: lists are often written from another folder than the user's.
_LONGEST, _SHORTEST = 5, 3

# The scene and the number of a picture in it.
Place = tuple[int, int]


def apply_lists(scenes: Sequence[Scene], lists: Mapping[str, str]) -> tuple[list[Scene], list[str]]:
    """Puts scenes into the splits that list files say.

    Of a scene that is listed, only the listed pictures are used, for the others may not be used
    in another split. A list makes up its split alone: the scenes that the set itself puts there
    and that no list names go to train, or are left out if there is a list for train as well.

    Args:
        scenes: All scenes of the set.
        lists: Path of the list file by split.

    Returns:
        The scenes that are left, and sentences about what was done.

    Raises:
        DataError: A line names nothing, or more than it says, or the lists put one scene in two
            splits.
    """
    items = [items_of(scene) for scene in scenes]
    index = _index(scenes, items)
    home: dict[int, tuple[str, str]] = {}
    listed: dict[int, set[int]] = {}
    counts: dict[str, int] = {}
    for split, path in lists.items():
        for scene, number in _read(path, index):
            other, other_path = home.setdefault(scene, (split, path))
            if other != split:
                raise DataError(
                    f"{other_path} puts scene {scenes[scene].name!r} in {other}, and {path} puts "
                    f"{items[scene][number].key!r} in {split}: a network would be judged on a "
                    "scene that it has trained on. If they are scenes of their own after all, "
                    "the source `pairs` takes a --scene-pattern that tells them apart."
                )
            listed.setdefault(scene, set()).add(number)
        counts[split] = sum(
            len(numbers) for scene, numbers in listed.items() if home[scene][0] == split
        )

    kept, left_out = [], 0
    for place, candidate in enumerate(scenes):
        if place in listed:
            chosen = tuple(items[place][number] for number in sorted(listed[place]))
            left_out += len(items[place]) - len(chosen)
            kept.append(dataclasses.replace(candidate, split=home[place][0], items=chosen))
        elif candidate.split not in lists:
            kept.append(candidate)
        elif "train" in lists:
            left_out += len(items[place])
        else:
            kept.append(dataclasses.replace(candidate, split="train"))
    notes = [
        f"Split {split}: {counts[split]} pairs, by the list {lists[split]}." for split in lists
    ]
    if left_out:
        notes.append(f"Pairs left out, for no list names them: {left_out}.")
    return kept, notes


def _index(scenes: Sequence[Scene], items: Sequence[tuple[Item, ...]]) -> dict[str, set[Place]]:
    """Returns all names by which pictures can be called, and what each of them means."""
    index: dict[str, set[Place]] = {}
    for place, scene in enumerate(scenes):
        for number, item in enumerate(items[place]):
            names = {scene.name, scene.name.rsplit("/", 1)[-1], item.key}
            for path in (item.blurred, item.sharp):
                parts = stem(path).split("/")[-_LONGEST:]
                names.update("/".join(parts[start:]) for start in range(len(parts)))
            for name in names:
                index.setdefault(name, set()).add((place, number))
    return index


def _read(path: str, index: Mapping[str, set[Place]]) -> list[Place]:
    from tfdeblur.io import files

    if not files.exists(path):
        raise DataError(f"The list {path} does not exist.")
    found: list[Place] = []
    for number, line in enumerate(files.read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        # Names may hold spaces, so the whole line is one name if it is known as one.
        meant = [_look_up(text, index)]
        if not meant[0]:
            meant = [_look_up(column, index) for column in re.split(r"[\s,;]+", text)]
        if not all(meant):
            raise DataError(
                f"{path}, line {number}: {text!r} names no scene and no picture of the source. "
                "Fetch what is missing, or remove the line."
            )
        common = set.intersection(*meant)
        if len({scene for scene, _ in common}) != 1:
            what = "several scenes" if common else "halves of different pairs"
            raise DataError(
                f"{path}, line {number}: {text!r} means {what}. Write more of the path."
            )
        found.extend(sorted(common))
    return found


def _look_up(name: str, index: Mapping[str, set[Place]]) -> set[Place]:
    parts = stem(name.strip().replace("\\", "/").removeprefix("./")).strip("/").split("/")
    while True:
        found = index.get("/".join(parts))
        if found is not None or len(parts) <= _SHORTEST:
            return found or set()
        parts = parts[1:]
