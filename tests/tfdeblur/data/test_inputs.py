from types import SimpleNamespace

import pytest

from tests.helpers.tiny_data import training_data, write_data_set, write_mixed_set
from tfdeblur.config import OutputConfig
from tfdeblur.data import inputs
from tfdeblur.data.dataset import OpenSplit, open_split
from tfdeblur.errors import DataError


@pytest.mark.parametrize(
    ("parts", "host", "hosts", "remote", "advised"),
    [
        (1, 0, 2, True, True),
        (4, 0, 3, True, True),
        (1, 1, 2, True, False),
        (4, 0, 2, True, False),
        (1, 0, 1, True, False),
        (1, 0, 2, False, False),
    ],
)
def test_advise_on_reading_prints_if_hosts_read_all_remote_data(
    parts, host, hosts, remote, advised, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(OpenSplit, "remote", remote)
    write_data_set(str(tmp_path))
    inputs.advise_on_reading(training_data(str(tmp_path), parts=parts), host, hosts)
    output = capsys.readouterr().out
    assert bool(output) == advised
    if advised:
        assert str(tmp_path) in output
        assert f"--data.parts {hosts}" in output


def test_training_and_validation_require_one_size(tmp_path):
    path = write_data_set(str(tmp_path), {"train": 4})
    write_mixed_set(path, [(8, 6, [1]), (8, 10, [2])], "val")
    data = training_data(path)
    with pytest.raises(DataError, match=path):
        inputs.open_validation_data(SimpleNamespace(output=OutputConfig()), data)
    with pytest.raises(DataError, match=path):
        open_split(path, "val")
