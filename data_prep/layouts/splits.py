"""Assigns scenes to splits: as in the original data set, by name, or by share."""

import dataclasses
import fnmatch
import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from data_prep.layouts.folders import sub_folders
from data_prep.sources.source import Item
from tfdeblur.errors import ConfigError
from tfdeblur.io import files
from tfdeblur.registry import did_you_mean

SPLITS = ("train", "val", "test")
# The split of a folder by its name in lower case; for each split, preferred names first.
SPLIT_OF = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test"},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """Options of sources whose frames belong to scenes; a scene is never in two splits.

    A scene is named as in the listing or by its last path component; `*`, `?` and `[...]` are
    wildcards.
    """

    scenes: tuple[str, ...] = ()
    """use only these scenes; [...], * and ? are wildcards"""
    val_scenes: tuple[str, ...] = ()
    """the scenes of the validation split"""
    test_scenes: tuple[str, ...] = ()
    """the scenes of the test split"""
    val_share: Annotated[float, Field(ge=0, lt=1)] = 0.125
    """fraction of training scenes to validate on if there is no val split"""
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """fraction of training scenes to test on if there is no test split"""
    seed: Annotated[int, Field(ge=0)] = 0
    """seeds the choice of scenes, the blur and the training order"""


def split_folders(root: str) -> dict[str, str]:
    """Returns the folders of the splits in a folder by split, whatever the case of their names."""
    names = {name.lower(): name for name in sub_folders(root)} if files.is_dir(root) else {}
    found: dict[str, str] = {}
    for lower, split in SPLIT_OF.items():
        if lower in names:
            found.setdefault(split, names[lower])
    return found


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Returns whether a scene, or the last part of its name, matches one of the patterns."""
    short = name.rsplit("/", 1)[-1]
    return any(
        one == pattern or fnmatch.fnmatchcase(one, pattern)
        for pattern in patterns
        for one in (name, short)
    )


def _check_patterns(flag: str, patterns: Sequence[str], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in names):
            hint = did_you_mean(pattern, names) if len(names) <= 40 else ""
            raise ConfigError(f"--{flag} {pattern} matches none of the {len(names)} scenes.{hint}")


def select(names: Sequence[str], options: SceneOptions) -> list[str]:
    """Returns the scenes that `--scenes` selects; all of them by default.

    Raises:
        ConfigError: A pattern matches no scene.
    """
    _check_patterns("scenes", options.scenes, names)
    return [name for name in names if not options.scenes or matches(name, options.scenes)]


def assign_splits(
    native: Mapping[str, str], options: SceneOptions
) -> tuple[dict[str, str], list[str]]:
    """Assigns each scene to a split.

    A scene keeps its original split, with two exceptions. Scenes named for a split replace it: its
    other scenes become train scenes. If there is no validation (or test) split, a share of the
    training scenes is used, chosen by their names and the seed alone. At least one training scene
    always remains.

    Args:
        native: The original split of each scene.
        options: The options.

    Returns:
        The split of each scene, and notes about the assignment.

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
                f"No {split} split: {train[0]!r} is the only training scene, and a scene cannot be "
                "in two splits."
            )
            continue
        train.sort(key=lambda name: _rank(name, options.seed))
        for name in train[:count]:
            splits[name] = split
        listed = ", ".join(sorted(train[:count])[:10]) + (", ..." if count > 10 else "")
        notes.append(
            f"The {split} split consists of {count} of {len(train)} training scenes: {listed}."
        )
    if "train" not in splits.values():
        found = " and ".join(sorted(set(splits.values())))
        notes.append(
            f"No train split: all scenes belong to {found}. If scenes are named for those splits "
            "(--test-scenes, --val-scenes), the others become train scenes."
        )
    return splits, notes


def by_split(
    items: Mapping[str, Sequence[Item]], splits: Mapping[str, str]
) -> dict[str, tuple[Item, ...]]:
    """Returns the frames of each split that has any.

    Args:
        items: Frames by scene.
        splits: Split of each scene.
    """
    found: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for scene, frames in items.items():
        found[splits[scene]].extend(frames)
    return {split: tuple(frames) for split, frames in found.items() if frames}


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()
