"""A work directory recognizes its run, also after this library has gained options."""

import pytest
import yaml

from tests.helpers.planting import deny
from tfdeblur import config
from tfdeblur.config import settings
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.io import files
from tfdeblur.training import workdir

RUN = {
    "model": {"name": "deblurgan", "width": 4},
    "objective": "wgan_gp",
    "data": {"paths": ["data"]},
}


def prepare(run_config):
    """Prepares the work directory of a run."""
    changes = workdir.check_workdir(run_config)
    workdir.write_config(run_config)
    return changes


def prepared(folder, **changes):
    run_config = config.resolve(RUN, {"workdir": str(folder)}, changes)
    prepare(run_config)
    return str(folder / config.CONFIG_FILE)


def without(path, section, *options):
    """Rewrites a configuration as a version without these options would."""
    tree = settings.parse_yaml(files.read_text(path), path)
    for option in options:
        del tree[section][option]
    files.write_text(path, yaml.safe_dump(tree))


def test_options_that_were_added_later_have_their_defaults(tmp_path):
    path = prepared(tmp_path)
    now = files.read_text(path)
    without(path, "model", "epsilon", "residual")
    prepared(tmp_path)
    assert files.read_text(path) == now
    without(path, "model", "epsilon", "residual")
    with pytest.raises(ConfigError, match=r"model: .* belongs to a run with model"):
        prepared(tmp_path, model={"residual": False})


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"width": 8}},
        {"model": {"name": "unet16"}},
        {"objective": {"name": "content"}},
        {"critic": {"norm": "batch"}},
    ],
)
def test_workdir_of_other_network_or_objective_raises_config_error(changes, tmp_path):
    path = prepared(tmp_path)
    before = files.read_text(path)
    with pytest.raises(ConfigError, match="belongs to a run with"):
        prepare(config.resolve(_merged(changes), {"workdir": str(tmp_path)}))
    assert files.read_text(path) == before


def _merged(changes):
    section, values = next(iter(changes.items()))
    if "name" in values:
        return {**RUN, section: values}
    given = RUN.get(section, {})
    return {**RUN, section: {**given, **values} if isinstance(given, dict) else values}


@pytest.mark.parametrize("section", [{"name": "gone"}, {"name": "deblurgan", "gone": 1}])
def test_workdir_of_unknown_model_or_option_raises_config_error(section, tmp_path):
    path = prepared(tmp_path)
    tree = settings.parse_yaml(files.read_text(path), path)
    files.write_text(path, yaml.safe_dump({**tree, "model": section}))
    with pytest.raises(ConfigError, match="belongs to a run with"):
        prepared(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it names no model"),
        (b"# nothing but a comment\n", "it names no model"),
        (b"model: {name: unet16}\n", "it names no objective"),
        (b"model: {name: unet16}\nobjective: 3\n", "it names no objective"),
        (b"model: unet16\nobjective: {name: content}\n", "it names no model"),
        (b"model: {name: [unet16]}\nobjective: {name: content}\n", "it names no model"),
        (b"- model\n", "it must contain keys and values"),
        (b"model: [", "it is not valid YAML"),
        (b"seed: 2020-99-99\n", "month must be in"),
        (bytes(40), "it is not valid YAML"),
        (b"\xff\xfe\xfa", "codec can't decode"),
    ],
)
def test_damaged_configuration_raises_config_error_and_is_unchanged(content, reason, tmp_path):
    path = prepared(tmp_path)
    files.write_bytes(path, content)
    with pytest.raises(ConfigError, match=r"config\.yaml is damaged \(.*\)\.") as raised:
        prepared(tmp_path)
    assert reason in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert files.read_bytes(path) == content
    files.remove(path)
    prepared(tmp_path)


def test_files_of_another_program_with_checkpoints_are_not_overwritten(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "model.pth").write_bytes(b"theirs")
    for name in workdir._RESERVED:
        (tmp_path / name).write_text("theirs")
        with pytest.raises(UserError, match=rf"{tmp_path}/{name} would"):
            prepared(tmp_path)
        (tmp_path / name).unlink()
    prepared(tmp_path)


def test_unreadable_configuration_is_not_reported_as_damaged(tmp_path, monkeypatch):
    path = prepared(tmp_path)
    deny(monkeypatch, path)
    with pytest.raises(UserError, match=r"Cannot read .*config\.yaml: permission denied"):
        prepared(tmp_path)


class TestChanges:
    """Changes since the last start: key, old value and new value."""

    def again(self, folder, **changes):
        return prepare(config.resolve(RUN, {"workdir": str(folder)}, changes))

    def test_changes_of_new_or_same_run_are_empty(self, tmp_path):
        assert self.again(tmp_path) == []
        assert self.again(tmp_path) == []
        assert self.again(f"{tmp_path}/.") == []  # the same folder

    def test_changes_have_both_values(self, tmp_path):
        self.again(tmp_path)
        changes = self.again(
            tmp_path,
            seed=5,
            data={"paths": ["one", "two"], "crop": "8x4"},
            training={"global_batch": 64},
        )
        assert changes == [
            "seed 0 -> 5",
            "data.paths data -> one, two",
            "data.crop none -> 8x4",
            "training.global_batch 32 -> 64",
        ]
        assert self.again(tmp_path)[0] == "seed 5 -> 0"

    def test_changes_have_settings_of_added_and_removed_networks(self, tmp_path):
        self.again(tmp_path)
        networks = {"critic": {"optimizer": {"clip_norm": 1.0}}}
        assert "networks.critic.optimizer.clip_norm none -> 1.0" in self.again(
            tmp_path, networks=networks
        )
        assert "networks.critic.optimizer.clip_norm 1.0 -> none" in self.again(tmp_path)

    def test_settings_that_were_added_later_had_their_defaults(self, tmp_path):
        path = prepared(tmp_path)
        without(path, "training", "ema_decay", "share_generator_pass")
        assert self.again(tmp_path) == []
        without(path, "training", "ema_decay", "share_generator_pass")
        assert self.again(tmp_path, training={"ema_decay": 0.9}) == [
            "training.ema_decay none -> 0.9"
        ]


def test_shared_settings_exclude_those_of_the_host():
    def shared(precision="float32", **changes):
        return workdir.shared_settings(config.resolve(RUN, {"workdir": "a"}, changes), precision)

    one = shared()
    assert one["optimizer.learning_rate"] == 1e-3
    assert one["model.width"] == 4
    assert shared(workdir="b", data={"paths": ["c"], "cache": "on"}) == one
    assert shared(runtime={"strategy": "multi_worker"}, training={"init_from": "x"}) == one
    assert shared(runtime={"steps_per_loop": 3}) != one
    # The resolved precision counts, not the setting.
    assert shared(runtime={"precision": "float32"}) == one
    assert shared("mixed_bfloat16") != one


@pytest.mark.parametrize("name", ["history.csv", "index.html", "pictures/cat.jpg", "config.yaml"])
def test_workdir_that_holds_other_files_is_refused_and_unchanged(tmp_path, name):
    theirs = tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("model: {name: unet16}\nobjective: {name: content}\n")
    before = theirs.read_text()
    with pytest.raises(UserError, match=str(tmp_path)):
        prepare(config.resolve(RUN, {"workdir": str(tmp_path)}))
    assert theirs.read_text() == before


def test_workdir_after_a_failed_check_is_free_for_another_model(tmp_path):
    workdir.check_workdir(config.resolve(RUN, {"workdir": str(tmp_path)}))
    prepare(config.resolve(_merged({"model": {"name": "unet16"}}), {"workdir": str(tmp_path)}))
