"""Faults are planted; nothing that was finished is lost, and one message says what is wrong."""

import pathlib
import shutil
import tempfile

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
def template():
    # Not below pytest's own folder, which other users cannot enter.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="faults-"))
    folder.chmod(0o755)
    faults.build(folder)
    yield folder
    shutil.rmtree(folder)


def messages(said: str) -> list[str]:
    """What the command wants to be read, without the progress line."""
    found: list[str] = []
    for line in (line for part in said.split("\n") for line in part.split("\r")):
        if line.startswith(("error: ", "warning: ", "Stopped; saved")):
            found.append(line)
        elif found and line.startswith("  "):
            # A list that belongs to the message.
            found[-1] += "\n" + line
    return found


def whole_checkpoints(run: pathlib.Path) -> set[int]:
    found = set()
    if not (run / "checkpoints").exists():
        return found
    for images in list_checkpoints(str(run / "checkpoints")):
        try:
            verify_checkpoint(str(run / "checkpoints" / f"{images:012d}"))
        except UserError:
            continue
        found.add(images)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_costs_nothing_that_was_finished(fault: Fault, template: pathlib.Path) -> None:
    folder = template / f"site-{FAULTS.index(fault)}"
    with faults.site_of(template, folder) as site:
        mend = fault.plant(site)
        finished = whole_checkpoints(site.run)
        try:
            code, said = site.train(*fault.words)
        finally:
            if mend is not None:
                mend()
        assert code == fault.code, said
        assert "Traceback" not in said
        found = messages(said)
        if fault.says:
            assert len(found) == fault.messages, found
            assert fault.says in found[-1]
        else:
            assert found == []
        assert finished <= whole_checkpoints(site.run)
        if fault.code:
            code, said = site.train()
            assert code == 0, said
        if not fault.unlike:
            pairs = zip(weights(str(site.run)), weights(str(template / "whole")), strict=True)
            for got, expected in pairs:
                np.testing.assert_array_equal(got, expected)
    shutil.rmtree(folder)


@pytest.mark.slow
def test_a_damaged_checkpoint_ahead_does_not_cost_the_whole_ones(template: pathlib.Path) -> None:
    """The run that goes on from before it keeps one, ends before it, and goes on again."""
    with faults.site_of(template, template / "ahead") as site:
        planting.flip(site.newest("state.index"))
        code, said = site.train("--keep", "1", "--save-every", "1 steps", steps=3)
        assert code == 0, said
        assert whole_checkpoints(site.run) == {24}
        names = sorted(path.name for path in (site.run / "checkpoints").iterdir())
        assert names == ["000000000024", "000000000032.damaged"]
        assert load_generator(str(site.run), "last")[1]["images"] == 24
        code, said = site.train()
        assert code == 0, said
        assert "warning: " not in said
        pairs = zip(weights(str(site.run)), weights(str(template / "whole")), strict=True)
        for got, expected in pairs:
            np.testing.assert_array_equal(got, expected)


def test_the_page_shows_the_table(repository: pathlib.Path) -> None:
    assert (repository / "docs" / "faults.md").read_text(encoding="utf-8") == faults.markdown()


def test_there_are_many_and_each_says_something_of_its_own() -> None:
    assert len(FAULTS) >= 25
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
