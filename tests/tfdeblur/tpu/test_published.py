"""The table in docs/preflight.md matches docs/preflight.json and the recipes."""

import dataclasses
import pathlib

import pytest

from tests.helpers import published
from tests.tfdeblur.tpu.test_table import row
from tfdeblur.tpu.chips import parse
from tfdeblur.tpu.table import Row
from tfdeblur.tpu.targets import recipe_target


@pytest.fixture(scope="module")
def rows(repository: pathlib.Path) -> list[Row]:
    return published.load(repository / published.ROWS)


def test_page_contains_the_table_of_the_rows(repository: pathlib.Path, rows: list[Row]) -> None:
    page = (repository / published.PAGE).read_text(encoding="utf-8")
    assert published.with_table(page, rows) == page
    assert rows


def test_rows_match_the_present_recipes(rows: list[Row]) -> None:
    for found in rows:
        stages, tpu = recipe_target(found.name).stages(), parse(found.slice)
        expected = [(target.size, target.batch) for target in stages]
        assert (found.size, found.batch) in expected
        assert (found.usable, found.attached) == (tpu.chip.usable, tpu.devices)
    assert len({found.key for found in rows}) == len(rows)


def test_rows_are_complete(rows: list[Row]) -> None:
    for found in rows:
        assert found.fits and found.flops and found.most_images, found.name
        assert found.versions


def test_merge_replaces_older_rows() -> None:
    older, other = row(), row("a")
    newer = dataclasses.replace(older, largest=9)
    assert published.merge([older, other], [newer]) == [other, newer]


def test_merge_keeps_a_row_if_the_newer_one_failed(capsys: pytest.CaptureFixture[str]) -> None:
    failed = dataclasses.replace(row(), error="timed out")
    assert published.merge([row()], [failed]) == [row()]
    assert row().name in capsys.readouterr().out
    assert published.merge([], [failed]) == [failed]
