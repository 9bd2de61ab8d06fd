"""Examines a raw data set: names, layout, every file, every pair, and the set as a whole."""

import dataclasses
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from data_prep import images
from data_prep.checks import sets
from data_prep.checks.findings import Finding
from data_prep.checks.layout import Layout, read
from data_prep.checks.pairs import ImageTask, LoadTask, PairTask, Task, load_frame, run_task
from data_prep.checks.report import Examination, Halves, sampled
from data_prep.processes import ordered
from data_prep.sources.source import Item
from tfdeblur.errors import UserError
from tfdeblur.io import files


def examine(
    root: str, source: str | None, given: Mapping[str, Any], sample: int | None, workers: int
) -> Examination:
    """Examines a raw data set without changing it.

    Args:
        root: Its folder; for some sources an archive or a video.
        source: Name of the source; None recognizes it.
        given: Options of the source.
        sample: How many pairs, and how many other images, to decode; None decodes all.
        workers: Number of processes.

    Raises:
        UserError: The options do not fit the source, or a process was killed.
    """
    tree = survey(root) if files.is_dir(root) else Tree((), 0, (), listable=True)
    if tree.listable:
        layout = read(root, source, given)
    else:
        layout = Layout(description="not read, because of names that are not UTF-8")
    splits = {split: Counter(item.scene for item in part) for split, part in layout.splits.items()}
    found = Examination(
        "raw",
        source=layout.source,
        layout=layout.description,
        splits={split: dict(sorted(scenes.items())) for split, scenes in splits.items()},
        files={"pictures": len(tree.pictures), "others": tree.others},
        findings=[*tree.findings, *layout.findings, *sets.sizes(layout.splits)],
        notes=list(layout.notes),
    )
    tasks, keys = _tasks(layout, tree, sample, found)
    outcomes = ordered(run_task, tasks, workers)
    for outcome in tqdm(outcomes, total=len(tasks), unit=" files and pairs", desc="doctor"):
        found.add(outcome)
    sets.check(found)

    def load(key: str) -> Halves:
        item = keys[key]
        if layout.paired:
            return images.load_rgb(item.blurred), images.load_rgb(item.sharp)
        if images.is_picture(item.sharp):
            return None, images.load_rgb(item.sharp)
        return None, load_frame(layout.source, layout.options, item)

    found.load = load
    return found


@dataclasses.dataclass(frozen=True)
class Tree:
    """The files below a folder.

    Attributes:
        pictures: Paths of all files with the name of an image, sorted.
        others: Number of other files, without hidden ones.
        findings: Problems of names and links.
        listable: Whether all names are UTF-8; otherwise TensorFlow, and so sources, cannot list
            the folder.
    """

    pictures: tuple[str, ...]
    others: int
    findings: tuple[Finding, ...]
    listable: bool


def survey(root: str) -> Tree:
    """Walks all folders below `root`, following links to folders except to parents.

    Object stores have neither links nor names that clash, so only names are checked there.

    Raises:
        UserError: A folder cannot be listed.
    """
    findings: list[Finding] = []
    if "://" in root:
        paths = [files.join(root, name) for name in files.walk_files(root)]
        findings = [finding for path in paths for finding in _check_name(path)]
    else:
        paths = []
        pending: list[tuple[str, tuple[str, ...]]] = [(root, (os.path.realpath(root),))]
        while pending:
            folder, parents = pending.pop()
            names = _visible(folder)
            findings += _clashes(folder, names)
            for path in (os.path.join(folder, name) for name in names):
                findings += _check_name(path)
                if not os.path.isdir(path):
                    paths.append(path)
                    continue
                # Examining the folder will report its name.
                paths += [path] if images.is_picture(path) else []
                target = os.path.realpath(path)
                if target in parents:
                    findings.append(Finding("link-loop", path, f"It points to {target}."))
                else:
                    pending.append((path, (*parents, target)))
    pictures = sorted(filter(images.is_picture, paths))
    listable = not any(finding.code == "bad-name" for finding in findings)
    return Tree(tuple(pictures), len(paths) - len(pictures), tuple(findings), listable)


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


def _tasks(
    layout: Layout, tree: Tree, sample: int | None, found: Examination
) -> tuple[list[Task], dict[str, Item]]:
    """Returns all tasks, and the frames by key."""
    items = layout.items
    chosen = sampled(len(items), sample)
    tasks: list[Task] = []
    covered: set[str] = set()
    for index, (split, item) in enumerate(items):
        deep = index in chosen
        found.examined += deep
        covered |= {item.blurred, item.sharp}
        if layout.paired:
            tasks.append(PairTask(item.key, split, item.blurred, item.sharp, deep))
        elif images.is_picture(item.sharp):
            tasks.append(ImageTask(item.sharp, deep, item.key, split))
        elif deep:
            tasks.append(LoadTask(item.key, split, layout.source, layout.options, item))
    found.pairs = len(items)
    rest = sorted({*tree.pictures, *layout.suspects} - covered)
    chosen = sampled(len(rest), sample)
    tasks += [ImageTask(path, index in chosen) for index, path in enumerate(rest)]
    if sample is not None and max(len(items), len(rest)) > sample:
        found.notes.append(
            f"Decoded {found.examined} of {len(items)} pairs and {min(sample, len(rest))} of "
            f"{len(rest)} other images (--sample). Of the others, only headers were checked, and "
            "they were not compared."
        )
    return tasks, {item.key: item for _, item in items}
