"""Sessions of notebooks: folders, staged data, earlier runs, commands in another process."""

import json
import os
import pathlib
import subprocess
import sys
import types

import keras
import pytest

from tfdeblur import notebook
from tfdeblur.diagnostics import platforms
from tfdeblur.errors import UserError
from tfdeblur.io import files


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder on a machine that is neither Colab nor Kaggle."""
    monkeypatch.chdir(tmp_path)
    plain = platforms.Platform("a machine", (), "pip install")
    monkeypatch.setattr(platforms, "find", lambda: plain)
    monkeypatch.setattr(platforms, "signs_of_tpu", list)
    return tmp_path


def test_start_without_home_uses_the_current_folder(here):
    session = notebook.start()
    assert (session.runs, session.data, session.tpu) == ("./runs", "data", None)
    assert f"Keras {keras.__version__}" in str(session)


@pytest.mark.parametrize(
    ("name", "runs"), [("Colab", "/content/runs"), ("Kaggle", "/kaggle/working/runs")]
)
def test_start_on_a_platform_uses_its_folders(here, monkeypatch, name, runs):
    monkeypatch.setattr(platforms, "find", lambda: platforms.Platform(f"{name} with a TPU", (), ""))
    session = notebook.start()
    assert session.runs == runs and os.path.isabs(session.data)
    assert notebook.start(str(here)).runs == files.join(str(here), "runs")


@pytest.fixture
def logins(monkeypatch):
    """Replaces the modules of Colab and Kaggle; returns the list of the logins that they did."""
    done = []
    colab, kaggle = types.ModuleType("google.colab"), types.ModuleType("kaggle_secrets")
    colab.auth = types.SimpleNamespace(authenticate_user=lambda: done.append("the user of Colab"))

    class Secrets:
        def get_gcloud_credential(self):
            return "the secret of Kaggle"

        def set_tensorflow_credential(self, credential):
            done.append(credential)

    kaggle.UserSecretsClient = Secrets
    for module in (colab, kaggle):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return done


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Colab with a TPU", ["the user of Colab"]),
        ("Kaggle with CPUs only", ["the secret of Kaggle"]),
        ("a TPU VM", []),
    ],
)
def test_start_logs_in_if_runs_are_kept_in_a_bucket(here, monkeypatch, logins, name, expected):
    monkeypatch.setattr(platforms, "find", lambda: platforms.Platform(name, (), ""))
    notebook.start(str(here))
    assert logins == []
    assert notebook.start("gs://bucket/mine").runs == "gs://bucket/mine/runs"
    assert logins == expected


def test_start_with_a_bucket_elsewhere_imports_no_module_of_a_platform(here, monkeypatch):
    for module in ("google.colab", "kaggle_secrets"):
        monkeypatch.setitem(sys.modules, module, None)  # its import fails
    assert notebook.start("gs://bucket/mine").runs == "gs://bucket/mine/runs"


def test_start_copies_runs_of_an_earlier_session_unless_there_are_some(here):
    files.make_dirs("old/runs/a")
    files.write_text("old/runs/a/config.yaml", "old")
    notebook.start(previous="old")
    assert files.read_text("runs/a/config.yaml") == "old"
    files.write_text("runs/a/config.yaml", "new")
    notebook.start(previous="old")
    assert files.read_text("runs/a/config.yaml") == "new"
    with pytest.raises(UserError, match="nothing"):
        notebook.start("elsewhere", previous="nothing")


def test_stage_copies_from_slow_places_only(here, monkeypatch):
    bucket = f"ram://stage-{here.name}/"
    monkeypatch.setattr(notebook, "_SLOW", ("ram://",))
    files.make_dirs(f"{bucket}set")
    files.write_text(f"{bucket}set/manifest.json", "{}")
    session = notebook.start()
    staged = session.stage(f"{bucket}set")
    assert files.base_name(staged) == "set" and session.stage(f"{bucket}set/") == staged
    assert files.read_text(f"{staged}/manifest.json") == "{}"
    files.make_dirs(f"{bucket}other/set")
    assert session.stage(f"{bucket}other/set") != staged
    assert session.stage("data/set") == "data/set"


def test_command_runs_on_tensorflow_and_fails_with_its_output(here, capsys):
    program = "import os; print(os.environ['KERAS_BACKEND'])"
    (here / "one_command.py").write_text(program)
    (here / "bad_command.py").write_text("raise SystemExit('no luck')")
    session = notebook.start()
    session.command("one_command")
    assert capsys.readouterr().out == "tensorflow\n"
    with pytest.raises(UserError, match="bad_command"):
        session.command("bad_command")
    assert "no luck" in capsys.readouterr().out


def test_start_under_jax_caches_programs_beside_the_runs(tmp_path):
    pytest.importorskip("jax")
    program = (
        "import jax, json; from tfdeblur import notebook; session = notebook.start()\n"
        "print(json.dumps([jax.config.jax_compilation_cache_dir, str(session)]))"
    )
    root = str(pathlib.Path(notebook.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    cache, about = json.loads(done.stdout.splitlines()[-1])
    assert cache == str(tmp_path / "jax_cache") and "JAX" in about
