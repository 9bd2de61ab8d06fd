"""The choice of Keras's backend before Keras is imported."""

import importlib.util
import logging
import sys

import pytest

from tfdeblur.config import backend
from tfdeblur.errors import ConfigError, UserError

VARIABLE = "KERAS_BACKEND"


@pytest.fixture
def machine(monkeypatch):
    """Returns a function that fakes the installed packages, in a process without Keras."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv(VARIABLE, "")

    def install(*packages):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: name if name in packages else None
        )
        monkeypatch.setattr(backend, "is_installed", lambda name: name in packages)

    install("tensorflow", "jax", "libtpu")
    return install


def chosen(runtime, monkeypatch):
    backend.choose_backend(runtime)
    return backend.os.environ[VARIABLE]


@pytest.mark.parametrize(
    ("runtime", "variable", "expected"),
    [
        (None, "", "tensorflow"),
        ({}, "jax", "jax"),
        ({"engine": "jax"}, "", "jax"),
        ({"engine": "tensorflow"}, "jax", "tensorflow"),
        ({"engine": "auto", "tpu": "local"}, "", "jax"),
        ({"strategy": "tpu"}, "", "jax"),
        ({"tpu": "local"}, "tensorflow", "tensorflow"),
        ({"engine": "cuda"}, "", "tensorflow"),  # reported by the validation of the section
        ("damaged", "", "tensorflow"),
    ],
)
def test_backend_follows_engine_variable_and_tpu(machine, monkeypatch, runtime, variable, expected):
    monkeypatch.setenv(VARIABLE, variable)
    assert chosen(runtime, monkeypatch) == expected


@pytest.mark.parametrize(
    "packages", [("tensorflow", "tensorflow-tpu", "jax", "libtpu"), ("tensorflow", "jax")]
)
def test_tpu_uses_tensorflow_if_it_can_or_jax_cannot(machine, monkeypatch, packages):
    machine(*packages)
    assert chosen({"tpu": "local"}, monkeypatch) == "tensorflow"


def test_choice_of_jax_for_tpu_is_logged(machine, caplog):
    with caplog.at_level(logging.INFO):
        backend.choose_backend({"tpu": "local"})
    assert "runtime.engine: jax" in caplog.text


@pytest.mark.parametrize("engine", ["tensorflow", "jax"])
def test_missing_package_raises_user_error_with_extra(machine, engine):
    machine()
    with pytest.raises(UserError, match="pip install"):
        backend.choose_backend({"engine": engine})


def test_unknown_backend_in_variable_raises_user_error(machine, monkeypatch):
    monkeypatch.setenv(VARIABLE, "torch")
    with pytest.raises(UserError, match=VARIABLE):
        backend.choose_backend()


def test_other_engine_than_imported_backend_raises_config_error():
    import keras

    other = {"tensorflow": "jax", "jax": "tensorflow"}[keras.backend.backend()]
    with pytest.raises(ConfigError, match=r"runtime\.engine"):
        backend.choose_backend({"engine": other})
