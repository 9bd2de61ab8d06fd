import dataclasses
from types import SimpleNamespace

import pytest

from tests.helpers.tiny_data import training_data, write_data_set, write_mixed_set
from tfdeblur.config import OutputConfig
from tfdeblur.data import inputs
from tfdeblur.data.dataset import OpenSplit, open_split
from tfdeblur.data.schema import MANIFEST_NAME, Manifest
from tfdeblur.errors import DataError
from tfdeblur.io import files


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


def test_first_data_set_with_blurred_images_is_validated_on_and_named(tmp_path, capsys):
    names = ("train-only", "sharp", "first", "second")
    paths = [
        write_data_set(f"{tmp_path}/{name}", {"train": 4, "val": 2} if index else {"train": 4})
        for index, name in enumerate(names)
    ]
    manifest = f"{paths[1]}/{MANIFEST_NAME}"
    files.write_text(manifest, files.read_text(manifest).replace("contrast", "none"))
    data, config = training_data(paths), SimpleNamespace(output=OutputConfig())
    assert inputs.open_validation_data(config, data).path == paths[2]
    printed = capsys.readouterr().out
    assert paths[2] in printed and paths[3] not in printed
    identity = data.identity("val")
    assert identity["validated"] == identity["sets"][2]["validation shards"] is not None
    # One data set leaves no choice.
    assert inputs.open_validation_data(config, training_data(paths[3])).path == paths[3]
    assert not capsys.readouterr().out


def test_training_and_validation_require_one_size(tmp_path):
    path = write_data_set(str(tmp_path), {"train": 4})
    write_mixed_set(path, [(8, 6, [1]), (8, 10, [2])], "val")
    data = training_data(path)
    with pytest.raises(DataError, match=path):
        inputs.open_validation_data(SimpleNamespace(output=OutputConfig()), data)
    with pytest.raises(DataError, match=path):
        open_split(path, "val")


def built_from(source, folder):
    """Writes a data set whose manifest names a source."""
    path = write_data_set(f"{folder}/{source}", {"train": 4})
    dataclasses.replace(Manifest.load(path), source=source).save(path)
    return path


@pytest.mark.parametrize(
    ("recipe", "sources", "warns"),
    [
        ("unet16_reds", ["cifar10"], True),
        ("unet16_reds", ["cifar10", "hide"], True),
        ("unet16_reds", ["pairs"], False),  # a user's own
        ("unet16_reds", ["cifar10", "reds"], False),
        ("unet16_reds", ["reds"], False),
        ("nafnet16_photo", ["cifar10"], False),  # built from sharp photographs of any origin
        ("quickstart", ["cifar10"], False),  # built by a program
        (None, ["cifar10"], False),
    ],
)
def test_data_of_another_source_than_that_of_the_recipe_warn(
    recipe, sources, warns, tmp_path, capsys
):
    data = training_data([built_from(source, tmp_path) for source in sources])
    inputs.warn_of_other_source(SimpleNamespace(recipe=recipe), data)
    printed = capsys.readouterr().out
    assert printed.count("\n") == int(warns)
    if warns:
        named = " and ".join(sources)
        assert printed.startswith(f"warning: the recipe {recipe} is for data of reds, ")
        assert f" of {named}: " in printed
