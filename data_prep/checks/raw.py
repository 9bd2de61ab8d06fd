"""Examines a raw data set: names, layout, every file, every pair, the set as a whole."""

from collections.abc import Mapping
from typing import Any

from data_prep import images
from data_prep.checks import names, sets
from data_prep.checks.examination import Examination, Halves, chosen, counts, progress
from data_prep.checks.layout import Layout, read
from data_prep.checks.names import Tree
from data_prep.checks.pairs import (
    FileTask,
    LoadTask,
    PairTask,
    PhotoTask,
    Task,
    load_frame,
    run_task,
)
from data_prep.checks.pool import ordered
from data_prep.sources.source import Item
from tfdeblur.io import files


def examine(
    root: str, source: str | None, given: Mapping[str, Any], sample: int | None, workers: int
) -> Examination:
    """Examines a raw data set and changes nothing.

    Args:
        root: Its folder; for some sources an archive or a video.
        source: Name of the source that reads it; None finds it.
        given: Options of the source.
        sample: How many pairs are decoded, and how many pictures besides; None decodes all.
        workers: Number of processes.

    Raises:
        UserError: The options do not fit, or a process was killed.
    """
    tree = names.survey(root) if files.is_dir(root) else Tree((), 0, ())
    strange = [finding for finding in tree.findings if finding.code == "name-not-utf8"]
    if strange:
        # TensorFlow cannot list such a folder, so no source can.
        layout = Layout(findings=tuple(strange), words="not read for names that are no UTF-8")
    else:
        layout = read(root, source, given)
    found = Examination(
        "raw",
        source=layout.source,
        layout=layout.words,
        splits=counts(
            {split: [item.scene for item in items] for split, items in layout.splits.items()}
        ),
        files={"pictures": len(tree.pictures), "others": tree.others},
        findings=[*tree.findings, *layout.findings],
        notes=list(layout.notes),
    )
    found.findings += sets.sizes(
        {
            split: [(item.sharp or item.key, item.width, item.height) for item in items]
            for split, items in layout.splits.items()
        }
    )
    tasks, keys = _tasks(layout, tree, sample, found)
    for outcome in progress(ordered(run_task, tasks, workers), len(tasks), "files and pairs"):
        found.findings += outcome.findings
        if outcome.measure is not None:
            found.measures.append(outcome.measure)
    whole, found.twins, notes = sets.check(found.measures)
    found.findings += whole
    found.notes += notes

    def load(key: str) -> Halves:
        item = keys[key]
        if layout.paired:
            return images.load_rgb(item.blurred), images.load_rgb(item.sharp)
        if images.is_picture(item.sharp):
            return None, images.load_rgb(item.sharp)
        return None, load_frame(layout.source, layout.options, item)

    found.load = load
    return found


def _tasks(
    layout: Layout, tree: Tree, sample: int | None, found: Examination
) -> tuple[list[Task], dict[str, Item]]:
    """Returns what there is to look at, and the frames by their names."""
    items = layout.items
    pick = chosen(len(items), sample)
    tasks: list[Task] = []
    keys: dict[str, Item] = {}
    covered: set[str] = set()
    for place, (split, item) in enumerate(items):
        deep = pick(place)
        found.examined += deep
        covered |= {item.blurred, item.sharp}
        keys[item.key] = item
        if layout.paired:
            tasks.append(PairTask(item.key, split, item.blurred, item.sharp, deep))
        elif images.is_picture(item.sharp):
            tasks.append(PhotoTask(item.key, split, item.sharp, deep))
        elif deep:
            tasks.append(LoadTask(item.key, split, layout.source, layout.options, item))
    found.pairs = len(items)
    rest = sorted({*tree.pictures, *layout.suspects} - covered)
    pick = chosen(len(rest), sample)
    tasks += [FileTask(path, pick(place)) for place, path in enumerate(rest)]
    if sample is not None and max(len(items), len(rest)) > sample:
        found.notes.append(
            f"Pixels were decoded of {found.examined} of {len(items)} pairs and of "
            f"{min(sample, len(rest))} of {len(rest)} other pictures (--sample): of the others, "
            "what is cut off or damaged behind its head passes, and they were not compared."
        )
    return tasks, keys
