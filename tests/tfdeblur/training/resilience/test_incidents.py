"""Incidents are counted and stored; a resumed run drops those that will happen again."""

import pytest

from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.training.resilience.incidents import Incidents


def test_resumed_run_reads_incidents_up_to_its_image_count(folder, capsys):
    files.make_dirs(folder)
    incidents = Incidents(folder, folder, 0)
    assert incidents.counts() == {}
    incidents.add_skip(40, 2, "generator/loss")
    incidents.add_skip(80, 1, "critic/loss")
    assert "skipped 2 steps before image 40: generator/loss" in capsys.readouterr().out
    assert incidents.counts() == {"guards/skipped_steps": 3.0}
    assert Incidents(folder, folder, 80).skipped == 3
    assert Incidents(folder, folder, 79).skipped == 2
    assert Incidents(folder, folder, 0).counts() == {}


def test_rollback_drops_later_skips_and_keeps_rollbacks(folder):
    files.make_dirs(folder)
    incidents = Incidents(folder, folder, 0)
    incidents.add_skip(16, 1, "loss")
    incidents.add_skip(64, 1, "loss")
    incidents.add_rollback(32, 70, 0.5, "diverged")
    incidents.add_rollback(32, 60, 0.25, "diverged again")
    for known in (incidents, Incidents(folder, folder, 32)):
        assert (known.skipped, known.rollbacks, known.rate_scale) == (1, 2, 0.125)
    # Before that checkpoint, the run has had no rollback.
    assert Incidents(folder, folder, 31).rate_scale == 1.0


def test_only_the_first_skips_are_printed(folder, capsys):
    files.make_dirs(folder)
    incidents = Incidents(folder, folder, 0)
    for images in range(30):
        incidents.add_skip(images, 1, "loss")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[-1].endswith("10 skipped so far. Further ones are only counted.")
    assert incidents.skipped == 30


def test_resumed_run_prints_its_rate_factor(folder, capsys):
    files.make_dirs(folder)
    incidents = Incidents(folder, folder, 0)
    incidents.add_rollback(32, 70, 0.5, "diverged")
    incidents.add_rollback(32, 60, 0.25, "diverged again")
    assert capsys.readouterr().out == ""
    Incidents(folder, folder, 32)
    output = capsys.readouterr().out
    assert "rolled back 2 times" in output and "multiplied by 0.125" in output
    assert f"remove {files.join(folder, 'incidents.json')}" in output
    Incidents(folder, folder, 31)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "text",
    [
        "[{",
        '{"a": 1}',
        '[{"kind": "skip"}]',
        "[1]",
        '["ab"]',
        '[{"images": 8}]',
        '[{"kind": "skip", "images": 8, "steps": "2"}]',
        '[{"kind": "other", "images": 8}]',
        '[{"kind": ["skip"], "images": 8}]',
        '[{"kind": "rollback", "images": 8, "left": 16}]',
        '[{"kind": "rollback", "images": 8, "left": 16, "rate_factor": "half"}]',
        '[{"kind": "rollback", "images": true, "left": 16, "rate_factor": 0.5}]',
    ],
)
def test_damaged_file_raises_user_error(folder, text):
    files.make_dirs(folder)
    files.write_text(files.join(folder, "incidents.json"), text)
    with pytest.raises(UserError, match=r"incidents\.json is damaged"):
        Incidents(folder, folder, 10)
