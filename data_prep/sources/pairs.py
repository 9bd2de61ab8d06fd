"""Any recorded pairs: two folders (--blurred, --sharp), or one (--source) with name patterns.

By default, halves match if their paths below their folders are equal except for the extension.
Otherwise a pair of patterns, `--blurred-name` and `--sharp-name`, defines how they match, such as
`'{name}_blur.*'` with `'{name}_sharp.*'`, or `'{scene}/blur/{name}.png'` with
`'{scene}/gt/{name}.png'`. `{name}` and `{scene}` match a part of the path that both halves share
and `*` any text, all without slashes. A pattern without a slash applies in every folder, one with a
slash to the whole path. An image that matches both patterns belongs to the more specific one. A
note lists folders with images that match no pattern.

The scene of a pair, which is never in two splits, is the text that `{scene}` matches, else its
folder; a pair in no folder is a scene of its own. `--scene-pattern` overrides this: a regular
expression that is searched for in the path of the pair (folder and name, without extension and the
literal text of the patterns); its first group, or the whole match, is the scene.

All scenes are training scenes unless they are named for a split (`--test-scenes`), listed
(`--test-list`) or drawn by share (`--test-share`).
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from data_prep import images
from data_prep.faults import Fault, report
from data_prep.layouts.folders import (
    pictures,
    skipped,
    stem,
    sub_folders,
    unrecognized,
    walk_files,
)
from data_prep.layouts.matching import group, match_halves
from data_prep.layouts.pairs import PairOptions, PairSource, describe_recorded, list_pairs
from data_prep.sources.source import Listing
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import files

# Common names of the halves of pairs: folders, or suffixes of file names.
COMMON_NAMES = (
    ("blur", "sharp"),
    ("blurred", "sharp"),
    ("blur_gamma", "sharp"),
    ("blur", "gt"),
    ("blurred", "gt"),
    ("input", "target"),
    ("input", "gt"),
    ("lq", "gt"),
)
# A part of a name pattern that is not literal.
_TOKEN = re.compile(r"(\{[^}]*\}|\*)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PairOptions):
    """Options of the source of any pairs."""

    blurred: Annotated[str | None, Field(description="folder of the blurred halves")] = None
    sharp: Annotated[str | None, Field(description="folder of the sharp halves")] = None
    source: Annotated[
        str | None, Field(description="one folder with both halves; requires both patterns")
    ] = None
    blurred_name: Annotated[
        str | None, Field(description="pattern of blurred file names, such as '{name}_blur.*'")
    ] = None
    sharp_name: Annotated[
        str | None, Field(description="pattern of sharp file names, such as '{name}_sharp.*'")
    ] = None
    scene_pattern: Annotated[
        str | None,
        Field(description="regular expression whose first group, or whole match, is the scene"),
    ] = None
    unpaired: Annotated[
        Literal["refuse", "skip"],
        Field(description="image without its other half: refuse raises an error, skip drops it"),
    ] = "refuse"
    test_share: Annotated[
        float, Field(ge=0, lt=1, description="fraction of scenes in the test split")
    ] = 0.125


def build(options: Options) -> "Pairs":
    """Returns the source."""
    return Pairs(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that match images by common names; none if none match."""
    if not files.is_dir(root):
        return []
    names = sub_folders(root)
    for blurred, sharp in COMMON_NAMES:
        if {blurred, sharp} <= set(names):
            return [{"blurred": files.join(root, blurred), "sharp": files.join(root, sharp)}]
    for name in names:
        inside = set(sub_folders(files.join(root, name)))
        for blurred, sharp in COMMON_NAMES:
            if {blurred, sharp} <= inside:
                patterns = [f"{{scene}}/{half}/{{name}}.*" for half in (blurred, sharp)]
                return [{"source": root, "blurred_name": patterns[0], "sharp_name": patterns[1]}]
    stems = {stem(name) for name in pictures(root)}
    for blurred, sharp in COMMON_NAMES:
        for mark in "_-":
            ends = f"{mark}{blurred}", f"{mark}{sharp}"
            firsts = [{s.removesuffix(end) for s in stems if s.endswith(end)} for end in ends]
            if firsts[0] & firsts[1]:
                patterns = [f"{{name}}{end}.*" for end in ends]
                return [{"source": root, "blurred_name": patterns[0], "sharp_name": patterns[1]}]
    return []


class Pairs(PairSource):
    """Pairs matched by name."""

    _options: Options

    def listing(self) -> Listing:
        """Lists all pairs; see `Source.listing`."""
        options = self._options
        blurred_root, sharp_root = _folders(options)
        patterns = tuple(
            Pattern.parse(text or "{name}.*", flag)
            for text, flag in (
                (options.blurred_name, "--blurred-name"),
                (options.sharp_name, "--sharp-name"),
            )
        )
        if options.blurred_name == options.sharp_name and blurred_root == sharp_root:
            raise ConfigError("--blurred-name and --sharp-name are the same pattern.")
        if patterns[0].fields != patterns[1].fields:
            raise ConfigError("--blurred-name and --sharp-name must have the same {fields}.")
        found = {
            root: list(filter(images.is_picture, walk_files(root)))
            for root in (blurred_root, sharp_root)
        }
        blurred = _find(blurred_root, found[blurred_root], patterns[0], "blurred")
        sharp = _find(sharp_root, found[sharp_root], patterns[1], "sharp")
        if blurred_root == sharp_root:
            _separate(blurred, sharp, patterns)
        notes = skipped(_unread(found, {*blurred.values(), *sharp.values()}))
        both = blurred.keys() & sharp.keys()
        if not both:
            raise _none_match(options, (blurred_root, sharp_root), blurred, sharp)
        if options.unpaired == "skip":
            single = len(blurred) + len(sharp) - 2 * len(both)
            if single:
                notes.append(f"Images dropped because their other half is missing: {single}.")
            blurred = {name: blurred[name] for name in both}
            sharp = {name: sharp[name] for name in both}

        def path_of(half: str, name: str) -> str:
            side = half == "sharp"
            return files.join((blurred_root, sharp_root)[side], patterns[side].write(name))

        names = match_halves(blurred, sharp, path_of)
        pairs = {name: (blurred[name], sharp[name]) for name in names}
        scenes = group("train", pairs, self._parse)
        layout = f"{len(names)} pairs in {len(scenes)} scenes; {_summary(options, patterns)}"
        return list_pairs(scenes, options, layout, notes)

    def describe_blur(self) -> dict[str, Any]:
        """Returns that the blur is unknown."""
        return describe_recorded("unknown: it came with the images")

    def _parse(self, name: str) -> tuple[str, str]:
        pattern = self._options.scene_pattern
        if pattern is None:
            scene, slash, frame = name.rpartition("/")
            return (scene, frame) if slash else (name, name)
        try:
            match = re.search(pattern, name)
        except re.error as error:
            raise ConfigError(
                f"--scene-pattern {pattern} is not a regular expression: {error}."
            ) from error
        scene = match[1 if match.re.groups else 0] if match else ""
        if not scene:
            raise DataError(f"--scene-pattern {pattern} finds no scene in {name}.")
        return scene, name


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A pattern such as ``{name}_blur.*`` or ``{scene}/gt/{name}.png``.

    Attributes:
        text: The pattern as written.
        fields: The names in braces, sorted.
    """

    text: str
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, flag: str) -> "Pattern":
        """Parses a pattern.

        Raises:
            ConfigError: `{name}` is missing, or a field is unknown or repeated; the message names
                the flag.
        """
        fields = tuple(token[1:-1] for token in _TOKEN.findall(text) if token != "*")
        unknown = [field for field in fields if field not in ("name", "scene")]
        if unknown or "name" not in fields or len(set(fields)) != len(fields):
            raise ConfigError(
                f"{flag} {text} must contain {{name}} once, and may contain {{scene}} once and *."
            )
        return cls(text, tuple(sorted(fields)))

    def read(self, path: str) -> str | None:
        """Returns the name of the pair that a file belongs to, or None if it does not match.

        The name is `{scene}/{name}`, or `{name}` if the pattern has no scene. A pattern without a
        slash applies in every folder, and the folder is put before the name.
        """
        folder, slash, base = path.rpartition("/")
        match = self._regex.fullmatch(path if "/" in self.text else base)
        if match is None:
            return None
        parts = [match["scene"], match["name"]] if "scene" in self.fields else [match["name"]]
        if slash and "/" not in self.text:
            parts.insert(0, folder)
        return "/".join(parts)

    def write(self, name: str) -> str:
        """Returns the path of a pair's file; the inverse of `read` except for ``*``."""
        *folders, base = name.split("/")
        text = self.text.replace("{name}", base)
        if "scene" in self.fields:
            text = text.replace("{scene}", folders.pop())
        return "/".join([*folders, text])

    @property
    def literals(self) -> int:
        """Number of literal characters; of two patterns, the one with more is more specific."""
        return len(_TOKEN.sub("", self.text))

    @property
    def _regex(self) -> re.Pattern[str]:
        parts = []
        for token in _TOKEN.split(self.text):
            if token == "*":
                parts.append("[^/]*")
            elif token.startswith("{"):
                parts.append(f"(?P<{token[1:-1]}>[^/]+)")
            else:
                parts.append(re.escape(token))
        return re.compile("".join(parts))


def _folders(options: Options) -> tuple[str, str]:
    """Returns the folders of the blurred and of the sharp halves."""
    if options.source is not None:
        if options.blurred is not None or options.sharp is not None:
            raise ConfigError("Set either --source, or --blurred and --sharp.")
        if options.blurred_name is None or options.sharp_name is None:
            raise ConfigError(
                "--source requires --blurred-name and --sharp-name, such as '{name}_blur.*' and "
                "'{name}_sharp.*'."
            )
        folders = {"source": options.source}
    elif options.blurred is None or options.sharp is None:
        raise ConfigError("Set --blurred and --sharp, or --source and both name patterns.")
    else:
        folders = {"blurred": options.blurred, "sharp": options.sharp}
    for flag, folder in folders.items():
        if not files.is_dir(folder):
            raise unrecognized(folder, "a folder of images", flag)
    both = [folder.rstrip("/") for folder in folders.values()]
    return both[0], both[-1]


def _find(root: str, paths: Sequence[str], pattern: Pattern, half: str) -> dict[str, str]:
    """Returns the paths of the images that match a pattern, by the name of their pair."""
    found: dict[str, str] = {}
    for path in paths:
        name = pattern.read(path)
        if name is not None:
            full = files.join(root, path)
            other = found.setdefault(name, full)
            if other != full:
                message = (
                    f"{other} and {full} are both the {half} half of the pair {name}. Rename one, "
                    "or set a more specific pattern."
                )
                report(Fault("bad-name", full, message))
    return found


def _unread(found: Mapping[str, Sequence[str]], used: set[str]) -> set[str]:
    """Returns the folders of the images that were found without any used image."""
    paths = {files.join(root, path) for root, below in found.items() for path in below}
    return {files.parent(path) for path in paths} - {files.parent(path) for path in used}


def _separate(
    blurred: dict[str, str], sharp: dict[str, str], patterns: tuple[Pattern, ...]
) -> None:
    """Removes images that match both patterns from the half with the less specific one."""
    blurred_first = patterns[0].literals < patterns[1].literals
    less, more = (blurred, sharp) if blurred_first else (sharp, blurred)
    taken = set(more.values())
    for name in [name for name, path in less.items() if path in taken]:
        del less[name]


def _none_match(
    options: Options,
    roots: tuple[str, str],
    blurred: Mapping[str, str],
    sharp: Mapping[str, str],
) -> DataError:
    """Returns the error if no blurred half matches a sharp one."""
    expected = "an image with the same path in each folder"
    if options.blurred_name or options.sharp_name:
        expected = f"{options.blurred_name or '{name}.*'} with {options.sharp_name or '{name}.*'}"
    shown = []
    for half, root, found in zip(("blurred", "sharp"), roots, (blurred, sharp), strict=True):
        names = list(found.values()) or [files.join(root, name) for name in walk_files(root)]
        shown.append(
            f"{len(found)} {half} images ({root} contains "
            + (", ".join(name[len(root) + 1 :] for name in names[:3]) or "nothing")
            + ")"
        )
    return DataError(
        f"No blurred half matches a sharp one. Expected {expected}; found {' and '.join(shown)}. "
        "Set --blurred-name and --sharp-name."
    )


def _summary(options: Options, patterns: tuple[Pattern, ...]) -> str:
    """Returns how pairs and scenes were found, for the layout."""
    named = options.blurred_name or options.sharp_name
    how = f"{patterns[0].text} with {patterns[1].text}" if named else "halves of the same path"
    if options.scene_pattern:
        return f"{how}; scenes by {options.scene_pattern}"
    return f"{how}; scenes by " + ("{scene}" if "scene" in patterns[0].fields else "folder")
