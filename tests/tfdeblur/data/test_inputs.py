import pytest

from tests.helpers.tiny_data import write_data_set
from tfdeblur.data import inputs
from tfdeblur.data.dataset import OpenSplit
from tfdeblur.data.pipeline import TrainingData


@pytest.mark.parametrize(
    ("parts", "hosts", "remote", "told"),
    [
        (1, 2, True, True),
        (4, 3, True, True),
        (4, 2, True, False),
        (1, 1, True, False),
        (1, 2, False, False),
    ],
)
def test_hosts_that_each_fetch_everything_are_told(
    parts, hosts, remote, told, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(OpenSplit, "remote", remote)
    write_data_set(str(tmp_path))
    inputs.advise_on_reading(TrainingData(str(tmp_path), parts=parts), hosts)
    said = capsys.readouterr().out
    assert bool(said) == told
    if told:
        assert f"Each of {hosts} hosts reads all of {tmp_path}" in said
        assert f"--data.parts {hosts}" in said
