"""The preflight's flags and exit codes."""

import importlib.util

import pytest

from tests.tfdeblur.tpu.test_table import row
from tfdeblur import preflight
from tfdeblur.config import recipes, settings
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.io import files
from tfdeblur.preflight import PreflightConfig
from tfdeblur.tpu import survey


def configure(**values):
    return settings.validate(PreflightConfig, values)


@pytest.fixture
def compiler(monkeypatch):
    """Fakes the compiler; returns a list of the calls, and a dict of values for the rows."""
    calls, values = [], {}

    class Surveyor:
        def __init__(self, cache, **options):
            calls.append(options)

        def row(self, target, tpu, *, largest):
            calls.append((target.name, tpu.name, target.batch, largest))
            return row(target.name, tpu.name, **values)

    monkeypatch.setattr(preflight, "require_compiler", lambda: None)
    monkeypatch.setattr(survey, "Surveyor", Surveyor)
    return calls, values


def test_main_writes_a_table_of_recipes_and_slices(compiler, folder, capsys):
    calls, _ = compiler
    flags = ["--recipe", "unet16_cifar10", "--tpu", "v5e-8", "v5e:1x1", "--global-batch", "64"]
    assert preflight.main([*flags, "--largest", "--cache", folder, "--time-limit", "2"]) == 0
    assert (calls[0]["seconds"], calls[0]["engine"]) == (120, "jax")
    assert calls[1:] == [("unet16_cifar10", name, 64, True) for name in ("v5e-8", "v5e-1")]
    printed = capsys.readouterr().out
    assert "no TPU ran it" in printed and files.join(folder, "table.md") in printed
    assert "| `unet16_cifar10` | 32x32 |" in files.read_text(files.join(folder, "table.md"))


def test_run_with_all_compiles_every_recipe(compiler, folder):
    rows = preflight.run(configure(all=True, cache=folder))
    assert list(dict.fromkeys(row.name for row in rows)) == recipes.names()
    assert len(files.read_json(files.join(folder, "table.json"))) == len({row.key for row in rows})


def test_run_compiles_all_stages_unless_the_step_is_given(compiler, folder):
    calls, _ = compiler
    recipe = {"recipe": "restormer_gopro", "cache": folder}
    preflight.run(configure(**recipe))
    assert [batch for _, _, batch, _ in calls[1:]] == [64, 40, 32, 16, 8, 8]
    calls.clear()
    preflight.run(configure(**recipe, global_batch=16))
    assert [batch for _, _, batch, _ in calls[1:]] == [16]


@pytest.mark.parametrize(
    "values", [{"error": "crashed"}, {"memory": {}}, {"problems": ("summed in bfloat16",)}]
)
def test_main_with_a_failed_row_exits_with_1(compiler, folder, values):
    compiler[1].update(values)
    assert preflight.main(["--recipe", "unet16_cifar10", "--cache", folder]) == 1


def test_main_with_wrong_flags_exits_with_2_and_names_them(compiler, folder, capsys):
    assert preflight.main(["--cache", folder]) == 2
    assert "--recipe" in capsys.readouterr().err
    assert preflight.main(["--recipe", "unet16_cifar", "--cache", folder]) == 2
    assert "unet16_cifar10" in capsys.readouterr().err
    assert preflight.main(["--recipe", "unet16_cifar10", "--tpu", "v5e"]) == 2
    assert "v5e-8" in capsys.readouterr().err


def test_require_compiler_without_it_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"jax and libtpu.*preflight"):
        preflight.require_compiler()


def test_run_with_wrong_settings_raises_before_it_requires_the_compiler(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="unet16_cifar10"):
        preflight.run(configure(recipe="unet16_cifar"))
    with pytest.raises(ConfigError, match=r"--run-config nope\.yaml"):
        preflight.run(configure(run_config="nope.yaml"))
    for choice in ({}, {"recipe": "quickstart", "all": True}):
        with pytest.raises(ConfigError, match="--run-config FILE"):
            preflight.run(configure(**choice))
