"""Renamed keys: an error in new configurations, converted in those of existing runs."""

import dataclasses

import pytest
import yaml

from tfdeblur import config
from tfdeblur.config import renamed, settings
from tfdeblur.errors import ConfigError
from tfdeblur.training import workdir

BASE = {"workdir": "w", "model": "unet16", "objective": "content"}


def field_at(config_class, path):
    """Returns the field at a path of keys."""
    name, _, rest = path.partition(".")
    (field,) = [field for field in settings.fields_of(config_class) if field.name == name]
    return field_at(settings.section_class(field.annotation), rest) if rest else field


@pytest.mark.parametrize(("old", "new"), renamed.RENAMED.items())
def test_old_key_is_an_error_that_gives_the_new_key(old, new):
    tree = dict(BASE)
    settings.put(tree, old, {})
    with pytest.raises(ConfigError, match=rf"^{old}: .*{new}"):
        config.resolve(tree)


@pytest.mark.parametrize(("old", "new"), renamed.RENAMED.items())
def test_new_key_exists_and_old_key_does_not(old, new):
    assert field_at(config.TrainConfig, new)
    with pytest.raises(ValueError):
        field_at(config.TrainConfig, old)


def test_new_name_of_current_key_is_none():
    assert renamed.new_name("playersx") is None
    assert renamed.new_name("guards.rollback_factor") is None


def test_run_with_old_keys_in_its_config_resumes_without_changes(tmp_path):
    critic = {"optimizer": {"learning_rate": 0.01}}
    run_config = config.resolve(
        {
            **BASE,
            "workdir": str(tmp_path),
            "objective": "wgan",
            "guards": {"max_consecutive_skips": 7, "max_gradient": 5.0},
            "networks": {"critic": critic},
        }
    )
    workdir.write_config(run_config)
    path = tmp_path / config.CONFIG_FILE
    tree = yaml.safe_load(path.read_text())
    guards = tree["guards"]
    for old, new in renamed.RENAMED.items():
        if old.startswith("guards."):
            guards[old.removeprefix("guards.")] = guards.pop(new.removeprefix("guards."))
    tree["players"] = {"critic": tree.pop("networks")["critic"]}
    path.write_text(yaml.safe_dump(tree))

    assert workdir.check_workdir(run_config) == []
    other = dataclasses.replace(
        run_config, guards=dataclasses.replace(run_config.guards, max_consecutive_skips=8)
    )
    assert workdir.check_workdir(other) == ["guards.max_consecutive_skips 7 -> 8"]
