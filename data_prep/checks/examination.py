"""What an examination has found: the same for raw and for built sets."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_prep.checks.findings import Finding
from data_prep.checks.pairs import Measure
from data_prep.checks.sets import Twin

Halves = tuple[np.ndarray | None, np.ndarray]


@dataclasses.dataclass
class Examination:
    """The findings and numbers of one data set.

    Attributes:
        kind: `raw` or `built`.
        source: Name of the source; empty where it is not known.
        layout: The layout in words.
        splits: Numbers of pairs by split and scene.
        files: Numbers of files by kind.
        pairs: How many pairs there are.
        examined: How many of them were decoded.
        findings: What was found.
        measures: What was measured of the pairs that were decoded.
        twins: Sharp pictures that are in two splits.
        notes: Sentences about the set and about what was not looked at.
        load: Returns both halves of a pair by its key, for the pictures of the page.
    """

    kind: str
    source: str = ""
    layout: str = ""
    splits: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    files: dict[str, int] = dataclasses.field(default_factory=dict)
    pairs: int = 0
    examined: int = 0
    findings: list[Finding] = dataclasses.field(default_factory=list)
    measures: list[Measure] = dataclasses.field(default_factory=list)
    twins: list[Twin] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    load: Callable[[str], Halves] | None = None


def chosen(total: int, sample: int | None) -> Callable[[int], bool]:
    """Returns a test that picks `sample` of `total` places, evenly spread; all where it is None."""
    if sample is None or sample >= total:
        return lambda place: True
    return lambda place: place * sample // total != (place + 1) * sample // total


def counts(splits: Mapping[str, list[str]]) -> dict[str, dict[str, int]]:
    """Returns how often each scene occurs in each split, scenes sorted."""
    found: dict[str, dict[str, int]] = {}
    for split, scenes in splits.items():
        here: dict[str, int] = {}
        for scene in sorted(scenes):
            here[scene] = here.get(scene, 0) + 1
        found[split] = here
    return found


def progress(iterable: Any, total: int, unit: str) -> Any:
    """Returns the iterable with a progress bar on the terminal."""
    from tqdm import tqdm

    return tqdm(iterable, total=total, unit=f" {unit}", desc="doctor")
