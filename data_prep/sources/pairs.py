"""Any recorded pairs: two folders (--blurred, --sharp), or one (--source) with a naming rule.

Without a rule, halves belong together that have the same path below their folders, but for the
ending. A rule is a pair of patterns, `--blurred-name` and `--sharp-name`, such as `'{name}_blur.*'`
with `'{name}_sharp.*'`, or `'{scene}/blur/{name}.png'` with `'{scene}/gt/{name}.png'`. In them
`{name}` and `{scene}` stand for a part of the path that both halves share and `*` for any text;
neither reaches over a slash. A pattern without a slash holds in every folder, one with a slash is
the whole path. A picture in one folder that follows both belongs to the one that says more.

The scene of a pair, which is never in two splits, is what `{scene}` stands for, else the folder
that it lies in; a pair in no folder is a scene of its own. `--scene-pattern` says it otherwise: a
regular expression that is searched for in the path of the pair (folder and name, without the
endings and what the rule adds); its first group, or all of it, is the scene.

All scenes are training scenes until they are named for a split (`--test-scenes`), listed
(`--test-list`) or drawn by share (`--test-share`).
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from data_prep import images
from data_prep.layouts import faults
from data_prep.layouts.folders import pictures, stem, sub_folders, unrecognized, walk_files
from data_prep.layouts.halves import group, match_halves
from data_prep.layouts.naming import Rule
from data_prep.layouts.pairs import PairOptions, PairSource, describe_recorded, list_pairs
from data_prep.sources.source import Listing
from tfdeblur.errors import ConfigError, DataError

# What the halves of pairs are called in most sets: folders, or the ends of names.
USUAL = (
    ("blur", "sharp"),
    ("blurred", "sharp"),
    ("blur_gamma", "sharp"),
    ("blur", "gt"),
    ("blurred", "gt"),
    ("input", "target"),
    ("input", "gt"),
    ("lq", "gt"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PairOptions):
    """Options of the source of any pairs."""

    blurred: Annotated[str | None, Field(description="folder of the blurred halves")] = None
    sharp: Annotated[str | None, Field(description="folder of the sharp halves")] = None
    source: Annotated[
        str | None, Field(description="one folder of both halves; needs the two patterns")
    ] = None
    blurred_name: Annotated[
        str | None, Field(description="how blurred halves are called, such as '{name}_blur.*'")
    ] = None
    sharp_name: Annotated[
        str | None, Field(description="how sharp halves are called, such as '{name}_sharp.*'")
    ] = None
    scene_pattern: Annotated[
        str | None,
        Field(description="regular expression whose first group, or all of it, is the scene"),
    ] = None
    unpaired: Annotated[
        Literal["refuse", "skip"],
        Field(description="refuse: a picture without its other half is an error; skip: left out"),
    ] = "refuse"
    test_share: Annotated[
        float, Field(ge=0, lt=1, description="share of scenes kept for the test split")
    ] = 0.125


def build(options: Options) -> "Pairs":
    """Returns the source."""
    return Pairs(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that pair the pictures in a folder by usual names; none if none do."""
    from tfdeblur.io import files

    if not files.is_dir(root):
        return []
    names = sub_folders(root)
    for blurred, sharp in USUAL:
        if {blurred, sharp} <= set(names):
            return [{"blurred": files.join(root, blurred), "sharp": files.join(root, sharp)}]
    for name in names:
        inside = set(sub_folders(files.join(root, name)))
        for blurred, sharp in USUAL:
            if {blurred, sharp} <= inside:
                rules = [f"{{scene}}/{half}/{{name}}.*" for half in (blurred, sharp)]
                return [{"source": root, "blurred_name": rules[0], "sharp_name": rules[1]}]
    stems = {stem(name) for name in pictures(root)}
    for blurred, sharp in USUAL:
        for mark in "_-":
            ends = f"{mark}{blurred}", f"{mark}{sharp}"
            firsts = [{s.removesuffix(end) for s in stems if s.endswith(end)} for end in ends]
            if firsts[0] & firsts[1]:
                rules = [f"{{name}}{end}.*" for end in ends]
                return [{"source": root, "blurred_name": rules[0], "sharp_name": rules[1]}]
    return []


class Pairs(PairSource):
    """Pairs that are matched by their names."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def listing(self) -> Listing:
        """Lists all pairs; see `Source.listing`."""
        from tfdeblur.io import files

        options = self._options
        blurred_root, sharp_root = _folders(options)
        rules = tuple(
            Rule.parse(text or "{name}.*", flag)
            for text, flag in (
                (options.blurred_name, "--blurred-name"),
                (options.sharp_name, "--sharp-name"),
            )
        )
        if options.blurred_name == options.sharp_name and blurred_root == sharp_root:
            raise ConfigError("--blurred-name and --sharp-name are the same pattern.")
        if rules[0].fields != rules[1].fields:
            raise ConfigError("--blurred-name and --sharp-name must have the same {fields}.")
        blurred = _named(blurred_root, rules[0], "blurred")
        sharp = _named(sharp_root, rules[1], "sharp")
        if blurred_root == sharp_root:
            _part(blurred, sharp, rules)
        notes = []
        both = blurred.keys() & sharp.keys()
        if not both:
            raise _none_match(options, (blurred_root, sharp_root), blurred, sharp)
        if options.unpaired == "skip":
            lone = len(blurred) + len(sharp) - 2 * len(both)
            if lone:
                notes.append(f"Pictures left out, for their other half is missing: {lone}.")
            blurred = {name: blurred[name] for name in both}
            sharp = {name: sharp[name] for name in both}

        def where(half: str, name: str) -> str:
            side = half == "sharp"
            return files.join((blurred_root, sharp_root)[side], rules[side].write(name))

        names = match_halves(blurred, sharp, where)
        pairs = {name: (blurred[name], sharp[name]) for name in names}
        scenes = group("train", pairs, self._parse)
        layout = f"{len(names)} pairs in {len(scenes)} scenes; {_words(options, rules)}"
        return list_pairs(scenes, options, layout, notes)

    def describe_blur(self) -> dict[str, Any]:
        """Returns that nothing is known of the blur."""
        return describe_recorded("unknown: it came with the pictures")

    def _parse(self, name: str) -> tuple[str, str]:
        pattern = self._options.scene_pattern
        if pattern is None:
            scene, slash, frame = name.rpartition("/")
            return (scene, frame) if slash else (name, name)
        try:
            match = re.search(pattern, name)
        except re.error as error:
            raise ConfigError(
                f"--scene-pattern {pattern} is no regular expression: {error}."
            ) from error
        scene = match[1 if match.re.groups else 0] if match else ""
        if not scene:
            raise DataError(f"--scene-pattern {pattern} finds no scene in {name}.")
        return scene, name


def _folders(options: Options) -> tuple[str, str]:
    """Returns the folders of the blurred and of the sharp halves."""
    from tfdeblur.io import files

    if options.source is not None:
        if options.blurred is not None or options.sharp is not None:
            raise ConfigError("Give --source, or --blurred with --sharp, and not both.")
        if options.blurred_name is None or options.sharp_name is None:
            raise ConfigError(
                "One folder of both halves needs a naming rule: --blurred-name and --sharp-name, "
                "such as '{name}_blur.*' and '{name}_sharp.*'."
            )
        folders = {"source": options.source}
    elif options.blurred is None or options.sharp is None:
        raise ConfigError("Give --blurred with --sharp, or --source with a naming rule.")
    else:
        folders = {"blurred": options.blurred, "sharp": options.sharp}
    for flag, folder in folders.items():
        if not files.is_dir(folder):
            raise unrecognized(folder, "a folder of pictures", flag)
    both = [folder.rstrip("/") for folder in folders.values()]
    return both[0], both[-1]


def _named(root: str, rule: Rule, half: str) -> dict[str, str]:
    """Returns the paths of the pictures that follow a rule, by the name of their pair."""
    from tfdeblur.io import files

    found: dict[str, str] = {}
    for path in walk_files(root):
        name = rule.read(path) if images.is_picture(path) else None
        if name is not None:
            full = files.join(root, path)
            other = found.setdefault(name, full)
            if other != full:
                said = (
                    f"{other} and {full} would both be the {half} half of the pair {name}. "
                    "Rename one, or give a narrower pattern."
                )
                faults.report(faults.Fault("same-name", full, said))
    return found


def _part(blurred: dict[str, str], sharp: dict[str, str], rules: tuple[Rule, ...]) -> None:
    """Leaves pictures that follow both rules to the one that says more about the name."""
    less, more = (blurred, sharp) if rules[0].literals < rules[1].literals else (sharp, blurred)
    taken = set(more.values())
    for name in [name for name, path in less.items() if path in taken]:
        del less[name]


def _none_match(
    options: Options,
    roots: tuple[str, str],
    blurred: Mapping[str, str],
    sharp: Mapping[str, str],
) -> DataError:
    """Returns the error for halves of which none has a partner."""
    from tfdeblur.io import files

    expected = "a picture of the same path in each folder"
    if options.blurred_name or options.sharp_name:
        expected = f"{options.blurred_name or '{name}.*'} with {options.sharp_name or '{name}.*'}"
    shown = []
    for half, root, found in zip(("blurred", "sharp"), roots, (blurred, sharp), strict=True):
        names = list(found.values()) or [files.join(root, name) for name in walk_files(root)]
        shown.append(
            f"{len(found)} {half} ones, {root} holding "
            + (", ".join(name[len(root) + 1 :] for name in names[:3]) or "nothing")
        )
    return DataError(
        f"No blurred half has a sharp one. Expected {expected}; saw {' and '.join(shown)}. "
        "--blurred-name and --sharp-name say how the halves are called."
    )


def _words(options: Options, rules: tuple[Rule, ...]) -> str:
    """Returns in words how pairs and scenes were found."""
    named = options.blurred_name or options.sharp_name
    how = f"{rules[0].text} with {rules[1].text}" if named else "halves of the same path"
    if options.scene_pattern:
        return f"{how}; scenes by {options.scene_pattern}"
    return f"{how}; scenes by " + ("{scene}" if "scene" in rules[0].fields else "folder")
