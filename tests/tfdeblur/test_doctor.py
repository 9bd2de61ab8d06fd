"""The doctor's checks, output and exit codes."""

import json
import os
import subprocess
import sys

import pytest

from tfdeblur import doctor
from tfdeblur.diagnostics import machine, measuring, places, versions, workers
from tfdeblur.diagnostics.finding import Finding


@pytest.fixture
def checked(monkeypatch):
    """Fake checks, all ok; returns a list of the calls, and a dict for other findings."""
    calls, instead = [], {}

    def fake(name, several):
        def check(*args):
            calls.append((name, *args))
            finding = instead.get(name, Finding(name, "ok", "fine"))
            return [finding] if several else finding

        return check

    for module, function, several in (
        (versions, "findings", True),
        (machine, "findings", True),
        (places, "folder", True),
        (places, "data", False),
        (workers, "findings", True),
        (measuring, "findings", True),
    ):
        name = f"{module.__name__.rpartition('.')[2]}.{function}"
        monkeypatch.setattr(module, function, fake(name, several))
    return calls, instead


def test_main_without_problems_exits_with_0(checked, capsys):
    assert doctor.main([]) == 0
    assert [name for name, *_ in checked[0]] == [
        "versions.findings",
        "workers.findings",
        "machine.findings",
        "measuring.findings",
    ]
    assert capsys.readouterr().out.endswith("No problems found.\n")


def test_main_with_all_flags_runs_the_optional_checks(checked):
    flags = ["--tpu", "--bucket", "gs://b", "--workdir", "runs", "--data", "d", "e"]
    assert doctor.main([*flags, "--recipe", "unet16_reds"]) == 0
    calls = checked[0]
    assert ("machine.findings", "local") in calls
    assert ("places.folder", "bucket", "gs://b") in calls
    assert ("places.folder", "work directory", "runs") in calls
    assert ("places.data", "e") in calls
    assert ("measuring.findings", "unet16_reds", ("d", "e"), "local") in calls


def test_main_with_problems_prints_advice_and_exits_with_1(checked, capsys):
    checked[1]["machine.findings"] = Finding("TPU", "wrong", "it is gone", "Look for it.")
    checked[1]["workers.findings"] = Finding("workers", "warning", "slow")
    assert doctor.main(["--no-measure"]) == 1
    printed = capsys.readouterr().out
    assert "WRONG    TPU: it is gone" in printed and "-> Look for it." in printed
    assert "--no-measure" in printed
    assert printed.endswith("1 wrong, 1 warnings.\n")


def test_main_without_the_requested_tpu_does_not_measure(checked):
    checked[1]["machine.findings"] = Finding("TPU", "wrong", "it is gone")
    doctor.main(["--tpu", "mine"])
    assert not [name for name, *_ in checked[0] if name == "measuring.findings"]


def test_main_with_an_engine_that_does_not_start_does_not_measure(checked):
    checked[1]["machine.findings"] = Finding("devices", "wrong", "killed by SIGABRT")
    assert doctor.main([]) == 1
    assert not [name for name, *_ in checked[0] if name == "measuring.findings"]


def test_main_with_wrong_data_does_not_measure(checked):
    checked[1]["places.data"] = Finding("data", "wrong", "there is none")
    assert doctor.main(["--data", "d"]) == 1
    assert not [name for name, *_ in checked[0] if name == "measuring.findings"]


def test_main_without_tensorflow_skips_checks_that_need_it(checked, capsys):
    checked[1]["versions.findings"] = Finding("TensorFlow", "wrong", "is not installed")
    assert doctor.main([]) == 1
    assert [name for name, *_ in checked[0]] == ["versions.findings"]
    assert "skipped" in capsys.readouterr().out


def test_main_with_json_prints_one_object(checked, capsys):
    checked[1]["machine.findings"] = Finding("TPU", "wrong", "it is gone", "Look for it.")
    assert doctor.main(["--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert values["healthy"] is False
    assert {"name": "TPU", "status": "wrong", "text": "it is gone", "advice": "Look for it."} in (
        values["findings"]
    )


def test_main_with_wrong_flags_exits_with_2(checked, capsys):
    assert doctor.main(["--recipe", "unet16_cifar"]) == 2
    assert "unet16_cifar10" in capsys.readouterr().err
    assert doctor.main(["--buckets", "gs://b"]) == 2


def test_main_without_tensorflow_does_not_import_it():
    program = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from tfdeblur.diagnostics import versions\n"
        "versions.installed = lambda: {}\n"
        "from tfdeblur import doctor\n"
        "sys.exit(doctor.main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "is not installed" in done.stdout


def test_doctor_survives_a_tensorflow_whose_import_ends_the_process(tmp_path):
    (tmp_path / "tensorflow.py").write_text("import os; os.abort()")
    program = (
        "import sys; from tfdeblur import doctor\n"
        "code = doctor.main(['--no-measure', '--json'])\n"
        "sys.exit(9 if 'tensorflow' in sys.modules or 'keras' in sys.modules else code)"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)["findings"]
    (devices,) = [finding for finding in found if finding["name"] == "devices"]
    assert devices["status"] == "wrong" and "SIGABRT" in devices["text"] and devices["advice"]


@pytest.mark.slow
def test_command_on_this_machine_prints_all_findings(tmp_path):
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
