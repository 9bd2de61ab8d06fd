"""Devices that share a global batch."""

import json

import pytest

from tfdeblur.errors import ConfigError
from tfdeblur.training.engines import cluster


@pytest.mark.parametrize(
    ("devices", "batch", "used"), [(8, 256, 8), (8, 4, 4), (8, 12, 6), (8, 1, 1), (3, 4, 2)]
)
def test_as_many_devices_as_can_share_the_batch_are_used(devices, batch, used, capsys):
    assert cluster.sharing(range(devices), batch) == list(range(used))
    printed = capsys.readouterr().out
    assert printed == "" if used == devices else f"{devices - used} of {devices}" in printed


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
