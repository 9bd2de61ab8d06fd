"""The restoring benchmark in docs/benchmarks.md is that of docs/restoring.json."""

import json
import pathlib
import re

import pytest

from benchmarks import restore

DOCS = pathlib.Path(__file__).parents[2] / "docs"
ROWS = json.loads((DOCS / "restoring.json").read_text(encoding="utf-8"))
PAGE = (DOCS / "benchmarks.md").read_text(encoding="utf-8")


def line(row):
    """A row of the table, with the decimals of the file."""
    tiles = "none" if row["tiles"] == 1 else row["tiles"]
    figures = (*row["seconds"].values(), *row["gib"].values())
    cells = (f"`{row['network']}`", row["size"], tiles, *figures)
    return f"| {' | '.join(map(str, cells))} |"


def test_table_is_that_of_the_rows():
    (table,) = re.findall(r"\| network \| size \| tiles \|.*\n\| --- .*\n((?:\|.*\n)+)", PAGE)
    assert table.splitlines() == [line(row) for row in ROWS]


def test_networks_and_contestants_are_those_of_the_benchmark():
    contestants = ["tfdeblur", "torch", "torch, keeping memory"]
    for row in ROWS:
        assert row["network"] in restore.NETWORKS
        assert list(row["seconds"]) == list(row["gib"]) == contestants


def behind(row):
    """How many times as long as the faster PyTorch it takes, and whether it needs more memory."""
    seconds, *others = row["seconds"].values()
    gib, *others_gib = row["gib"].values()
    return seconds / min(others), gib > max(others_gib)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['network']}-{row['size']}")
def test_missed_targets_are_stated(row):
    words = " ".join(PAGE.split())
    (stated,) = re.findall(r"The benchmark's targets, .*? several passes", words)
    at_3840, at_1280 = re.search(r"at 3840x2160 (.*?) At 1280x720 (.*)", stated).groups()
    part = at_1280 if row["size"] == "1280x720" else at_3840
    times, more_memory = behind(row)
    if times > 1:
        assert re.search(rf"\b{times:.2f}\b.* times", part)
    if more_memory:
        ours, *theirs = row["gib"].values()
        assert re.search(rf"\b{ours}\b.* against .*\b{max(theirs)}\b.* GiB", part)
