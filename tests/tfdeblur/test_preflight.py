"""The preflight command: its flags, its exit codes, and once for real."""

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


def given(**values):
    return settings.validate(PreflightConfig, values)


@pytest.fixture
def compiler(monkeypatch):
    """Rows instead of a compiler; returns what was asked for."""
    asked, answers = [], {}

    class Surveyor:
        def __init__(self, cache, **options):
            asked.append(options)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def row(self, target, chip, *, confirm, memory_only):
            asked.append((target.name, chip.name, target.batch, confirm))
            return row(target.name, chip.name, **answers)

    monkeypatch.setattr(preflight, "require_compiler", lambda: None)
    monkeypatch.setattr(survey, "Surveyor", Surveyor)
    return asked, answers


def test_recipes_and_chips_are_rows_of_a_table(compiler, folder, capsys):
    asked, _ = compiler
    words = ["--recipe", "unet16_cifar10", "--tpu", "v5e", "v6e", "--replica-batch", "64"]
    assert preflight.main([*words, "--confirm", "--cache", folder, "--time-limit", "2"]) == 0
    assert asked[0]["seconds"] == 120
    assert asked[1:] == [("unet16_cifar10", name, 64, True) for name in ("v5e", "v6e")]
    printed = capsys.readouterr().out
    assert "without the all-reduce" in printed and files.join(folder, "table.md") in printed
    assert "| `unet16_cifar10` | 32x32 |" in files.read_text(files.join(folder, "table.md"))


def test_all_recipes(compiler, folder):
    rows = preflight.run(given(all=True, cache=folder))
    assert [row.name for row in rows] == recipes.names()
    assert len(files.read_json(files.join(folder, "table.json"))) == len(rows)


@pytest.mark.parametrize(
    "answers", [{"error": "crashed"}, {"batch": 16}, {"problems": ("summed in bfloat16",)}]
)
def test_the_exit_code_is_honest(compiler, folder, answers):
    compiler[1].update(answers)
    assert preflight.main(["--recipe", "unet16_cifar10", "--cache", folder]) == 1


def test_mistakes_are_one_clear_sentence(compiler, folder, capsys):
    assert preflight.main(["--cache", folder]) == 2
    assert "--recipe" in capsys.readouterr().err
    assert preflight.main(["--recipe", "unet16_cifar", "--cache", folder]) == 2
    assert "unet16_cifar10" in capsys.readouterr().err
    assert preflight.main(["--recipe", "unet16_cifar10", "--tpu", "v9"]) == 2
    assert "v5e" in capsys.readouterr().err
    words = ["--recipe", "unet16_cifar10", "--confirm", "--memory-only", "--cache", folder]
    assert preflight.main(words) == 2
    assert "--memory-only" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="one of"):
        preflight.run(given(all=True, recipe="unet16_cifar10", cache=folder))


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"jax and libtpu: pip install .*preflight"):
        preflight.require_compiler()
    # A wrong name is told first: it needs no compiler.
    with pytest.raises(ConfigError, match="unet16_cifar10"):
        preflight.run(given(recipe="unet16_cifar"))
    with pytest.raises(ConfigError, match=r"--run-config nope\.yaml: there is no such file"):
        preflight.run(given(run_config="nope.yaml"))
    for choice in ({}, {"recipe": "quickstart", "all": True}):
        with pytest.raises(ConfigError, match="Give one of"):
            preflight.run(given(**choice))


@pytest.mark.slow
@pytest.mark.timeout(3600)  # compilations of eight minutes on two cores
def test_a_small_critics_step_is_compiled_for_v5e(tmp_path):
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
    settings = given(
        run_config=str(path), image_size="16x16", confirm=True, cache=str(tmp_path / "cache")
    )
    (found,) = preflight.run(settings)
    assert found.error == "" and found.fits
    assert found.problems == ()
    # The penalty is in float32, and in so small a step it is much of the work.
    assert 0.6 < found.share < 0.9
    assert found.confirmed is True
    # The largest batch fills most of the chip.
    assert 0.7 * CHIPS["v5e"].usable < found.found <= CHIPS["v5e"].usable
    assert found.memory["aliased"] > 0
    # Its memory alone is laid out as that of the whole program is.
    alone = given(
        run_config=str(path), image_size="16x16", memory_only=True, cache=str(tmp_path / "other")
    )
    (laid_out,) = preflight.run(alone)
    assert laid_out.memory_only and laid_out.fits and laid_out.error == ""
    for kind in ("arguments", "outputs", "aliased"):
        assert laid_out.memory[kind] == found.memory[kind]
    assert laid_out.memory["temporaries"] == pytest.approx(found.memory["temporaries"], rel=0.01)
    # Counted before they are fused, which adds or takes some percent.
    assert laid_out.flops == pytest.approx(found.flops, rel=0.15)
    assert laid_out.compile_seconds < found.compile_seconds
    # Once more: everything is remembered.
    assert preflight.run(settings) == [found]
