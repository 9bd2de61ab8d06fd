"""Devices that share a global batch."""

import json
import os

import pytest

from tfdeblur import config
from tfdeblur.config import recipes
from tfdeblur.config.stages import shared_batch, stage_configs
from tfdeblur.data.inputs import split_batch
from tfdeblur.errors import ConfigError, NotNeeded
from tfdeblur.training.engines import cluster


@pytest.mark.parametrize(
    ("devices", "batch", "used"), [(8, 256, 8), (8, 4, 4), (8, 12, 6), (8, 1, 1), (3, 4, 2)]
)
def test_as_many_devices_as_can_share_the_batch_are_used(devices, batch, used, capsys):
    assert cluster.sharing(range(devices), batch) == list(range(used))
    printed = capsys.readouterr().out
    assert printed == "" if used == devices else f"{devices - used} of {devices}" in printed


@pytest.mark.parametrize(
    ("batch", "used", "idle", "remedy"),
    [(4, 2, 12, 16), (20, 5, 6, 32), (24, 6, 4, 32), (16, 8, 0, None)],
)
def test_idle_devices_are_counted_over_all_processes(batch, used, idle, remedy, capsys):
    assert len(cluster.sharing(range(8), batch, processes=2)) == used
    printed = capsys.readouterr().out
    if idle:
        assert (
            printed.startswith(f"{idle} of 16 devices") and f"--global-batch {remedy}," in printed
        )
        assert len(cluster.sharing(range(8), remedy, processes=2)) == 8
    else:
        assert printed == ""


@pytest.mark.parametrize("total", [1, 2, 3, 8, 256])
@pytest.mark.parametrize("name", recipes.names())
def test_devices_share_the_batches_of_all_stages_of_a_recipe(name, total):
    run_config = config.resolve({"recipe": name, "workdir": "w"})
    used = len(cluster.sharing(range(total), shared_batch(run_config)))
    assert 1 <= used <= total
    for stage in stage_configs(run_config):
        batch, replica_batch = stage.training.global_batch, stage.training.replica_batch
        assert batch % used == 0
        assert batch // used % split_batch(batch, used, replica_batch) == 0


def test_without_a_batch_all_devices_are_used(capsys):
    assert cluster.sharing("abc", None) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60_000,
        json.dumps({"cluster": {"worker": ["a" * 60_000]}, "task": {"type": "worker", "index": 0}}),
    ],
)
def test_invalid_variable_is_shown_in_part(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match="TF_CONFIG") as caught:
        cluster.read()
    assert len(str(caught.value)) < 500


def place(monkeypatch, workers, kind="worker", index=0, chief=()):
    config = {"cluster": {"worker": workers}, "task": {"type": kind, "index": index}}
    if chief:
        config["cluster"]["chief"] = list(chief)
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))


HOSTS = ["a:1", "b:1", "c:1"]


@pytest.mark.parametrize(("batch", "kept"), [(12, 3), (4, 2), (1, 1)])
def test_workers_that_cannot_share_the_batch_are_left_out(monkeypatch, capsys, batch, kept):
    for index in range(3):
        place(monkeypatch, HOSTS, index=index)
        if index < kept:
            cluster.leave_out_surplus(batch)
            assert cluster.read() == (HOSTS[:kept], index)
        else:
            with pytest.raises(NotNeeded) as raised:
                cluster.leave_out_surplus(batch)
            assert raised.value.exit_code == 0 and len(str(raised.value).splitlines()) == 1
    assert ("not needed" in capsys.readouterr().out) == (kept < 3)


def test_chief_is_kept(monkeypatch):
    place(monkeypatch, ["b:1", "c:1"], kind="chief", chief=["a:1"])
    cluster.leave_out_surplus(4)
    assert cluster.read() == (["a:1", "b:1"], 0)
    assert json.loads(os.environ["TF_CONFIG"])["cluster"]["chief"] == ["a:1"]


def test_without_workers_nothing_changes(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    cluster.leave_out_surplus(4)
    assert "TF_CONFIG" not in os.environ
