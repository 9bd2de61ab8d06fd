"""VGG19 weights from every file format and from Keras's download."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.small_vgg import LAYER, SHAPES, WEIGHTS
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.losses.perceptual import PerceptualLoss


def save_npz(path, arrays):
    np.savez(path, **arrays)


def save_published(path, arrays):
    """Writes the layout of Keras's published file."""
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            layer, part = key.split("/")
            file[f"{layer}/{layer}_{'W' if part == 'kernel' else 'b'}_1:0"] = array


def small_model(arrays):
    """Returns VGG19 up to block2_conv1 inside another Keras model with an optimizer."""
    image = keras.Input((None, None, 3))
    x = image
    for name in SHAPES:
        x = keras.layers.Conv2D(SHAPES[name][1], 3, padding="same", name=name)(x)
    inner = keras.Model(image, x, name="vgg19")
    for name in SHAPES:
        inner.get_layer(name).set_weights([arrays[f"{name}/{p}"] for p in ("kernel", "bias")])
    outer = keras.Sequential([keras.Input((None, None, 3)), inner, keras.layers.Conv2D(3, 1)])
    outer.compile("adam", "mse")
    outer.optimizer.build(outer.trainable_variables)
    return outer


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.npz", save_npz),
        ("published.h5", save_published),
        ("model.weights.h5", lambda path, arrays: small_model(arrays).save_weights(path)),
        ("model.keras", lambda path, arrays: small_model(arrays).save(path)),
        ("legacy.h5", lambda path, arrays: small_model(arrays).save(path)),
    ],
)
def test_weights_of_every_format_are_equal(tmp_path, loss, name, save):
    save(str(tmp_path / name), WEIGHTS)
    other = PerceptualLoss(LAYER, weights=str(tmp_path / name))
    other.build()
    for ours, expected in zip(other.network.weights, loss.network.weights, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_weights_on_another_file_system_are_read(weights, loss):
    with open(weights, "rb") as source, tf.io.gfile.GFile("ram://vgg.npz", "wb") as target:
        target.write(source.read())
    other = PerceptualLoss(LAYER, weights="ram://vgg.npz")
    other.build()
    np.testing.assert_array_equal(other.network.weights[-1], loss.network.weights[-1])


def test_missing_file_raises_user_error(tmp_path):
    with pytest.raises(UserError, match=r"gone\.npz"):
        PerceptualLoss(weights=str(tmp_path / "gone.npz")).build()


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.keras"])
@pytest.mark.parametrize("damage", ["garbage", "cut", "empty"])
def test_damaged_file_raises_data_error(tmp_path, name, damage):
    path = tmp_path / name
    if name == "a.npz":
        save_npz(path, WEIGHTS)
    elif name == "a.h5":
        save_published(path, WEIGHTS)
    else:
        small_model(WEIGHTS).save(path)
    whole = path.read_bytes()
    path.write_bytes({"garbage": b"<html>", "cut": whole[: len(whole) // 2], "empty": b""}[damage])
    with pytest.raises(DataError, match=rf"{name} ") as caught:
        PerceptualLoss(LAYER, weights=str(path)).build()
    assert "\n" not in str(caught.value)


def test_file_with_wrong_arrays_raises_data_error(tmp_path):
    path = str(tmp_path / "a.npz")

    def message() -> str:
        with pytest.raises(DataError, match=r"a\.npz") as caught:
            PerceptualLoss(LAYER, weights=path).build()
        return str(caught.value)

    np.savez(path, something=np.zeros(3))
    assert "no layer of VGG19" in message()
    np.savez(path, **{key: array for key, array in WEIGHTS.items() if LAYER not in key})
    assert LAYER in message() and "block1_conv1, block1_conv2." in message()
    np.savez(path, **{**WEIGHTS, "block1_conv2/kernel": np.zeros((3, 3, 64, 32), "float32")})
    assert "kernel of block1_conv2" in message() and "(3, 3, 64, 32)" in message()
    np.savez(path, **{**WEIGHTS, "block1_conv2/bias": np.full(64, np.nan, "float32")})
    assert "bias of block1_conv2" in message()
    np.savez(path, **{**WEIGHTS, "block1_conv2/bias": np.array([None] * 64)})
    assert "damaged" in message()


def test_failed_download_raises_config_error(monkeypatch):
    def fails(**_):
        raise Exception("URL fetch failure on https://example.org/vgg19.h5: None --\n no route")

    monkeypatch.setattr(keras.applications, "VGG19", fails)
    with pytest.raises(ConfigError) as caught:
        PerceptualLoss().build()
    message = str(caught.value)
    assert "https://example.org/vgg19.h5: None -- no route" in message
    assert "objective.perceptual.weights" in message


def test_downloaded_weights_are_used(monkeypatch, loss):
    asked = {}

    def downloaded(**options):
        asked.update(options)
        return small_model(WEIGHTS).get_layer("vgg19")

    monkeypatch.setattr(keras.applications, "VGG19", downloaded)
    other = PerceptualLoss(LAYER)
    other.build()
    assert asked == {"weights": "imagenet", "include_top": False}
    for ours, expected in zip(other.network.weights, loss.network.weights, strict=True):
        np.testing.assert_array_equal(ours, expected)
