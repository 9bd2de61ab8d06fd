"""What sources that read folders of pictures share: scenes, pairs, and splits by scene."""

import dataclasses
import fnmatch
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_prep import images
from data_prep.sources._source import Item, Listing, Source
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.registry import did_you_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """Options of sources whose frames belong to scenes; a scene never straddles two splits.

    A scene is named as in the listing or by its last part; `*` and `?` stand for any text.
    """

    scenes: Annotated[
        tuple[str, ...], Field(description="use only these scenes; * and ? match any text")
    ] = ()
    val_scenes: Annotated[
        tuple[str, ...], Field(description="scenes of the validation split, and no others")
    ] = ()
    test_scenes: Annotated[
        tuple[str, ...], Field(description="scenes of the test split, and no others")
    ] = ()
    val_share: Annotated[
        float,
        Field(ge=0, lt=1, description="share of training scenes to validate on if none are set"),
    ] = 0.125
    test_share: Annotated[
        float, Field(ge=0, lt=1, description="share of training scenes to test on if none are set")
    ] = 0.0
    seed: Annotated[
        int,
        Field(
            ge=0,
            description="seeds the choice of scenes, the blur and the order of training",
        ),
    ] = 0


@dataclasses.dataclass(frozen=True)
class Scene:
    """A scene on disk.

    Attributes:
        name: Its name in the listing.
        split: The split that the set itself puts it in.
        blurred: Folder of the blurred frames.
        sharp: Folder of the sharp frames.
    """

    name: str
    split: str
    blurred: str
    sharp: str


class PairSource(Source):
    """A source whose halves are both files: `Item.blurred` and `Item.sharp` are their paths."""

    def load(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Returns both halves of a pair."""
        return images.load_rgb(item.blurred), images.load_rgb(item.sharp)


def sub_folders(path: str) -> list[str]:
    """Returns the names of the folders in a folder, sorted."""
    from tfdeblur import files

    return [name for name in files.list_dir(path) if files.is_dir(files.join(path, name))]


def pictures(path: str) -> list[str]:
    """Returns the names of the pictures in a folder, sorted; hidden files are left out."""
    from tfdeblur import files

    return [name for name in files.list_dir(path) if images.is_picture(name)]


def unrecognized(path: str, expected: str) -> DataError:
    """Returns the error for a folder that is not laid out as it should be."""
    from tfdeblur import files

    if not files.is_dir(path):
        return DataError(f"--source {path} is not a folder. Expected {expected}.")
    names = files.list_dir(path)
    seen = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return DataError(
        f"{path} is not laid out as expected. Expected {expected}; saw {seen or 'nothing'}."
    )


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Tells whether a scene, or the last part of its name, matches one of the patterns."""
    short = name.rsplit("/", 1)[-1]
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(short, pattern)
        for pattern in patterns
    )


def _check_patterns(flag: str, patterns: Sequence[str], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in names):
            hint = did_you_mean(pattern, names) if len(names) <= 40 else ""
            raise ConfigError(f"--{flag} {pattern} matches none of the {len(names)} scenes.{hint}")


def select(names: Sequence[str], options: SceneOptions) -> list[str]:
    """Returns the scenes that `--scenes` leaves, all of them by default.

    Raises:
        ConfigError: A pattern matches no scene.
    """
    _check_patterns("scenes", options.scenes, names)
    return [name for name in names if not options.scenes or matches(name, options.scenes)]


def assign_splits(
    native: Mapping[str, str], options: SceneOptions
) -> tuple[dict[str, str], list[str]]:
    """Decides which split each scene belongs to.

    A scene stays where the set puts it, with these exceptions. Scenes that are named for a split
    make up that split alone: its other scenes go to train. A set without a validation (or test)
    split gets one from its training scenes, by share; which ones depends only on their names and
    the seed. One training scene always remains.

    Args:
        native: The split of each scene in the set itself.
        options: The options.

    Returns:
        The split of each scene, and sentences about what was decided.

    Raises:
        ConfigError: A named scene does not exist, or is named for both splits.
    """
    names = sorted(native)
    splits = dict(native)
    notes: list[str] = []
    named = {"val": options.val_scenes, "test": options.test_scenes}
    for split, patterns in named.items():
        if not patterns:
            continue
        _check_patterns(f"{split}-scenes", patterns, names)
        for name in names:
            if native[name] == split and not matches(name, patterns):
                splits[name] = "train"
    for name in names:
        chosen = [split for split, patterns in named.items() if matches(name, patterns)]
        if len(chosen) > 1:
            raise ConfigError(f"Scene {name} is named in both --val-scenes and --test-scenes.")
        if chosen:
            splits[name] = chosen[0]

    for split, share in (("test", options.test_share), ("val", options.val_share)):
        train = [name for name in names if splits[name] == "train"]
        if split in splits.values() or not share or not train:
            continue
        count = min(max(1, round(share * len(train))), len(train) - 1)
        if count < 1:
            notes.append(
                f"No {split} split: {train[0]!r} is the only training scene, and a scene is never "
                "in two splits."
            )
            continue
        train.sort(key=lambda name: _rank(name, options.seed))
        for name in train[:count]:
            splits[name] = split
        listed = ", ".join(sorted(train[:count])[:10]) + (", ..." if count > 10 else "")
        notes.append(
            f"The {split} split is made of {count} of {len(train)} training scenes: {listed}."
        )
    if "train" not in splits.values():
        found = " and ".join(sorted(set(splits.values())))
        notes.append(
            f"No train split: all scenes belong to {found}. Name scenes for those splits "
            "(--test-scenes, --val-scenes), and the others become train."
        )
    return splits, notes


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def list_pairs(scenes: Sequence[Scene], options: SceneOptions) -> Listing:
    """Lists the pairs of all scenes, looking at the header of every file.

    Raises:
        DataError: A half is missing or is no picture, or the sizes of two halves disagree.
    """
    home: dict[str, str] = {}
    for scene in scenes:
        other = home.setdefault(scene.name, scene.split)
        if other != scene.split:
            raise DataError(
                f"Scene {scene.name!r} is in both {other} and {scene.split}: a network would be "
                "judged on a scene that it has trained on. Remove it from one of them."
            )
    chosen = set(select([scene.name for scene in scenes], options))
    scenes = [scene for scene in scenes if scene.name in chosen]
    splits, notes = assign_splits({scene.name: scene.split for scene in scenes}, options)
    found: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
    # Headers are small and far apart, so most of the time goes into waiting for them.
    with ThreadPoolExecutor(16) as pool:
        for scene in sorted(scenes, key=lambda scene: scene.name):
            found[splits[scene.name]].extend(pool.map(_check_pair, _pairs(scene)))
    kept = {split: tuple(items) for split, items in found.items() if items}
    return Listing(kept, tuple(notes))


def _pairs(scene: Scene) -> list[Item]:
    from tfdeblur import files

    halves: dict[str, dict[str, str]] = {}
    for folder in (scene.blurred, scene.sharp):
        if not files.is_dir(folder):
            place = files.parent(folder)
            seen = ", ".join(files.list_dir(place)[:8]) if files.is_dir(place) else "nothing"
            raise DataError(
                f"Scene {scene.name}: there is no folder {folder}; {place} holds: {seen}."
            )
        halves[folder] = {name.rsplit(".", 1)[0]: name for name in pictures(folder)}
    blurred, sharp = halves[scene.blurred], halves[scene.sharp]
    for there, gone, folder, half in (
        (blurred, sharp, scene.sharp, "sharp"),
        (sharp, blurred, scene.blurred, "blurred"),
    ):
        missing = sorted(there.keys() - gone.keys())
        if missing:
            raise DataError(
                f"{files.join(folder, there[missing[0]])}, the {half} half of a pair, is missing"
                f"{f', and {len(missing) - 1} more of this scene' if len(missing) > 1 else ''}. "
                "Fetch it, or remove the other half."
            )
    if not blurred:
        raise DataError(f"Scene {scene.name}: {scene.blurred} holds no pictures.")
    return [
        Item(
            scene.name,
            frame,
            0,
            0,
            sharp=files.join(scene.sharp, sharp[frame]),
            blurred=files.join(scene.blurred, blurred[frame]),
        )
        for frame in sorted(blurred)
    ]


def _check_pair(item: Item) -> Item:
    blurred, sharp = images.size_of(item.blurred), images.size_of(item.sharp)
    if blurred != sharp:
        raise DataError(
            f"{item.blurred} is {blurred[0]}x{blurred[1]}, but its sharp half {item.sharp} is "
            f"{sharp[0]}x{sharp[1]}."
        )
    return dataclasses.replace(item, width=sharp[0], height=sharp[1])


def describe_recorded(how: str, **more: Any) -> dict[str, Any]:
    """Returns the manifest's description of blur that came with the pictures."""
    return {"kind": "recorded", "how": how, **more}
