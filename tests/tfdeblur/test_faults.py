"""Injected faults: finished work is kept, and one message names the problem."""

import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import numpy as np
import pytest

from tests.helpers import faults, planting
from tests.helpers.faults import FAULTS, Fault
from tests.helpers.runs import weights
from tfdeblur.checkpoints.manifest import verify_checkpoint
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.errors import UserError


@pytest.fixture(scope="module")
def template() -> Iterator[pathlib.Path]:
    # Not below pytest's own folder, which other users cannot enter.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="faults-"))
    folder.chmod(0o755)
    faults.build(folder)
    yield folder
    shutil.rmtree(folder)


def messages(output: str) -> list[str]:
    """Returns the messages of the command, without the progress line."""
    found: list[str] = []
    for line in (line for part in output.split("\n") for line in part.split("\r")):
        if line.startswith(("error: ", "warning: ", "Stopped; saved")):
            found.append(line)
        elif found and line.startswith("  "):
            # A list that belongs to the message.
            found[-1] += "\n" + line
    return found


def intact_checkpoints(run: pathlib.Path) -> set[int]:
    found: set[int] = set()
    if not (run / "checkpoints").exists():
        return found
    for images in list_checkpoints(str(run / "checkpoints")):
        try:
            verify_checkpoint(str(run / "checkpoints" / f"{images:012d}"))
        except UserError:
            continue
        found.add(images)
    return found


def assert_equal_weights(run: pathlib.Path, other: pathlib.Path) -> None:
    for got, expected in zip(weights(str(run)), weights(str(other)), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_run_after_fault_keeps_finished_work(fault: Fault, template: pathlib.Path) -> None:
    folder = template / f"site-{FAULTS.index(fault)}"
    with faults.site_of(template, folder) as site:
        fix = fault.plant(site)
        finished = intact_checkpoints(site.run)
        try:
            code, output = site.train(*fault.flags)
        finally:
            if fix is not None:
                fix()
        assert code == fault.code, output
        assert "Traceback" not in output
        found = messages(output)
        if fault.message:
            assert len(found) == fault.messages, found
            assert fault.message in found[-1]
        else:
            assert found == []
        assert finished <= intact_checkpoints(site.run)
        if fault.code:
            code, output = site.train()
            assert code == 0, output
        if not fault.changes_weights:
            assert_equal_weights(site.run, template / "whole")
    shutil.rmtree(folder)


@pytest.mark.slow
def test_run_with_damaged_newest_checkpoint_keeps_intact_ones(template: pathlib.Path) -> None:
    """The run resumes from the one before, ends before the damaged one, and resumes again."""
    with faults.site_of(template, template / "ahead") as site:
        planting.flip(site.newest("state.safetensors"))
        code, output = site.train("--keep", "1", "--save-every", "1 steps", steps=3)
        assert code == 0, output
        assert intact_checkpoints(site.run) == {24}
        names = sorted(path.name for path in (site.run / "checkpoints").iterdir())
        assert names == ["000000000024", "000000000032.damaged"]
        assert load_generator(str(site.run), "last")[1]["images"] == 24
        code, output = site.train()
        assert code == 0, output
        assert "warning: " not in output
        assert_equal_weights(site.run, template / "whole")


def test_faults_page_equals_table(repository: pathlib.Path) -> None:
    assert (repository / "docs" / "faults.md").read_text(encoding="utf-8") == faults.markdown()


def test_fault_table_has_distinct_names() -> None:
    assert len(FAULTS) >= 25
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
