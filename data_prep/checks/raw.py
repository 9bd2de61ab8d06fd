"""Examines a raw data set: names, layout, every file, every pair, and the set as a whole."""

import dataclasses
import functools
import operator
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from data_prep import faults, images
from data_prep.checks import pairs, sets
from data_prep.checks.findings import Finding
from data_prep.checks.report import Halves, Report, sampled
from data_prep.layouts.folders import contents
from data_prep.processes import ordered
from data_prep.sources import REGISTRY
from data_prep.sources.source import Item, Listing, Source
from tfdeblur.config import settings
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.io import files

# These sources read almost any folder, so they are tried after the specific ones.
_GENERIC = ("pairs", "frames", "sharp")


def examine(
    root: str, source: str | None, given: Mapping[str, Any], sample: int | None, workers: int
) -> Report:
    """Examines a raw data set without changing it.

    Args:
        root: Its folder; for some sources an archive or a video.
        source: Name of the source; None recognizes it.
        given: Options of the source, if `source` is set.
        sample: How many pairs, and how many other images, to decode; None decodes all.
        workers: Number of processes.

    Raises:
        UserError: The options do not fit the source, or a process was killed.
    """
    report = Report(root, "raw", layout="not read, because of names that are not UTF-8")
    pictures = _survey(root, report) if files.is_dir(root) else []
    # Sources refuse other names.
    readable = not any(finding.code == "bad-name" for finding in report.found)
    options, built = _open(root, source, given, report) if readable else (None, None)
    splits = _list(built, report) if built is not None else {}
    report.found += sets.sizes(splits)
    frame = functools.partial(pairs.load_frame, report.source, options)
    tasks = _tasks(report, splits, pictures, frame, sample)
    outcomes = ordered(operator.call, tasks, workers)
    for outcome in tqdm(outcomes, total=len(tasks), unit=" files and pairs", desc="doctor"):
        report.add(outcome)
    items = {item.key: item for part in splits.values() for item in part}
    sets.check(report, {k: i.sharp for k, i in items.items() if images.is_picture(i.sharp)})
    report.load = lambda key: frame(items[key])
    return report


def _tasks(
    report: Report,
    splits: Mapping[str, tuple[Item, ...]],
    pictures: list[str],
    frame: Callable[[Item], Halves],
    sample: int | None,
) -> list[pairs.Task]:
    """Returns a task for each pair or sharp image, and for each other image."""
    items = [(split, item) for split, part in splits.items() for item in part]
    report.pairs = len(items)
    chosen = sampled(len(items), sample)
    tasks: list[pairs.Task] = []
    covered: set[str] = set()
    for index, (split, item) in enumerate(items):
        deep = index in chosen
        report.examined += deep
        covered |= {item.blurred, item.sharp}
        name = (item.key, split)
        if item.blurred not in ("", item.sharp):
            halves = (item.blurred, item.sharp)
            tasks.append(functools.partial(pairs.examine_pair, *halves, deep, *name))
        elif images.is_picture(item.sharp) and not item.blurred:
            tasks.append(functools.partial(pairs.examine_image, item.sharp, deep, *name))
        elif deep:
            # A pair in one picture, a window of a clip, or a part of an archive.
            tasks.append(functools.partial(pairs.examine_frame, frame, item, *name))
    rest = sorted(set(pictures) - covered)
    chosen = sampled(len(rest), sample)
    tasks += [
        functools.partial(pairs.examine_image, path, index in chosen)
        for index, path in enumerate(rest)
    ]
    if sample is not None and max(len(items), len(rest)) > sample:
        report.notes.append(
            f"Decoded {report.examined} of {len(items)} pairs and {min(sample, len(rest))} of "
            f"{len(rest)} other images (--sample). Of the others, only headers were checked, and "
            "they were not compared."
        )
    return tasks


def _survey(root: str, report: Report) -> list[str]:
    """Walks all folders below `root`, following links to folders except to parents.

    Object stores have neither links nor names that clash, so only names are checked there.

    Returns:
        The sorted paths of all files with the name of an image.

    Raises:
        UserError: A folder cannot be listed.
    """
    if "://" in root:
        paths = [files.join(root, name) for name in files.walk_files(root)]
        report.found += [finding for path in paths for finding in _check_name(path)]
    else:
        paths = []
        pending: list[tuple[str, tuple[str, ...]]] = [(root, (os.path.realpath(root),))]
        while pending:
            folder, parents = pending.pop()
            names = _visible(folder)
            report.found += _clashes(folder, names)
            for path in (os.path.join(folder, name) for name in names):
                report.found += _check_name(path)
                if not os.path.isdir(path):
                    paths.append(path)
                    continue
                # Examining the folder will report its name.
                paths += [path] if images.is_picture(path) else []
                target = os.path.realpath(path)
                if target in parents:
                    report.found.append(Finding("link-loop", path, f"It points to {target}."))
                else:
                    pending.append((path, (*parents, target)))
    pictures = sorted(filter(images.is_picture, paths))
    report.files = {"pictures": len(pictures), "others": len(paths) - len(pictures)}
    return pictures


def _visible(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder} cannot be listed: {error.strerror}.") from error


def _check_name(path: str) -> list[Finding]:
    name = path.rsplit("/", 1)[-1]
    if name.isascii():
        return []
    try:
        name.encode()
    except UnicodeEncodeError:
        return [Finding("bad-name", path, "Its name is not UTF-8.")]
    return [Finding("name-not-ascii", path)]


def _clashes(folder: str, names: list[str]) -> list[Finding]:
    """Finds names in one folder that are equal on other file systems."""
    first: dict[str, str] = {}
    found = []
    for name in names:
        plain = unicodedata.normalize("NFC", name).casefold()
        other = first.setdefault(plain, name)
        if other != name:
            path = os.path.join(folder, name)
            found.append(Finding("case-clash", path, f"It clashes with {other}."))
    return found


def _recognizers() -> dict[str, Any]:
    """Returns the function `recognize` of each source that has one, specific sources first."""
    names = [*(name for name in REGISTRY.names() if name not in _GENERIC), *_GENERIC]
    found = {name: getattr(REGISTRY.load(name), "recognize", None) for name in names}
    return {name: recognize for name, recognize in found.items() if recognize is not None}


def recognize(root: str) -> list[tuple[str, dict[str, Any]]]:
    """Returns the sources that recognize a layout with the options for it, best first."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, function in _recognizers().items():
        # A generic source is tried only if no other source recognizes the folder.
        if not (found and name in _GENERIC):
            found += [(name, options) for options in function(root)]
    return found


def _open(
    root: str, source: str | None, given: Mapping[str, Any], report: Report
) -> tuple[Any, Source | None]:
    """Returns the options and the source that read a data set; None if no source does.

    Raises:
        ConfigError: The options do not fit the source.
    """
    notes: list[str] = []
    if source is None:
        found = recognize(root)
        if not found:
            known = ", ".join(_recognizers())
            detail = f"It contains: {contents(root)}. Known layouts: {known}."
            report.found.append(Finding("layout-unknown", root, detail))
            report.layout = ""
            return None, None
        source, options = found[0]
        notes = _alternatives(found)
    else:
        options = {**given, **_location(root, source, given)}
    source_options = settings.validate(REGISTRY.options(source), options)
    report.source, report.notes = source, notes
    return source_options, REGISTRY.load(source).build(source_options)


def _list(source: Source, report: Report) -> dict[str, tuple[Item, ...]]:
    """Returns the frames of the splits that have any, and continues after faults."""
    listing = Listing({})
    with faults.collecting() as reported:
        try:
            listing = source.listing()
        except ConfigError:
            raise
        except DataError as error:
            report.found.append(Finding("layout-faulty", report.path, str(error)))
    report.found += [Finding(fault.code, fault.file, str(fault)) for fault in reported]
    report.layout = listing.layout or f"source {report.source}"
    report.notes = [*listing.notes, *report.notes]
    splits = {split: items for split, items in listing.splits.items() if items}
    for split, items in splits.items():
        scenes = Counter(item.scene for item in items)
        report.splits[split] = dict(sorted(scenes.items()))
    return splits


def _alternatives(found: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Returns notes about other ways to read a recognized data set."""
    source, options = found[0]
    notes = []
    for name, other in found[1:]:
        flags = [f"--{key} {value}" for key, value in other.items() if options.get(key) != value]
        notes.append(f"Can also be read with {' '.join([f'--source {name}', *flags])}.")
    if source == "sharp":
        notes.append(
            "No layout of pairs was recognized: the images are treated as sharp photographs for "
            "synthetic blur (--source sharp; for clips, --source frames)."
        )
    return notes


def _location(root: str, source: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options with the location of the data set for a named source."""
    if "source" not in {field.name for field in dataclasses.fields(REGISTRY.options(source))}:
        raise ConfigError(f"--source {source} generates its images: there is nothing to examine.")
    if source != "pairs":
        return {"source": root}
    halves = {
        key: _half(root, given[key], f"--{key}") for key in ("blurred", "sharp") if given.get(key)
    }
    if halves:
        return halves
    joined = given.get("halves", "files") != "files"
    if joined or given.get("blurred_name") or given.get("sharp_name"):
        return {"source": root}
    common = REGISTRY.load(source).recognize(root)
    return dict(common[0]) if common else {"source": root}


def _half(root: str, name: str, flag: str) -> str:
    """Returns the folder of one half: relative to PATH, or as for a build."""
    places = (files.join(root, name), name)
    for place in places:
        if files.is_dir(place):
            return place
    raise ConfigError(
        f"{flag} {name}: neither {places[0]} nor {places[1]} is a folder. Set it to a path, or to "
        "a name below the folder that is examined."
    )
