"""The convert command on weights files written by PyTorch."""

import hashlib
import pathlib

import numpy as np
import pytest

import tfdeblur
from tests.helpers.pickles import archive, dictionary, tensor
from tfdeblur import convert, export, models
from tfdeblur.checkpoints.manifest import verify_checkpoint
from tfdeblur.checkpoints.warm_start import init_from
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.config import settings
from tfdeblur.convert import ConvertConfig
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.io import files
from tfdeblur.porting import mapping
from tfdeblur.porting.architectures import REGISTRY

GOLDEN = pathlib.Path(__file__).parent / "porting" / "golden"
NAFNET = str(GOLDEN / "nafnet.pth")


def config(**values):
    return settings.validate(ConvertConfig, values)


def unit_image(case):
    """Returns the image of a golden case and its finest output, in [0, 1]."""
    expected = np.load(GOLDEN / "expected.npz")
    image, restored = expected[f"{case}/image"], expected[f"{case}/restored0"]
    signed = case.startswith("deblurgan")
    return ((image + 1) / 2, (restored + 1) / 2) if signed else (image, restored)


@pytest.mark.parametrize("case", ["mimo_unet", "deblurgan"])
def test_converted_checkpoint_is_loaded_and_restores(case, tmp_path):
    out = str(tmp_path / "ported")
    convert.run(config(weights=str(GOLDEN / f"{case}.pth"), out=out))
    image, restored = unit_image(case)
    found = tfdeblur.load(out).deblur(image)
    np.testing.assert_allclose(found, np.clip(restored, 0, 1), atol=1e-4)


def test_file_of_deblurgan_v2_has_a_prefix_and_two_names_for_arrays_of_the_backbone(tmp_path):
    options = {"width": 2, "backbone_width": 2, "backbone_blocks": (1, 2)}
    generator = models.create("fpn_inception", options)
    layout = REGISTRY.load("fpn_inception").layout(generator.options)
    arrays = mapping.extract(generator, layout)
    tensors = {name: tensor(str(key), arrays[name].shape) for key, name in enumerate(arrays)}
    again = {"fpn.inception.conv2d_1a.conv.weight": tensors["fpn.enc0.conv.weight"]}
    weights = {f"module.{name}": steps for name, steps in {**again, **tensors}.items()}
    records = {str(key): values.tobytes() for key, values in enumerate(arrays.values())}
    path, out = tmp_path / "fpn_inception.h5", str(tmp_path / "ported")
    path.write_bytes(archive(dictionary({"model": dictionary(weights)}), records))
    assert convert.main(["--weights", str(path), "--out", out]) == 0
    found, _ = load_generator(out)
    assert {name: found.options[name] for name in options} == options
    for ours, expected in zip(found.network.weights, generator.network.weights, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_command_prints_network_and_next_command(tmp_path, capsys):
    out = str(tmp_path / "a folder")
    assert convert.main(["--weights", NAFNET, "--out", out, "--options", "pool_window=384"]) == 0
    printed = capsys.readouterr().out
    assert "nafnet with" in printed and "pool_window 384" in printed
    assert "--license" in printed
    assert f"--model '{out}'" in printed
    meta = verify_checkpoint(out)
    assert meta["model"]["name"] == "nafnet" and meta["model"]["encoder"] == [1, 2]
    assert meta["origin"]["file"] == "nafnet.pth"
    assert meta["origin"]["entry"] == "params"
    assert meta["origin"]["architecture"] == "nafnet"
    digest = hashlib.sha256(pathlib.Path(NAFNET).read_bytes()).hexdigest()
    assert meta["origin"]["sha256"] == digest


def test_converted_checkpoint_initializes_training():
    out = "ram://convert/nafnet"
    result = convert.run(config(weights=NAFNET, out=out + "/", license="MIT"))
    assert result.path == out
    assert files.read_json(f"{out}/meta.json")["origin"]["license"] == "MIT"
    generator = models.create("nafnet", {"width": 4, "encoder": [1, 2], "decoder": [0, 1]})
    match = init_from(out, generator)
    assert len(match.matched) == result.arrays
    assert not (match.reshaped or match.missing or match.unused)


@pytest.mark.slow
def test_converted_checkpoint_is_exported(tmp_path):
    out = str(tmp_path / "nafnet")
    convert.run(config(weights=NAFNET, out=out))
    shipped = export.run(settings.validate(export.ExportConfig, {"workdir": out}))
    image, restored = unit_image("nafnet")
    found = tfdeblur.load(shipped.path).deblur(image)
    np.testing.assert_allclose(found, np.clip(restored, 0, 1), atol=1e-4)


def test_residual_option_is_stored(tmp_path):
    out = str(tmp_path / "out")
    file = str(GOLDEN / "deblurgan_batch.pth")
    convert.run(config(weights=file, out=out, options=["residual=false"]))
    generator, _ = load_generator(out)
    expected = np.load(GOLDEN / "expected.npz")
    image = expected["deblurgan_batch/image"]
    summed = np.clip(image + generator.network(image, training=False), -1, 1)
    np.testing.assert_allclose(summed, expected["deblurgan_batch/restored0"], atol=1e-5)


def test_existing_folder_is_not_overwritten_without_flag(tmp_path):
    out = tmp_path / "out"
    convert.run(config(weights=NAFNET, out=str(out)))
    with pytest.raises(UserError, match="--overwrite"):
        convert.run(config(weights=NAFNET, out=str(out)))
    convert.run(config(weights=NAFNET, out=str(out), overwrite=True))
    (out / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"/out "):
        convert.run(config(weights=NAFNET, out=str(out), overwrite=True))
    with pytest.raises(UserError, match=r"photo\.jpg"):
        convert.run(config(weights=NAFNET, out=str(out / "photo.jpg")))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"architecture": "nafnt"}, ConfigError, "'nafnet'"),
        ({"architecture": "mimo_unet"}, DataError, r"feat_extract\.0\.main\.0\.weight"),
        ({"options": ["width=8"]}, ConfigError, "width.*pool_window"),
        ({"options": ["pool_window"]}, ConfigError, "NAME=VALUE"),
        ({"options": ["pool_window=0"]}, ConfigError, "pool_window"),
        ({"entry": "model"}, UserError, "entry"),
        ({"weights": "none.pth"}, UserError, "does not exist"),
    ],
)
def test_invalid_settings_are_one_error_and_write_nothing(wrong, error, message, tmp_path, capsys):
    values = {"weights": NAFNET, "out": str(tmp_path / "out"), **wrong}
    with pytest.raises(error, match=message):
        convert.run(config(**values))
    words = [f"--{k}={v[0] if isinstance(v, list) else v}" for k, v in values.items()]
    assert convert.main(words) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_of_unknown_network_raise_data_error(tmp_path):
    np.savez(tmp_path / "w.npz", **{"fpn.weight": np.zeros((1, 2), np.float32)})
    with pytest.raises(DataError, match=r"fpn\.weight.*chosj95"):
        convert.run(config(weights=str(tmp_path / "w.npz"), out=str(tmp_path / "out")))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("intro.weight", np.zeros((10**8, 0, 1, 1), np.float32)),
        ("intro.weight", np.float32(1)),
        (f"encoders.0.{'9' * 5000}.beta", np.zeros(1, np.float32)),
        ("encoders.0.7.beta", np.zeros(1, np.float32)),
    ],
)
def test_weights_of_no_possible_network_raise_data_error(tmp_path, name, values):
    path, out = str(tmp_path / "w.npz"), str(tmp_path / "out")
    empty = np.zeros((2, 0, 1, 1), np.float32)
    marks = ("intro.weight", "ending.weight", "downs.0.weight", "ups.0.0.weight")
    np.savez(path, **{**dict.fromkeys(marks, empty), name: values})
    with pytest.raises(DataError, match=r"w\.npz"):
        convert.run(config(weights=path, out=out))
    assert not files.exists(out)
