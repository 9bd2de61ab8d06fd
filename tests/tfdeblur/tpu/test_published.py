"""The tables in README and docs/tpu.md match docs/preflight.json and the recipes."""

import dataclasses
import pathlib
from typing import Any

import pytest

from tests.helpers import published
from tests.tfdeblur.tpu.test_table import row
from tfdeblur.config import recipes
from tfdeblur.tpu.chips import CHIPS
from tfdeblur.tpu.table import VERSIONS, Row
from tfdeblur.tpu.targets import recipe_target


@pytest.fixture(scope="module")
def rows(repository: pathlib.Path) -> list[Row]:
    return published.load(repository / published.ROWS)


@pytest.mark.parametrize("name", published.PAGES)
def test_pages_contain_the_table_of_the_rows(
    repository: pathlib.Path, rows: list[Row], name: str
) -> None:
    page = (repository / name).read_text(encoding="utf-8")
    assert published.with_table(page, rows, published.PAGES[name]) == page
    assert page.count("\n| `rednet30wgan_cifar10` | 32") == 1
    for versions in {tuple(one.versions[name] for name in VERSIONS) for one in rows}:
        assert all(version in page for version in versions)


def test_rows_match_the_present_recipes(rows: list[Row]) -> None:
    expected = set()
    assert set(recipes.names()) >= published.PENDING
    for name in set(recipes.names()) - published.PENDING:
        target = recipe_target(name)
        for chip in ("v5e", "v6e"):
            expected.add((name, chip, f"{target.width}x{target.height}", target.batch))
    assert {row.key for row in rows} == expected
    assert len(rows) == len(expected)


def test_rows_are_complete_and_without_problems(rows: list[Row]) -> None:
    for found in rows:
        assert found.error == "" and found.problems == (), found.name
        assert found.usable == CHIPS[found.chip].usable
        assert found.largest is not None and found.found is not None
        assert found.found <= found.usable
        assert found.fits == (found.largest >= found.wanted)
        assert found.flops is not None and found.least_ms is not None and found.flops > 0


def test_pages_state_figures_of_the_rows(repository: pathlib.Path, rows: list[Row]) -> None:
    laid_out = {(found.name, found.chip) for found in rows if found.memory_only}
    assert laid_out == {("improved_deblurgan", "v6e")}
    assert sum(found.confirmed is True for found in rows) == 3
    filled = sorted(100 * (found.found or 0) / found.usable for found in rows)
    for name in published.PAGES:
        page = (repository / name).read_text(encoding="utf-8")
        assert f"fills {filled[0]:.0f} to {filled[-1]:.1f} % of what a chip has" in page
        assert "`improved_deblurgan` for v6e" in page


def test_merge_replaces_older_rows() -> None:
    older, other = row(), row("a")
    newer = dataclasses.replace(older, largest=9)
    assert published.merge([older, other], [newer]) == [other, newer]


@pytest.mark.parametrize("change", [{"memory_only": True}, {"error": "a limit of time"}])
def test_merge_keeps_a_row_that_was_compiled_completely(
    capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    older = row()
    newer = dataclasses.replace(older, largest=9, **change)
    assert published.merge([older], [newer]) == [older]
    assert older.name in capsys.readouterr().out
    laid_out = dataclasses.replace(older, memory_only=True)
    assert published.merge([laid_out], [newer]) == [newer]


def test_table_omits_columns() -> None:
    text = published.table([row()], ("samples", "v5e: ms"))
    assert text.splitlines() == [
        "| recipe | batch | GFLOP an image | v5e: GiB | v5e: largest batch |",
        "| --- | --- | --- | --- | --- |",
        "| `unet16_cifar10` | 32 | 2.5 | 0.50 | 1,234 |",
    ]
