"""Any recorded pairs: two folders (--blurred, --sharp), or one (--source) with name patterns.

By default, halves match if their paths below their folders are equal except for the extension.
Otherwise a pair of patterns, `--blurred-name` and `--sharp-name`, defines how they match, such as
`'{name}_blur.*'` with `'{name}_sharp.*'`, or `'{scene}/blur/{name}.png'` with
`'{scene}/gt/{name}.png'`. `{name}` and `{scene}` match a part of the path that both halves share
and `*` any text, all without slashes. A pattern without a slash applies in every folder, one with a
slash to the whole path. An image that matches both patterns belongs to the more specific one. A
note lists folders with images that match no pattern.

If there are several blurred images of one sharp image, `{copy}` in `--blurred-name` matches what
distinguishes them: `'im{name}_kernel{copy}_img.png'` with `'im{name}.png'`. They are in one scene.

Both halves may be side by side in one picture: `--source` with `--halves blurred-sharp`, or
`sharp-blurred` if the sharp half is on the left. `--blurred-name` is then the pattern of the
pictures; by default `{split}/{name}.*` if there are pictures in folders `train`, `val` or `test`.

The scene of a pair, which is never in two splits, is the text that `{scene}` matches, else its
folder; a pair in no folder is a scene of its own. `--scene-pattern` overrides this: a regular
expression that is searched for in the path of the pair (folder and name, without extension and the
literal text of the patterns); its first group, or the whole match, is the scene.

`{split}` matches a folder or a word `train`, `val` (`valid`, `validation`) or `test`, in any case,
and such a scene is named `train/SCENE`. Without it, all scenes are training scenes unless they are
named for a split (`--test-scenes`), listed (`--test-list`) or drawn by share (`--test-share`).
"""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
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
from data_prep.layouts.pairs import (
    PairOptions,
    PairSource,
    check_files,
    describe_recorded,
    list_pairs,
)
from data_prep.layouts.splits import SPLIT_OF, split_folders
from data_prep.plan import size_text
from data_prep.sources.source import Item, Listing
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import files

# Common names of the halves of pairs in lower case: folders, or suffixes of file names.
BLURRED = ("blur", "blurred", "blurry", "blur_gamma", "input", "input_crops", "lq")
SHARP = ("sharp", "gt", "target", "target_crops", "hq", "groundtruth", "ground_truth")
# A folder inside the folders of both halves, as in BSD.
_INNER = "rgb"
# A part of a name pattern that is not literal.
_FIELDS = ("name", "scene", "split", "copy")
_TOKEN = re.compile(r"(\{[^}]*\}|\*)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PairOptions):
    """Options of the source of any pairs."""

    blurred: str | None = None
    """folder of the blurred halves"""
    sharp: str | None = None
    """folder of the sharp halves"""
    source: str | None = None
    """one folder with both halves; requires both patterns, or --halves"""
    blurred_name: str | None = None
    """pattern of blurred file names, such as '{name}_blur.*'"""
    sharp_name: str | None = None
    """pattern of sharp file names, such as '{name}_sharp.*'"""
    halves: Literal["files", "blurred-sharp", "sharp-blurred"] = "files"
    """files: a file for each half; blurred-sharp or sharp-blurred: both side by side in one
    picture, in this order from the left"""
    scene_pattern: str | None = None
    """regular expression whose first group, or whole match, is the scene"""
    unpaired: Literal["refuse", "skip"] = "refuse"
    """image without its other half: refuse raises an error, skip drops it"""
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.125
    """fraction of scenes in the test split"""


def build(options: Options) -> "Pairs":
    """Returns the source."""
    return Pairs(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that match images by common names; none if none match."""
    if not files.is_dir(root):
        return []
    halves = _half_folders(root)
    if halves:
        blurred, sharp = (files.join(root, half) for half in halves)
        return [{"blurred": blurred, "sharp": sharp}]
    below = [name for name in sub_folders(root) if name.lower() in SPLIT_OF]
    prefixes = [("{split}", name) for name in below]
    prefixes += [
        ("{split}/{scene}", f"{name}/{scene}")
        for name in below
        for scene in sub_folders(files.join(root, name))
    ]
    prefixes += [("{scene}", name) for name in sub_folders(root)]
    for prefix, folder in prefixes:
        halves = _half_folders(files.join(root, folder))
        if halves:
            inside = "" if pictures(files.join(root, folder, halves[0])) else "{scene}/"
            if inside and "{scene}" in prefix:
                continue
            return [_by_patterns(root, [f"{prefix}/{half}/{inside}{{name}}.*" for half in halves])]
    stems = [stem(name) for name in pictures(root)]
    for blurred, sharp in itertools.product(BLURRED, SHARP):
        for mark in "_-":
            ends = f"{mark}{blurred}", f"{mark}{sharp}"
            found = [
                {s[: -len(e)]: s[-len(e) :] for s in stems if s.lower().endswith(e)} for e in ends
            ]
            both = sorted(found[0].keys() & found[1].keys())
            if both:
                return [_by_patterns(root, [f"{{name}}{half[both[0]]}.*" for half in found])]
    return []


def _half_folders(folder: str) -> tuple[str, str] | None:
    """Returns the folders of blurred and of sharp halves in a folder; None without both."""
    names = {name.lower(): name for name in sub_folders(folder)}
    for halves in itertools.product(BLURRED, SHARP):
        if names.keys() >= set(halves):
            found = [names[half] for half in halves]
            inner = [
                [name for name in sub_folders(files.join(folder, half)) if name.lower() == _INNER]
                for half in found
            ]
            if all(inner):
                found = [f"{half}/{below[0]}" for half, below in zip(found, inner, strict=True)]
            return found[0], found[1]
    return None


def _by_patterns(root: str, patterns: Sequence[str]) -> dict[str, Any]:
    return {"source": root, "blurred_name": patterns[0], "sharp_name": patterns[1]}


class Pairs(PairSource):
    """Pairs matched by name."""

    _options: Options

    def listing(self) -> Listing:
        """Lists all pairs; see `Source.listing`."""
        options = self._options
        roots = _folders(options)
        patterns = _patterns(options, roots)
        for flag in ("source", "blurred", "sharp"):
            folder = getattr(options, flag)
            if folder is not None and not files.is_dir(folder):
                raise unrecognized(folder, "a folder of images", flag)
        found = {root: list(filter(images.is_picture, walk_files(root))) for root in roots}
        blurred = _find(roots[0], found[roots[0]], patterns[0], "blurred")
        sharp = _find(roots[1], found[roots[1]], patterns[1], "sharp")
        if options.halves == "files" and roots[0] == roots[1]:
            _separate(blurred, sharp, patterns)
        used = {image.path for half in (blurred, sharp) for image in half.values()}
        notes = skipped(_unread(found, used))
        # A sharp half is repeated for each of its blurred copies.
        copied = {image.name for image in blurred.values()}
        sharp = {name: image for name, image in sharp.items() if name not in copied} | {
            pair: sharp[image.name] for pair, image in blurred.items() if image.name in sharp
        }
        both = blurred.keys() & sharp.keys()
        if not both:
            raise _none_match(options, roots, blurred, sharp)
        if options.unpaired == "skip":
            single = len(blurred) + len(sharp) - 2 * len(both)
            if single:
                notes.append(f"Images dropped because their other half is missing: {single}.")
            blurred = {pair: blurred[pair] for pair in both}
            sharp = {pair: sharp[pair] for pair in both}

        def path_of(half: str, pair: str) -> str:
            side = half == "sharp"
            name = blurred[pair].name if side else pair
            return files.join(roots[side], patterns[side].write(name))

        paths = (
            {pair: image.path for pair, image in blurred.items()},
            {pair: image.path for pair, image in sharp.items()},
        )
        splits: dict[str, dict[str, tuple[str, str]]] = {}
        for pair in match_halves(paths[0], paths[1], path_of):
            split = _split_of(pair) if "split" in patterns[0].fields else "train"
            splits.setdefault(split, {})[pair] = (paths[0][pair], paths[1][pair])

        def parse(pair: str) -> tuple[str, str]:
            return self._scene_of(pair, sharp[pair].name, "split" in patterns[0].fields)

        scenes = [scene for split in splits for scene in group(split, splits[split], parse)]
        layout = f"{len(both)} pairs in {len(scenes)} scenes; {_summary(options, patterns)}"
        check = check_files if options.halves == "files" else _check_joined
        return list_pairs(scenes, options, layout, notes, check=check)

    def load(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Returns both halves of a pair."""
        if self._options.halves == "files":
            return super().load(item)
        whole = images.load_rgb(item.sharp)
        middle = whole.shape[1] // 2
        left, right = whole[:, :middle], whole[:, middle:]
        return (left, right) if self._options.halves == "blurred-sharp" else (right, left)

    def describe_blur(self) -> dict[str, Any]:
        """Describes the blur as unknown."""
        return describe_recorded("unknown: it came with the images")

    def _scene_of(self, pair: str, name: str, has_split: bool) -> tuple[str, str]:
        """Returns the scene and the frame of a pair whose sharp half has the given name."""
        pattern = self._options.scene_pattern
        if pattern is None:
            # The folder, if there is one below that of the split.
            folder, _, _ = name.rpartition("/")
            in_folder = name.count("/") > has_split
            return (folder if in_folder else name), pair.rsplit("/", 1)[-1]
        try:
            match = re.search(pattern, pair)
        except re.error as error:
            raise ConfigError(
                f"--scene-pattern {pattern} is not a regular expression: {error}."
            ) from error
        scene = match[1 if match.re.groups else 0] if match else ""
        if not scene:
            raise DataError(f"--scene-pattern {pattern} finds no scene in {pair}.")
        return (f"{pair.split('/')[0]}/{scene}" if has_split else scene), pair


def _split_of(pair: str) -> str:
    return SPLIT_OF[pair.split("/")[0].lower()]


def _check_joined(item: Item) -> Item | Fault:
    """Returns a pair that is one picture with the size of its halves, or its fault."""
    try:
        height, width = images.size_of(item.sharp)
    except Fault as fault:
        return fault
    if width % 2:
        message = (
            f"{item.sharp} is {size_text((height, width))}: a picture of odd width cannot contain "
            "two halves of the same size side by side."
        )
        return Fault("size-differs", item.sharp, message)
    return dataclasses.replace(item, height=height, width=width // 2)


class _Image(NamedTuple):
    """An image that matches a pattern: its path, and the name of the sharp half of its pair."""

    path: str
    name: str


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
        unknown = [field for field in fields if field not in _FIELDS]
        if unknown or "name" not in fields or len(set(fields)) != len(fields):
            raise ConfigError(
                f"{flag} {text} must contain {{name}} once, and may contain {{scene}}, {{split}} "
                "and {copy} once and *."
            )
        return cls(text, tuple(sorted(fields)))

    def read(self, path: str) -> tuple[str, str] | None:
        """Returns the pair that a file belongs to, or None if it does not match.

        A pattern without a slash applies in every folder, and the folder is put before the name.

        Returns:
            The name of the pair, and that of its sharp half, which is `{split}/{scene}/{name}`
            without the fields that the pattern lacks. They differ by `-{copy}`.
        """
        folder, _, base = path.rpartition("/")
        match = self._regex.fullmatch(path if "/" in self.text else base)
        if match is None:
            return None
        found = match.groupdict(default="")
        parts = [found.get("split"), folder if "/" not in self.text else "", found.get("scene")]
        name = "/".join([*filter(None, parts), found["name"]])
        return (f"{name}-{found['copy']}" if "copy" in found else name), name

    def write(self, name: str) -> str:
        """Returns the path of a half by the name of the sharp half, with ``*`` as it is."""
        *folders, base = name.split("/")
        text = self.text.replace("{name}", base).replace("{copy}", "*")
        if "scene" in self.fields:
            text = text.replace("{scene}", folders.pop())
        if "split" in self.fields:
            text = text.replace("{split}", folders.pop(0))
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
            elif token == "{split}":
                parts.append(f"(?P<split>(?i:{'|'.join(SPLIT_OF)}))")
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
        roots = (options.source, options.source)
    elif options.halves != "files":
        raise ConfigError(f"--halves {options.halves} requires --source, the folder of pictures.")
    elif options.blurred is None or options.sharp is None:
        raise ConfigError("Set --blurred and --sharp, or --source and both name patterns.")
    else:
        roots = (options.blurred, options.sharp)
    return roots[0].rstrip("/"), roots[1].rstrip("/")


def _joined_name(root: str) -> str:
    """Returns the pattern of pictures that contain both halves if none is set."""
    divided = any(pictures(files.join(root, name)) for name in split_folders(root).values())
    return "{split}/{name}.*" if divided else "{name}.*"


def _patterns(options: Options, roots: tuple[str, str]) -> tuple[Pattern, Pattern]:
    """Returns the patterns of the blurred and of the sharp halves."""
    if options.halves != "files":
        if options.sharp_name is not None:
            raise ConfigError("With --halves, --blurred-name is the pattern of the pictures.")
        pattern = Pattern.parse(options.blurred_name or _joined_name(roots[0]), "--blurred-name")
        return pattern, pattern
    if options.source is not None and None in (options.blurred_name, options.sharp_name):
        raise ConfigError(
            "--source requires --blurred-name and --sharp-name, such as '{name}_blur.*' and "
            "'{name}_sharp.*', or --halves if both halves are in one picture."
        )
    if options.source is not None and options.blurred_name == options.sharp_name:
        raise ConfigError("--blurred-name and --sharp-name are the same pattern.")
    blurred = Pattern.parse(options.blurred_name or "{name}.*", "--blurred-name")
    sharp = Pattern.parse(options.sharp_name or "{name}.*", "--sharp-name")
    if set(blurred.fields) - {"copy"} != set(sharp.fields):
        raise ConfigError(
            "--blurred-name and --sharp-name must have the same {fields}, except for {copy}, which "
            "only --blurred-name may have."
        )
    return blurred, sharp


def _find(root: str, paths: Sequence[str], pattern: Pattern, half: str) -> dict[str, _Image]:
    """Returns the images that match a pattern, by the name of their pair."""
    found: dict[str, _Image] = {}
    for path in paths:
        names = pattern.read(path)
        if names is not None:
            image = _Image(files.join(root, path), names[1])
            other = found.setdefault(names[0], image)
            if other != image:
                message = (
                    f"{other.path} and {image.path} are both the {half} half of the pair "
                    f"{names[0]}. Rename one, or set a more specific pattern."
                )
                report(Fault("bad-name", image.path, message))
    return found


def _unread(found: Mapping[str, Sequence[str]], used: set[str]) -> set[str]:
    """Returns the folders of the images that were found without any used image."""
    paths = {files.join(root, path) for root, below in found.items() for path in below}
    return {files.parent(path) for path in paths} - {files.parent(path) for path in used}


def _separate(
    blurred: dict[str, _Image], sharp: dict[str, _Image], patterns: tuple[Pattern, ...]
) -> None:
    """Removes images that match both patterns from the half with the less specific one."""
    blurred_first = patterns[0].literals < patterns[1].literals
    less, more = (blurred, sharp) if blurred_first else (sharp, blurred)
    taken = {image.path for image in more.values()}
    for name in [name for name, image in less.items() if image.path in taken]:
        del less[name]


def _none_match(
    options: Options,
    roots: tuple[str, str],
    blurred: Mapping[str, _Image],
    sharp: Mapping[str, _Image],
) -> DataError:
    """Returns the error if no blurred half matches a sharp one."""
    expected = "an image with the same path in each folder"
    if options.blurred_name or options.sharp_name:
        expected = f"{options.blurred_name or '{name}.*'} with {options.sharp_name or '{name}.*'}"
    shown = []
    for half, root, found in zip(("blurred", "sharp"), roots, (blurred, sharp), strict=True):
        names = [image.path for image in found.values()] or [
            files.join(root, name) for name in walk_files(root)
        ]
        shown.append(
            f"{len(found)} {half} images ({root} contains "
            + (", ".join(name[len(root) + 1 :] for name in names[:3]) or "nothing")
            + ")"
        )
    remedy = (
        "Set --blurred-name and --sharp-name, with {copy} in --blurred-name if several blurred "
        "images belong to one sharp image."
    )
    for pattern in filter(None, (options.blurred_name, options.sharp_name)):
        if "." not in pattern.rpartition("/")[2]:
            remedy = f"Patterns include the suffix of the files: {pattern}.* instead of {pattern}."
    return DataError(
        f"No blurred half matches a sharp one. Expected {expected}; found {' and '.join(shown)}. "
        f"{remedy}"
    )


def _summary(options: Options, patterns: tuple[Pattern, ...]) -> str:
    """Returns how pairs and scenes were found, for the layout."""
    named = options.blurred_name or options.sharp_name
    how = f"{patterns[0].text} with {patterns[1].text}" if named else "halves of the same path"
    if options.halves != "files":
        how = f"{patterns[0].text}, both halves in one picture, {options.halves} from the left"
    if options.scene_pattern:
        return f"{how}; scenes by {options.scene_pattern}"
    return f"{how}; scenes by " + ("{scene}" if "scene" in patterns[0].fields else "folder")
