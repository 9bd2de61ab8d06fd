import pytest

from tests.helpers.tiny_data import training_data, write_data_set
from tfdeblur.data import inputs
from tfdeblur.data.dataset import OpenSplit


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
