"""Initialising from other weights: arrays that fit are copied, the others are reported."""

import zipfile

import h5py
import numpy as np
import pytest

from tests.helpers.toys import Content, toy_config, toy_state
from tfdeblur import models
from tfdeblur.checkpoints.manifest import WEIGHTS
from tfdeblur.checkpoints.store import CheckpointStore
from tfdeblur.checkpoints.warm_start import init_from
from tfdeblur.checkpoints.weights import write_weights
from tfdeblur.errors import DataError
from tfdeblur.io import array_files, files


def shifted(name="rednet30", **options):
    generator = models.create(name, {"depth": 10, "width": 4, **options})
    generator.network.set_weights([value + 1 for value in generator.network.get_weights()])
    return generator


@pytest.mark.parametrize("kind", ["weights", "keras", "run", "safetensors"])
def test_init_from_same_network_copies_all(tmp_path, kind):
    source = shifted()
    if kind == "weights":
        path = str(tmp_path / "a.weights.h5")
        source.network.save_weights(path)
    elif kind == "keras":
        path = str(tmp_path / "a.keras")
        source.network.save(path)
    elif kind == "safetensors":
        write_weights(str(tmp_path), source)
        path = str(tmp_path / WEIGHTS)
    else:
        path = f"ram://initial-{tmp_path.name}"
        CheckpointStore(path, keep=1).save(toy_state(toy_config(), source, Content()), {})
    target = models.create("rednet30", {"depth": 10, "width": 4})
    match = init_from(path, target)
    assert not (match.reshaped or match.missing or match.unused)
    for got, expected in zip(
        target.network.get_weights(), source.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", ["a.weights.h5", WEIGHTS])
def test_init_from_narrower_network_copies_equal_shapes(name, tmp_path):
    path = str(tmp_path / name)
    if name == WEIGHTS:
        write_weights(str(tmp_path), shifted())
    else:
        shifted().network.save_weights(path)
    target = models.create("rednet30", {"depth": 10, "width": 6})
    before = target.network.get_weights()
    with pytest.raises(DataError, match=r"fits only 1 of .*--training\.init-partial"):
        init_from(path, target)
    for one, other in zip(before, target.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    match = init_from(path, target, partial=True)
    assert match.reshaped and match.matched
    assert "of another shape" in str(match)
    # Only the last layer's bias has three channels in both networks.
    same = [np.array_equal(a, b) for a, b in zip(before, target.network.get_weights(), strict=True)]
    assert same.count(False) == len(match.matched)


def test_init_from_without_matches_raises_data_error(tmp_path):
    path = str(tmp_path / "a.weights.h5")
    models.create("unet16").network.save_weights(path)
    target = models.create("rednet30", {"depth": 10, "width": 5})
    with h5py.File(path, "r+") as file:
        del file["layers"]
    with pytest.raises(DataError, match=r"Nothing in .* fits a rednet30"):
        init_from(path, target)


@pytest.mark.parametrize("name", ["a.weights.h5", "a.keras", "a.safetensors"])
def test_init_from_damaged_file_names_it(tmp_path, name):
    path = str(tmp_path / name)
    files.write_bytes(path, b"not a weights file")
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        init_from(path, models.create("rednet30", {"depth": 10, "width": 4}))


def test_init_from_checkpoint_of_another_network_raises_data_error(tmp_path):
    path = str(tmp_path / "run")
    source = models.create("rednet30", {"depth": 10, "width": 4})
    CheckpointStore(path, keep=1).save(toy_state(toy_config(), source, Content()), {})
    target = models.create("unet16", {"width": 4})
    before = target.network.get_weights()
    with pytest.raises(DataError, match=r"run.*rednet30.*unet16"):
        init_from(path, target)
    for one, other in zip(before, target.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["net.pth", "net.PT", "net.npz"])
def test_init_from_file_of_pytorch_names_convert(tmp_path, name):
    files.write_bytes(str(tmp_path / name), b"anything")
    with pytest.raises(DataError, match=rf"{name} .*tfdeblur\.convert"):
        init_from(str(tmp_path / name), models.create("rednet30", {"depth": 10, "width": 4}))


def test_init_from_keras_archive_that_expands_raises_data_error(tmp_path, monkeypatch):
    path = str(tmp_path / "a.keras")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**6))
    monkeypatch.setattr(array_files, "largest_content", lambda size: 10**5)
    with pytest.raises(DataError, match=r"a\.keras.*claims"):
        init_from(path, models.create("rednet30", {"depth": 10, "width": 4}))
