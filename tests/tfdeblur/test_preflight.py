"""The preflight's flags and exit codes, and a real compilation."""

import importlib.util

import pytest

from tests.tfdeblur.tpu.test_table import row
from tfdeblur import config, preflight
from tfdeblur.config import recipes, settings
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.io import files
from tfdeblur.preflight import PreflightConfig
from tfdeblur.tpu import survey
from tfdeblur.tpu.chips import CHIPS


def configure(**values):
    return settings.validate(PreflightConfig, values)


@pytest.fixture
def compiler(monkeypatch):
    """Fakes the compiler; returns a list of the calls, and a dict of values for the rows."""
    calls, values = [], {}

    class Surveyor:
        def __init__(self, cache, **options):
            calls.append(options)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def row(self, target, chip, *, confirm, memory_only):
            calls.append((target.name, chip.name, target.batch, confirm))
            return row(target.name, chip.name, **values)

    monkeypatch.setattr(preflight, "require_compiler", lambda: None)
    monkeypatch.setattr(survey, "Surveyor", Surveyor)
    return calls, values


def test_main_writes_a_table_of_recipes_and_chips(compiler, folder, capsys):
    calls, _ = compiler
    flags = ["--recipe", "unet16_cifar10", "--tpu", "v5e", "v6e", "--replica-batch", "64"]
    assert preflight.main([*flags, "--confirm", "--cache", folder, "--time-limit", "2"]) == 0
    assert calls[0]["seconds"] == 120
    assert calls[1:] == [("unet16_cifar10", name, 64, True) for name in ("v5e", "v6e")]
    printed = capsys.readouterr().out
    assert "without the all-reduce" in printed and files.join(folder, "table.md") in printed
    assert "| `unet16_cifar10` | 32x32 |" in files.read_text(files.join(folder, "table.md"))


def test_run_with_all_compiles_every_recipe(compiler, folder):
    rows = preflight.run(configure(all=True, cache=folder))
    assert [row.name for row in rows] == recipes.names()
    assert len(files.read_json(files.join(folder, "table.json"))) == len(rows)


@pytest.mark.parametrize(
    "values", [{"error": "crashed"}, {"batch": 16}, {"problems": ("summed in bfloat16",)}]
)
def test_main_with_a_failed_row_exits_with_1(compiler, folder, values):
    compiler[1].update(values)
    assert preflight.main(["--recipe", "unet16_cifar10", "--cache", folder]) == 1


def test_main_with_wrong_flags_exits_with_2_and_names_them(compiler, folder, capsys):
    assert preflight.main(["--cache", folder]) == 2
    assert "--recipe" in capsys.readouterr().err
    assert preflight.main(["--recipe", "unet16_cifar", "--cache", folder]) == 2
    assert "unet16_cifar10" in capsys.readouterr().err
    assert preflight.main(["--recipe", "unet16_cifar10", "--tpu", "v9"]) == 2
    assert "v5e" in capsys.readouterr().err
    flags = ["--recipe", "unet16_cifar10", "--confirm", "--memory-only", "--cache", folder]
    assert preflight.main(flags) == 2
    assert "--memory-only" in capsys.readouterr().err


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


@pytest.mark.slow
@pytest.mark.timeout(3600)  # compilations of eight minutes on two cores
def test_run_of_a_small_gan_compiles_for_v5e(tmp_path):
    for name in ("jax", "libtpu"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f'{name} is not installed: pip install "tfdeblur[preflight]"')
    path = tmp_path / "tiny.yaml"
    tiny = config.resolve(
        {
            "workdir": "w",
            "model": {"name": "srresnet", "width": 4, "blocks": 1},
            "objective": {"name": "wgan_gp", "losses": {"mae": 1.0}, "critic_updates": 2},
            "critic": {"name": "patch_gan", "width": 4, "layers": 1},
            "training": {"global_batch": 16, "ema_decay": 0.9},
        }
    )
    path.write_text(config.to_yaml(tiny))
    options = configure(
        run_config=str(path), image_size="16x16", confirm=True, cache=str(tmp_path / "cache")
    )
    (found,) = preflight.run(options)
    assert found.error == "" and found.fits
    assert found.problems == ()
    # The penalty, in float32, is a large part of so small a step.
    assert 0.6 < found.share < 0.9
    assert found.confirmed is True
    # The largest batch fills most of the chip.
    assert 0.7 * CHIPS["v5e"].usable < found.found <= CHIPS["v5e"].usable
    assert found.memory["aliased"] > 0
    # Laying out only gives the same memory as compiling completely.
    memory_only = configure(
        run_config=str(path), image_size="16x16", memory_only=True, cache=str(tmp_path / "other")
    )
    (laid_out,) = preflight.run(memory_only)
    assert laid_out.memory_only and laid_out.fits and laid_out.error == ""
    for kind in ("arguments", "outputs", "aliased"):
        assert laid_out.memory[kind] == found.memory[kind]
    assert laid_out.memory["temporaries"] == pytest.approx(found.memory["temporaries"], rel=0.01)
    # Counted before fusion, which changes the count by some percent.
    assert laid_out.flops == pytest.approx(found.flops, rel=0.15)
    assert laid_out.compile_seconds < found.compile_seconds
    # Again, from the cache.
    assert preflight.run(options) == [found]
