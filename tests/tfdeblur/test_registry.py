"""Plug-ins are found by file name, without importing them, and near names are suggested."""

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


def test_names_are_modules_and_not_packages_and_nothing_is_imported(animals):
    assert animals.names() == ["broken", "horse"]
    assert "animals_for_test.broken" not in sys.modules


def test_load_and_options(animals):
    module = animals.load("horse")
    assert module.__name__ == "animals_for_test.horse"
    assert animals.options("horse") is module.Options


def test_unknown_name_suggests_the_nearest(animals):
    with pytest.raises(ConfigError, match=r"Unknown animal 'hrse'. Did you mean 'horse'"):
        animals.load("hrse")


def test_hidden_modules_cannot_be_loaded(animals):
    with pytest.raises(ConfigError, match="Unknown animal"):
        animals.load("_hidden")


def test_did_you_mean_lists_all_where_nothing_is_near():
    assert did_you_mean("zzz", ["b", "a"]) == " Known: a, b."
