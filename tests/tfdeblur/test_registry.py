"""Plug-ins are found by file name without being imported, and near names are suggested."""

import sys

import pytest

from tfdeblur.errors import ConfigError
from tfdeblur.registry import Registry, did_you_mean


@pytest.fixture
def animals(tmp_path, monkeypatch):
    package = tmp_path / "animals_for_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_hidden.py").write_text("raise RuntimeError('imported')")
    (package / "broken.py").write_text("raise RuntimeError('imported')")
    (package / "horse.py").write_text("class Options: pass\n")
    (package / "stable").mkdir()
    (package / "stable" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Registry("animals_for_test", "animal")
    for name in [name for name in sys.modules if name.startswith("animals_for_test")]:
        del sys.modules[name]


def test_names_are_modules_that_are_not_imported(animals):
    assert animals.names() == ["broken", "horse"]
    assert "animals_for_test.broken" not in sys.modules


def test_load_returns_module_with_options(animals):
    module = animals.load("horse")
    assert module.__name__ == "animals_for_test.horse"
    assert animals.options("horse") is module.Options


def test_load_of_unknown_name_raises_config_error_with_near_name(animals):
    with pytest.raises(ConfigError, match=r"'hrse'.*'horse'"):
        animals.load("hrse")


def test_load_of_hidden_module_raises_config_error(animals):
    with pytest.raises(ConfigError, match="animal"):
        animals.load("_hidden")


def test_did_you_mean_without_near_name_lists_all():
    assert did_you_mean("zzz", ["b", "a"]) == " Known: a, b."
