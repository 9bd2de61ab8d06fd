"""The doctor: what it looks at, what it prints, and how it leaves."""

import json
import subprocess
import sys

import pytest

from tfdeblur import doctor
from tfdeblur.diagnostics import machine, measuring, places, versions, workers
from tfdeblur.diagnostics.finding import Finding


@pytest.fixture
def looked_at(monkeypatch):
    """Every check is well; returns what was asked, and findings to be given instead."""
    asked, instead = [], {}

    def stand_in(name, several):
        def check(*args):
            asked.append((name, *args))
            finding = instead.get(name, Finding(name, "ok", "well"))
            return [finding] if several else finding

        return check

    for module, function, several in (
        (versions, "findings", True),
        (machine, "devices", False),
        (machine, "precision", False),
        (machine, "tpu", False),
        (places, "folder", True),
        (places, "data", False),
        (workers, "findings", True),
        (measuring, "findings", True),
    ):
        name = f"{module.__name__.rpartition('.')[2]}.{function}"
        monkeypatch.setattr(module, function, stand_in(name, several))
    return asked, instead


def test_a_healthy_machine(looked_at, capsys):
    assert doctor.main([]) == 0
    assert [name for name, *_ in looked_at[0]] == [
        "versions.findings",
        "workers.findings",
        "machine.tpu",
        "machine.devices",
        "machine.precision",
        "measuring.findings",
    ]
    assert capsys.readouterr().out.endswith("All is well.\n")


def test_everything_that_can_be_asked_for(looked_at):
    words = ["--tpu", "--bucket", "gs://b", "--workdir", "runs", "--data", "d", "e"]
    assert doctor.main([*words, "--recipe", "unet16_reds"]) == 0
    asked = looked_at[0]
    assert ("machine.tpu", "local") in asked
    assert ("places.folder", "bucket", "gs://b") in asked
    assert ("places.folder", "work directory", "runs") in asked
    assert ("places.data", "e") in asked
    assert ("measuring.findings", "unet16_reds", ("d", "e"), "local") in asked


def test_what_is_wrong_comes_with_advice_and_an_exit_code(looked_at, capsys):
    looked_at[1]["machine.tpu"] = Finding("TPU", "wrong", "it is gone", "Look for it.")
    looked_at[1]["machine.devices"] = Finding("devices", "warning", "slow")
    assert doctor.main(["--no-measure"]) == 1
    printed = capsys.readouterr().out
    assert "WRONG    TPU: it is gone" in printed and "-> Look for it." in printed
    assert "--no-measure was given" in printed
    assert printed.endswith("1 wrong, 1 to look at.\n")


def test_nothing_is_measured_on_a_tpu_that_is_not_there(looked_at):
    looked_at[1]["machine.tpu"] = Finding("TPU", "wrong", "it is gone")
    doctor.main(["--tpu", "mine"])
    assert not [name for name, *_ in looked_at[0] if name == "measuring.findings"]


def test_nothing_is_measured_with_data_that_are_wrong(looked_at):
    looked_at[1]["places.data"] = Finding("data", "wrong", "there is none")
    assert doctor.main(["--data", "d"]) == 1
    assert not [name for name, *_ in looked_at[0] if name == "measuring.findings"]


def test_without_tensorflow_only_that_is_said(looked_at, capsys):
    looked_at[1]["versions.findings"] = Finding("TensorFlow", "wrong", "is not installed")
    assert doctor.main([]) == 1
    assert [name for name, *_ in looked_at[0]] == ["versions.findings"]
    assert "skipped" in capsys.readouterr().out


def test_json_is_one_object(looked_at, capsys):
    looked_at[1]["machine.tpu"] = Finding("TPU", "wrong", "it is gone", "Look for it.")
    assert doctor.main(["--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert values["healthy"] is False
    assert {"name": "TPU", "status": "wrong", "text": "it is gone", "advice": "Look for it."} in (
        values["findings"]
    )


def test_mistakes_in_the_flags(looked_at, capsys):
    assert doctor.main(["--recipe", "unet16_cifar"]) == 2
    assert "unet16_cifar10" in capsys.readouterr().err
    assert doctor.main(["--buckets", "gs://b"]) == 2


def test_tensorflow_is_not_imported_to_say_that_it_is_missing():
    words = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from tfdeblur.diagnostics import versions\n"
        "versions.installed = lambda: {}\n"
        "from tfdeblur import doctor\n"
        "sys.exit(doctor.main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "is not installed" in done.stdout


@pytest.mark.slow
def test_the_whole_command_on_this_machine(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tfdeblur.doctor", "--json", "--workdir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    values = json.loads(done.stdout)
    names = {finding["name"] for finding in values["findings"]}
    assert {"Python", "packages", "devices", "precision", "work directory"} <= names
    assert {"measured step", "measured input", "bfloat16"} <= names
    assert done.returncode == (0 if values["healthy"] else 1)
