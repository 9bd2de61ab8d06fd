"""The preflight command: its flags, its exit codes, and once for real."""

import importlib.util

import pytest

from tests.tfdeblur.preflighting.test_table import row
from tfdeblur import config, files, preflight, recipes, settings
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.preflight import PreflightConfig
from tfdeblur.preflighting import survey
from tfdeblur.preflighting.chips import CHIPS


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

        def row(self, target, chip, *, confirm):
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
    with pytest.raises(ConfigError, match="one of"):
        preflight.run(given(all=True, recipe="unet16_cifar10", cache=folder))


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"jax and libtpu: pip install .*preflight"):
        preflight.require_compiler()


@pytest.mark.slow
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
    assert 0.9 < found.share <= 1
    assert found.confirmed is True
    # A line through a small batch and a large one foretells the largest.
    assert found.found == pytest.approx(found.predicted, rel=0.1)
    assert found.found <= CHIPS["v5e"].usable
    assert found.memory["aliased"] > 0
    # Once more: everything is remembered.
    assert preflight.run(settings) == [found]
