"""Matches the two halves of each pair by name, and groups pairs into scenes."""

import dataclasses
from collections.abc import Callable, Mapping

from data_prep.faults import Fault, is_collecting, report
from data_prep.layouts.folders import by_stem, contents, pictures
from data_prep.sources.source import Item
from tfdeblur.errors import DataError
from tfdeblur.io import files


@dataclasses.dataclass(frozen=True)
class Scene:
    """A scene on disk.

    Attributes:
        name: Its name in the listing.
        split: Its split in the original data set.
        blurred: Folder of the blurred frames, listed on demand.
        sharp: Folder of the sharp frames.
        items: Its pairs, if already known; their sizes may be missing.
    """

    name: str
    split: str
    blurred: str = ""
    sharp: str = ""
    items: tuple[Item, ...] = ()


def match_halves(
    blurred: Mapping[str, str], sharp: Mapping[str, str], path_of: Callable[[str, str], str]
) -> list[str]:
    """Returns the names of the complete pairs, sorted.

    Args:
        blurred: Paths of the blurred halves by the name of the pair.
        sharp: Paths of the sharp halves.
        path_of: Takes `blurred` or `sharp` and the name of a pair and returns the expected path
            of that half, for the message.

    Raises:
        DataError: A half is missing.
    """
    for half, present, other in (("sharp", blurred, sharp), ("blurred", sharp, blurred)):
        missing = sorted(present.keys() - other.keys())
        more = ""
        if len(missing) > 1 and not is_collecting():
            more = f", and {len(missing) - 1} more"
        for name in missing:
            message = (
                f"{path_of(half, name)}, the {half} half of a pair, is missing{more}. Fetch it, or "
                "remove the other half."
            )
            report(Fault("missing-half", present[name], message))
    return sorted(blurred.keys() & sharp.keys())


def folder_pairs(
    label: str,
    blurred: str,
    sharp: str,
    *,
    prefixes: tuple[str, str] = ("", ""),
    spare: bool = False,
) -> dict[str, tuple[str, str]]:
    """Returns the pairs in two folders by name: paths of the blurred and the sharp half.

    Args:
        label: The pairs in messages, such as `Scene 020`.
        blurred: Folder of the blurred halves.
        sharp: Folder of the sharp halves, with the same names except for the extension.
        prefixes: Prefixes of the blurred and the sharp file names that are not part of the name
            of the pair.
        spare: Whether additional sharp images are allowed.

    Raises:
        DataError: A folder or a half is missing, or there are no images.
    """
    found = []
    for folder, prefix in zip((blurred, sharp), prefixes, strict=True):
        if not files.is_dir(folder):
            parent = files.parent(folder)
            message = f"{label}: there is no folder {folder}; {parent} contains {contents(parent)}."
            report(Fault("missing-half", folder, message))
            return {}
        names = by_stem(folder, pictures(folder))
        found.append({name.removeprefix(prefix): file for name, file in names.items()})
    if spare:
        found[1] = {name: file for name, file in found[1].items() if name in found[0]}

    def path_of(half: str, name: str) -> str:
        side = half == "sharp"
        folder, other = (blurred, sharp)[side], found[not side][name]
        return files.join(folder, prefixes[side] + other.removeprefix(prefixes[not side]))

    paths = [
        {name: files.join(folder, file) for name, file in half.items()}
        for folder, half in zip((blurred, sharp), found, strict=True)
    ]
    matched = match_halves(paths[0], paths[1], path_of)
    if not matched and not (found[0] or found[1]):
        report(Fault("missing-half", blurred, f"{label}: {blurred} contains no images."))
    return {name: (paths[0][name], paths[1][name]) for name in matched}


def group(
    split: str,
    pairs: Mapping[str, tuple[str, str]],
    parse: Callable[[str], tuple[str, str]],
) -> list[Scene]:
    """Groups pairs into scenes.

    Args:
        split: The split of all pairs.
        pairs: Paths of both halves by the name of the pair.
        parse: Returns the scene and the frame for the name of a pair.
    """
    found: dict[str, list[Item]] = {}
    for name, (blurred, sharp) in pairs.items():
        try:
            scene, frame = parse(name)
        except DataError as error:
            report(Fault("bad-name", blurred, str(error)))
            continue
        found.setdefault(scene, []).append(Item(scene, frame, 0, 0, sharp=sharp, blurred=blurred))
    return [Scene(name, split, items=tuple(items)) for name, items in found.items()]


def items_of(scene: Scene) -> tuple[Item, ...]:
    """Returns the pairs of a scene, whose sizes may be missing.

    Raises:
        DataError: A folder or a half is missing, or there are no images.
    """
    if scene.items:
        return scene.items
    pairs = folder_pairs(f"Scene {scene.name}", scene.blurred, scene.sharp)
    return tuple(
        Item(scene.name, frame, 0, 0, sharp=sharp, blurred=blurred)
        for frame, (blurred, sharp) in pairs.items()
    )
