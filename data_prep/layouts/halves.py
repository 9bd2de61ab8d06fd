"""Pairs whose halves are both files: how halves find each other, and the scenes they make up."""

import dataclasses
from collections.abc import Callable, Mapping

from data_prep.layouts import faults
from data_prep.layouts.folders import by_stem, pictures, seen
from data_prep.sources.source import Item
from tfdeblur.errors import DataError


@dataclasses.dataclass(frozen=True)
class Scene:
    """A scene on disk.

    Attributes:
        name: Its name in the listing.
        split: The split that the set itself puts it in.
        blurred: Folder of the blurred frames, looked into when the scene is wanted.
        sharp: Folder of the sharp frames.
        items: Its pairs, where they are known without looking; their sizes need not be.
    """

    name: str
    split: str
    blurred: str = ""
    sharp: str = ""
    items: tuple[Item, ...] = ()


def match_halves(
    blurred: Mapping[str, str], sharp: Mapping[str, str], where: Callable[[str, str], str]
) -> list[str]:
    """Returns the names of the pairs, sorted.

    Args:
        blurred: Paths of the blurred halves by the name of the pair.
        sharp: Paths of the sharp halves.
        where: Takes `blurred` or `sharp` and the name of a pair, and says where that half would
            be; for the message.

    Raises:
        DataError: A half is missing.
    """
    for half, there, gone in (("sharp", blurred, sharp), ("blurred", sharp, blurred)):
        missing = sorted(there.keys() - gone.keys())
        more = ""
        if len(missing) > 1 and not faults.is_collecting():
            more = f", and {len(missing) - 1} more"
        for name in missing:
            said = (
                f"{where(half, name)}, the {half} half of a pair, is missing{more}. Fetch it, or "
                "remove the other half."
            )
            faults.report(faults.Fault("missing-half", there[name], said))
    return sorted(blurred.keys() & sharp.keys())


def folder_pairs(
    label: str,
    blurred: str,
    sharp: str,
    *,
    prefixes: tuple[str, str] = ("", ""),
    spare: bool = False,
) -> dict[str, tuple[str, str]]:
    """Returns the pairs of two folders by their names: paths of the blurred and the sharp half.

    Args:
        label: What messages call the pairs, such as `Scene 020`.
        blurred: Folder of the blurred halves.
        sharp: Folder of the sharp halves, of the same names but for the ending.
        prefixes: What the names of the blurred and the sharp pictures begin with, which is no part
            of the name of the pair.
        spare: Whether there may be more sharp pictures than blurred ones.

    Raises:
        DataError: A folder or a half is missing, or there are no pictures.
    """
    from tfdeblur.io import files

    found = []
    for folder, prefix in zip((blurred, sharp), prefixes, strict=True):
        if not files.is_dir(folder):
            place = files.parent(folder)
            said = f"{label}: there is no folder {folder}; {place} holds: {seen(place)}."
            faults.report(faults.Fault("missing-folder", folder, said))
            return {}
        names = by_stem(folder, pictures(folder))
        found.append({name.removeprefix(prefix): file for name, file in names.items()})
    if spare:
        found[1] = {name: file for name, file in found[1].items() if name in found[0]}

    def where(half: str, name: str) -> str:
        here = half == "sharp"
        folder, other = (blurred, sharp)[here], found[not here][name]
        return files.join(folder, prefixes[here] + other.removeprefix(prefixes[not here]))

    paths = [
        {name: files.join(folder, file) for name, file in half.items()}
        for folder, half in zip((blurred, sharp), found, strict=True)
    ]
    matched = match_halves(paths[0], paths[1], where)
    if not matched and not (found[0] or found[1]):
        said = f"{label}: {blurred} holds no pictures."
        faults.report(faults.Fault("empty-folder", blurred, said))
    return {name: (paths[0][name], paths[1][name]) for name in matched}


def group(
    split: str,
    pairs: Mapping[str, tuple[str, str]],
    parse: Callable[[str], tuple[str, str]],
) -> list[Scene]:
    """Returns the scenes that pairs in one place belong to.

    Args:
        split: The split that they all belong to.
        pairs: Paths of both halves by the name of the pair.
        parse: Returns the names of scene and frame for the name of a pair.
    """
    found: dict[str, list[Item]] = {}
    for name, (blurred, sharp) in pairs.items():
        try:
            scene, frame = parse(name)
        except DataError as error:
            faults.report(faults.Fault("unknown-name", blurred, str(error)))
            continue
        found.setdefault(scene, []).append(Item(scene, frame, 0, 0, sharp=sharp, blurred=blurred))
    return [Scene(name, split, items=tuple(items)) for name, items in found.items()]


def items_of(scene: Scene) -> tuple[Item, ...]:
    """Returns the pairs of a scene, of which only the sizes may be unknown.

    Raises:
        DataError: A folder or a half is missing, or there are no pictures.
    """
    if scene.items:
        return scene.items
    pairs = folder_pairs(f"Scene {scene.name}", scene.blurred, scene.sharp)
    return tuple(
        Item(scene.name, frame, 0, 0, sharp=sharp, blurred=blurred)
        for frame, (blurred, sharp) in pairs.items()
    )
