"""Commands without a package that they need, or with another backend, print one line of error."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import keras
import pytest

from tfdeblur import convert, deblur, detect, evaluate, export, train
from tfdeblur.cli import environment
from tfdeblur.errors import UserError
from tfdeblur.training.engines.tensorflow import runtime

COMMANDS = {
    "train": (train.main, "--recipe unet16_cifar10 --data data --workdir run"),
    "train, help": (train.main, "--help-model unet16"),
    "evaluate": (evaluate.main, "--workdir run --data data"),
    "evaluate, full": (evaluate.main, "--workdir run --data data --full"),
    "evaluate, checkpoints": (evaluate.main, "--workdir run --data data --all-checkpoints"),
    "evaluate, compare": (evaluate.main, "--compare a b"),
    "export": (export.main, "--workdir run --out exported"),
    "deblur": (deblur.main, "photos --model run -o restored"),
    "convert": (convert.main, "--weights a.pth --out b"),
    "detect": (detect.main, "--workdir run --data data --detector yolox.onnx"),
}


@pytest.fixture
def without(monkeypatch):
    """Returns a function that hides packages from `importlib.util.find_spec`."""

    def remove(*packages):
        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name in packages else real(name)
        )

    return remove


def test_require_tensorflow_with_both_packages_passes():
    environment.require_tensorflow()


@pytest.mark.parametrize(("package", "name"), [("tensorflow", "TensorFlow"), ("keras", "Keras")])
def test_strategy_without_package_raises_user_error(without, package, name):
    without(package)
    with pytest.raises(UserError, match=rf'^{name} .*pip install "tfdeblur\[cpu\]"'):
        runtime.make_strategy("one")


def test_missing_opencv_is_an_error_that_names_what_needs_it_and_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"^register .*tfdeblur\[detection\]"):
        environment.require_opencv("register", "detection")


@pytest.mark.parametrize("name", ["export", "convert"])
def test_command_without_tensorflow_prints_one_line(without, name, capsys):
    without("tensorflow")
    main, words = COMMANDS[name]
    assert main(words.split()) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: TensorFlow") and len(printed.splitlines()) == 1


@pytest.mark.parametrize("name", [name for name in COMMANDS if "help" not in name])
def test_command_without_keras_prints_one_line(without, name, capsys):
    without("keras")
    main, words = COMMANDS[name]
    assert main(words.split()) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: Keras") and len(printed.splitlines()) == 1


@pytest.mark.parametrize("name", [name for name in COMMANDS if "help" not in name])
def test_command_on_another_backend_prints_error(monkeypatch, name, capsys):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    main, words = COMMANDS[name]
    assert main(words.split()) == 2
    assert "'torch'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backend", "config", "shown"),
    [("nonsense", "{}", "nonsense"), ("tensorflow", "[]", "keras.json")],
)
def test_require_tensorflow_with_settings_that_keras_rejects_raises_one_line(
    tmp_path, backend, config, shown
):
    (tmp_path / "keras.json").write_text(config)
    code = """
        from tfdeblur import errors
        from tfdeblur.cli import environment
        try:
            environment.require_tensorflow()
        except errors.UserError as error:
            print(error)
    """
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "KERAS_BACKEND": backend, "KERAS_HOME": str(tmp_path), **path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert shown in result.stdout
    assert "KERAS_BACKEND=tensorflow" in result.stdout
    assert len(result.stdout.splitlines()) == 1
