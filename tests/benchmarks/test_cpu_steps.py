"""The benchmark of steps on a CPU: a file that is completed, and a step that runs."""

import json

import pytest

from benchmarks import cpu_steps
from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Reply

ROW = {"size": "32x32", "images": 8, "seconds": 0.5}


@pytest.fixture
def asked(monkeypatch):
    """The recipes that are measured; `resnet16_cifar10` fails."""
    found = []

    def call(module, request, **options):
        found.append(request["recipe"])
        return Reply({}, "killed") if found[-1] == "resnet16_cifar10" else Reply(ROW)

    monkeypatch.setattr(subprocesses, "call", call)
    return found


def test_recipe_that_fails_leaves_the_others_and_is_measured_again(asked, tmp_path, capsys):
    out = tmp_path / "steps.json"
    names = ["unet16_cifar10", "resnet16_cifar10", "quickstart"]
    words = ["--out", str(out), "--recipes", *names]
    assert cpu_steps.main(words) == 1
    assert asked == names and "resnet16_cifar10: killed" in capsys.readouterr().out
    rows = json.loads(out.read_text())
    assert rows == [{"name": name, **ROW} for name in ("quickstart", "unet16_cifar10")]
    assert cpu_steps.main(words) == 1
    assert asked == [*names, "resnet16_cifar10"]


def test_complete_file_is_left_as_it_is(asked, tmp_path):
    out = tmp_path / "steps.json"
    out.write_text('[{"name": "quickstart"}]')
    assert cpu_steps.main(["--out", str(out), "--recipes", "quickstart"]) == 0
    assert not asked and out.read_text() == '[{"name": "quickstart"}]'


@pytest.mark.slow
def test_step_of_the_quickstart_is_timed(tmp_path):
    out = tmp_path / "steps.json"
    assert cpu_steps.main(["--out", str(out), "--recipes", "quickstart"]) == 0
    (row,) = json.loads(out.read_text())
    assert (row["name"], row["size"], row["images"]) == ("quickstart", "48x48", 16)
    assert row["seconds"] > 0 and row["steps"] > 0
