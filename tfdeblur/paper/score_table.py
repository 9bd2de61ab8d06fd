"""Tables as papers print them: networks, the blurred input, and the paper's own figures."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfdeblur.config.recipes import Recipe
from tfdeblur.errors import UserError
from tfdeblur.evaluation.results import Result, check_metrics, unique_labels
from tfdeblur.evaluation.scores import (
    BLURRED,
    CONVERTED,
    CROPS,
    RESTORED,
    conditions,
    region_name,
)
from tfdeblur.evaluation.tables import Grid, csv_text
from tfdeblur.metrics import METRICS


@dataclasses.dataclass(frozen=True)
class Entry:
    """A column of the table.

    Attributes:
        title: Its heading.
        values: Means by metric.
        paper: Whether they are a paper's figures, which are not measured here.
    """

    title: str
    values: Mapping[str, float]
    paper: bool = False


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """Networks side by side.

    Attributes:
        entries: The columns, the blurred input first.
        measures: The rows.
        notes: What a reader must know about the values.
        caption: One line above the table.
    """

    entries: Sequence[Entry]
    measures: Sequence[str]
    notes: Sequence[str]
    caption: str = ""

    def grid(self) -> Grid:
        """Returns the table, a row per measure; the best of what was measured is emphasized."""
        rows, best = [], set()
        for place, key in enumerate(self.measures):
            metric = METRICS[key]
            rows.append([metric.header, *(metric.text(_value(e, key)) for e in self.entries)])
            if not metric.comparable:
                continue
            ours = {
                metric.sign * _value(entry, key): column
                for column, entry in reversed(list(enumerate(self.entries, 1)))
                if not entry.paper and not math.isnan(_value(entry, key))
            }
            if len(ours) > 1:
                best.add((place, ours[max(ours)]))
        header = ["", *(entry.title for entry in self.entries)]
        return Grid(header, rows, frozenset(best), self.caption, self.notes)

    def to_csv(self) -> str:
        """Returns a line per network with its unrounded values, not in the units of the table."""
        return csv_text(
            [
                {
                    "network": entry.title,
                    "source": "paper" if entry.paper else "measured",
                    **{key: _cell(_value(entry, key)) for key in self.measures},
                }
                for entry in self.entries
            ]
        )


def _value(entry: Entry, key: str) -> float:
    return entry.values.get(key, math.nan)


def _cell(value: float) -> float | str:
    return "" if math.isnan(value) else value


def side_by_side(
    results: Sequence[Result],
    measures: Sequence[str],
    *,
    labels: Sequence[str] = (),
    paper: bool = True,
) -> PaperTable:
    """Sets networks side by side that were evaluated on the same images.

    Args:
        results: Their results.
        measures: Keys of metrics, in the order of the rows; those that no network has are left out.
        labels: Their names; those of their runs if empty.
        paper: Whether the figures of the runs' papers stand beside them.

    Raises:
        UserError: They were evaluated on different images, or an argument does not fit.
    """
    check_metrics(measures)
    first = results[0]
    for other in results[1:]:
        _require_same_images(other, first)
    names = unique_labels([result.network for result in results], labels)
    inputs: dict[tuple[tuple[str, float], ...], Entry] = {}
    entries, notes = [], []
    for name, result in zip(names, results, strict=True):
        for state in result.states:
            title = f"{name}, TLC" if state == CONVERTED else name
            entries.append(Entry(title, result.rows[state]))
        recipe = result.recipe() if paper else None
        if recipe is None:
            continue
        if reason := _not_comparable(recipe, result):
            notes.append(f"{name}: the figures of {recipe.about['paper']} are left out: {reason}.")
            continue
        if reported := recipe.about.get("reported"):
            entries.append(Entry(f"{name}, paper", reported, paper=True))
            notes.append(_cited(name, recipe))
        if of_input := recipe.about.get("reported_input"):
            key = tuple(sorted(of_input.items()))
            inputs[key] = Entry("blurred, paper", of_input, paper=True)
    entries = [Entry("blurred", first.rows[BLURRED]), *inputs.values(), *entries]
    shown = [key for key in measures if any(not math.isnan(_value(e, key)) for e in entries)]
    _require_same_conditions(results, shown)
    notes = [*_notes(first, shown), *notes, *_origins(names, results)]
    return PaperTable(entries, shown, notes, _caption(first))


def _require_same_images(result: Result, first: Result) -> None:
    if result.same_images() != first.same_images():
        raise UserError(
            f"{result.path} and {first.path} are not of the same images. Evaluate both with the "
            "same --data, --split and --limit."
        )


def _require_same_conditions(results: Sequence[Result], measures: Sequence[str]) -> None:
    for key in measures:
        found: dict[tuple[Any, ...], str] = {}
        for result in results:
            if any(key in row for row in result.rows.values()):
                where = tuple(result.about.get(name) for name in conditions(key))
                found.setdefault(where, result.path)
        if len(found) > 1:
            raise UserError(
                f"{' and '.join(found.values())}: {key} was measured with different weights or "
                "--max-shift. Evaluate all alike, or leave it out of --measures."
            )


@dataclasses.dataclass(frozen=True)
class SetsTable:
    """Networks across test sets.

    Attributes:
        grid: A row per network, a column per set and measure.
        csv: The same with unrounded values.
    """

    grid: Grid
    csv: str


def across_sets(found: Mapping[str, Mapping[str, Result]], measures: Sequence[str]) -> SetsTable:
    """Sets networks side by side on all test sets that they were evaluated on.

    Args:
        found: Results by network and name of the set.
        measures: Keys of metrics.

    Raises:
        UserError: A metric is unknown, or two results of one name are of different images.
    """
    check_metrics(measures)
    first: dict[str, Result] = {}
    for results in found.values():
        for name, result in results.items():
            _require_same_images(result, first.setdefault(name, result))
    for name in first:
        same_set = [results[name] for results in found.values() if name in results]
        _require_same_conditions(same_set, measures)
    columns = [(name, key) for name in first for key in measures]
    values = {"blurred": [first[name].rows[BLURRED].get(key, math.nan) for name, key in columns]}
    for network, results in found.items():
        for state in (RESTORED, CONVERTED):
            rows = {name: result.rows.get(state, {}) for name, result in results.items()}
            row = [rows.get(name, {}).get(key, math.nan) for name, key in columns]
            if not all(map(math.isnan, row)):
                values[network if state == RESTORED else f"{network}, TLC"] = row
    texts = [
        [name, *(METRICS[k].text(v) for (_, k), v in zip(columns, row, strict=True))]
        for name, row in values.items()
    ]
    best = set()
    for place, (_, key) in enumerate(columns):
        signed = [METRICS[key].sign * row[place] for row in values.values()]
        known = [value for value in signed if not math.isnan(value)]
        if METRICS[key].comparable and len(known) > 1:
            best.add((signed.index(max(known)), place + 1))
    header = ["", *(f"{name} {METRICS[key].header}" for name, key in columns)]
    notes = [
        *(f"{name}: {_caption(result)}." for name, result in first.items()),
        "A dash: not evaluated. Measured in float32 on images clipped to [0, 1].",
        *(f"{METRICS[key].header}: {METRICS[key].protocol}" for key in measures),
    ]
    lines = [
        {
            "network": network,
            **{f"{n}/{k}": _cell(v) for (n, k), v in zip(columns, row, strict=True)},
        }
        for network, row in values.items()
    ]
    caption = f"{len(found)} networks on {len(first)} test sets"
    grid = Grid(header, texts, frozenset(best), caption, notes)
    return SetsTable(grid, csv_text(lines))


def by_epoch(
    stored: Mapping[str, Any], recipe: Recipe | None, measures: Sequence[str]
) -> PaperTable:
    """Returns the table of a run's checkpoints, one entry for each.

    Args:
        stored: Content of `checkpoints.json`.
        recipe: The recipe of the run, whose paper may report figures by epoch.
        measures: Keys of metrics.
    """
    check_metrics(measures)

    def values(row: Mapping[str, Any]) -> dict[str, float]:
        known = row.items()
        return {key: math.nan if v is None else v for key, v in known if key in METRICS}

    entries = [Entry("blurred", values(stored["baseline"]))]
    reported = {}
    if recipe and recipe.about["reported"]:  # not in a recipe that differs from its base
        reported = dict(recipe.about.get("reported_epochs") or {})
    for row in stored["checkpoints"]:
        seen, epochs = row["images_seen"], row["epochs"]
        if recipe and (images := recipe.about.get("epoch_images")):
            epochs = seen / images
        title = f"{seen:,} images" if epochs is None else f"{epochs:.4g} epochs"
        entries.append(Entry(title, values(row)))
        whole = round(epochs or -1)
        if whole in reported and abs(epochs - whole) < 0.01:
            entries.append(Entry(f"{title}, paper", reported.pop(whole), paper=True))
    entries += [
        Entry(f"{epochs} epochs, paper", own, paper=True) for epochs, own in reported.items()
    ]
    shown = [key for key in measures if any(not math.isnan(_value(e, key)) for e in entries)]
    first = Result("", {}, {**stored})
    notes = _notes(first, shown)
    if any(entry.paper for entry in entries) and recipe:
        notes.append(_cited("paper", recipe))
    return PaperTable(entries, shown, notes, _caption(first))


def _caption(result: Result) -> str:
    about = result.about
    name = str(about.get("data", "")).rstrip("/").rpartition("/")[2] or "data"
    text = f"{name}, {about.get('split')}: {about['images']:,} "
    if result.region == "whole":
        return text + about.get("whole_images", "images")
    return f"{text}images, {region_name(result.region, about)}"


def _notes(first: Result, shown: Sequence[str]) -> list[str]:
    about = first.about
    notes = [
        f"Means over {about['images']:,} images; PSNR over the {about['differing']:,} whose input "
        "differs from the target. Measured in float32 on images clipped to [0, 1].",
        *([CROPS] if first.region == "crops" else []),
        *(f"{METRICS[key].header}: {METRICS[key].protocol}" for key in shown),
    ]
    if not all(METRICS[key].comparable for key in shown):
        notes.append("No best loss is marked, as networks may minimize different ones.")
    return notes


def _origins(names: Sequence[str], results: Sequence[Result]) -> list[str]:
    return [
        f"{name}: {result.about.get('from')}"
        + (f", {seen:,} images seen" if (seen := result.about.get("images_seen")) else "")
        for name, result in zip(names, results, strict=True)
    ]


def _cited(name: str, recipe: Recipe) -> str:
    about = recipe.about
    return f"{name}: reported by {about['paper']}; {about['protocol']}."


def _not_comparable(recipe: Recipe, result: Result) -> str:
    """Returns why a paper's figures are not of the evaluated images, or nothing."""
    about, crops = result.about, recipe.about.get("crops")
    if recipe.source and about.get("source") not in (None, recipe.source):
        return f"they are of {recipe.source}, and this is {about.get('source')}"
    if "stitched" in str(about.get("whole_images", "")):
        return "they are of tiles, and this is of whole frames"
    if about.get("split") != "test":
        return f"they are of the test split, and this is {about.get('split')!r}"
    measured = region_name(result.region, about)
    of_crops = result.region == "crops" and about.get("crop") == crops
    if crops and not of_crops and measured != f"tiles of {crops}":
        return f"they are of crops of {crops}, see --region, and this is of {measured}"
    if not crops and result.region != "whole":
        return f"they are of whole images, and this is of {measured}"
    own, stated = result.config().get("model") or {}, recipe.config.get("model") or {}
    if other := [f"model.{key}" for key, value in stated.items() if own.get(key, value) != value]:
        return f"they are of another network; {', '.join(other)} differs from the recipe"
    return ""
