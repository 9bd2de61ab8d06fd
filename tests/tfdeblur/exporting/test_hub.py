"""Presets written from runs, and the commands that take them."""

import numpy as np
import pytest
from PIL import Image

import tfdeblur
from tests.helpers.tiny_data import write_data_set
from tfdeblur import deblur, detect, evaluate, export, models, train
from tfdeblur.checkpoints.arrays import read_arrays
from tfdeblur.checkpoints.warm_start import init_from
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.config import settings
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.evaluation import detector
from tfdeblur.exporting import hub
from tfdeblur.io import files
from tfdeblur.presets import card, preset

NAME = "unet16-cifar10"


def config(**values):
    return settings.validate(export.ExportConfig, {"format": "hub", **values})


@pytest.fixture
def written(write_run, tmp_path):
    """The folder of a preset, its run and the generator in it."""
    workdir, out = str(tmp_path / "run"), str(tmp_path / "mine")
    generator = write_run(workdir)
    export.run(config(workdir=workdir, out=out, license="MIT"))
    return out, workdir, generator


def test_hub_folder_holds_three_files_and_loads_as_the_run(written):
    out, workdir, generator = written
    assert files.walk_files(out) == [preset.CARD, preset.WEIGHTS, preset.FACTS]
    found = preset.verify(out)
    assert (found.name, found.license, found.training.images) == ("mine", "MIT", 4096)
    assert found.weights.parameters == generator.network.count_params()
    assert files.read_text(f"{out}/{preset.CARD}") == card.card(found)
    image = np.random.default_rng(0).integers(0, 256, (9, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        tfdeblur.load(out).deblur(image), tfdeblur.load(workdir).deblur(image)
    )
    restored = np.asarray(tfdeblur.load(out).restore(preset.probe_image()))
    assert preset.probe_of(restored) == pytest.approx(found.probe, abs=2e-4)


def test_float16_halves_the_file_and_rounds_the_weights(written, tmp_path):
    out, workdir, generator = written
    half = str(tmp_path / "half")
    export.run(config(workdir=workdir, out=half, weights="float16"))
    arrays = read_arrays(f"{half}/{preset.WEIGHTS}")
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert files.size(f"{half}/{preset.WEIGHTS}") < 0.6 * files.size(f"{out}/{preset.WEIGHTS}")
    loaded, _ = load_generator(half)
    for got, expected in zip(
        loaded.network.get_weights(), generator.network.get_weights(), strict=True
    ):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected.astype(np.float16))


def test_weights_beyond_float16_raise_user_error_with_their_name(written, tmp_path):
    _, workdir, generator = written
    kernel = generator.network.trainable_variables[0]
    kernel.assign(np.full(kernel.shape, 1e5, np.float32))
    _, meta = load_generator(workdir)
    with pytest.raises(UserError, match="kernel"):
        hub.write(generator, str(tmp_path / "half"), meta, precision="float16")
    assert not files.exists(str(tmp_path / "half"))


def test_config_of_the_run_gives_the_length_of_its_training(written, tmp_path):
    _, workdir, _ = written
    tree = {
        "training": {"duration": "8 epochs", "global_batch": 4},
        "data": {"paths": ["a/tiny/"]},
    }
    files.write_json(f"{workdir}/config.yaml", tree)
    out = str(tmp_path / "known")
    export.run(config(workdir=workdir, out=out))
    training = preset.read(out).training
    assert (training.of, training.data) == (8 * 1024, "tiny")
    files.write_json(f"{workdir}/config.yaml", {"training": 3})
    with pytest.raises(ConfigError, match=f"{workdir}/config.yaml"):
        export.run(config(workdir=workdir, out=str(tmp_path / "other")))


def test_export_again_keeps_texts_and_scores_of_the_same_weights(written, tmp_path):
    out, workdir, _ = written
    facts = files.read_text(f"{out}/{preset.FACTS}")
    facts = facts.replace("about: ''", "about: Removes blur.").replace("hours: null", "hours: 1.5")
    files.write_text(f"{out}/{preset.FACTS}", facts.replace("device: ''", "device: one GPU"))
    data = write_data_set(f"{tmp_path}/pairs", {"test": 5})
    assert evaluate.main(["--model", out, "--data", data]) == 0
    scores = f"{out}-evaluation/pairs-test/scores.json"
    export.run(config(model=out, out=out, overwrite=True, scores=scores))
    first = preset.read(out)
    assert (first.about, first.license, first.version) == ("Removes blur.", "MIT", 1)
    assert "\n- **Device:** one GPU, 1.5 hours\n" in files.read_text(f"{out}/{preset.CARD}")
    assert first.scores[0].images == 5
    measured = files.read_json(scores)["rows"]["restored"]["psnr_db"]
    assert first.scores[0].restored["psnr_db"] == pytest.approx(measured, rel=1e-4)
    export.run(config(model=out, out=out, overwrite=True))
    assert preset.read(out) == first
    # Other weights are another version, without scores and hours, and refuse earlier scores.
    changed = {"workdir": workdir, "out": out, "weights": "float16", "overwrite": True}
    with pytest.raises(DataError, match=scores):
        export.run(config(**changed, scores=scores))
    assert preset.verify(out) == first
    export.run(config(**changed))
    assert preset.read(out).version == 2 and not preset.read(out).scores
    assert preset.read(out).about == "Removes blur."
    assert (preset.read(out).training.device, preset.read(out).training.hours) == ("one GPU", None)


@pytest.mark.parametrize(
    ("values", "kind", "key"),
    [
        ({"workdir": "run", "model": "x", "out": "y"}, UserError, "--model"),
        ({"out": "y"}, UserError, "--workdir"),
        ({"workdir": "run"}, ConfigError, "out"),
        ({"model": NAME, "format": "saved_model"}, ConfigError, "out"),
        ({"workdir": "run", "out": "y", "size": "8x8"}, ConfigError, "size"),
        ({"workdir": "run", "format": "saved_model", "license": "MIT"}, ConfigError, "license"),
        ({"workdir": "run", "out": "Mine"}, UserError, "Mine"),
    ],
)
def test_unusable_settings_name_the_setting(values, kind, key):
    with pytest.raises(kind, match=key):
        export.run(config(**values))


def test_folder_of_other_files_or_of_a_preset_is_kept(written, tmp_path):
    out, workdir, _ = written
    before = files.read_bytes(f"{out}/{preset.FACTS}")
    with pytest.raises(UserError, match="--overwrite"):
        export.run(config(workdir=workdir, out=out))
    assert files.read_bytes(f"{out}/{preset.FACTS}") == before
    other = str(tmp_path / "other")
    files.make_dirs(f"{other}/.git")
    files.write_text(f"{other}/notes.txt", "kept")
    with pytest.raises(UserError, match=r"notes\.txt"):
        export.run(config(workdir=workdir, out=other, overwrite=True))
    files.remove(f"{other}/notes.txt")
    export.run(config(workdir=workdir, out=other))
    assert preset.verify(other).name == "other"


def test_damaged_weights_are_refused_by_load_and_init_from(written):
    out, _, generator = written
    path = f"{out}/{preset.WEIGHTS}"
    content = bytearray(files.read_bytes(path))
    content[-1] ^= 1
    files.write_bytes(path, bytes(content))
    with pytest.raises(DataError, match=path):
        tfdeblur.load(out)
    before = [value.copy() for value in generator.network.get_weights()]
    with pytest.raises(DataError, match=path):
        init_from(out, generator)
    for got, expected in zip(generator.network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("model", ["width: 8", "width: 2", "name: rednet30", "depth: 4"])
def test_facts_of_another_network_are_refused_by_name(model, written):
    out, _, _ = written
    path, key = f"{out}/{preset.FACTS}", model.split(":")[0]
    lines = files.read_text(path).splitlines()
    start = lines.index("model:")
    known = [line for line in lines[start:] if not line.startswith(f"  {key}:")]
    files.write_text(path, "\n".join([*lines[:start], "model:", f"  {model}", *known[1:]]))
    with pytest.raises(DataError, match=out):
        tfdeblur.load(out)


# ---------------------------------------------------------------------------------- by its name


def test_deblur_by_name_writes_the_restored_photo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    assert deblur.main(["photo.png", "--model", NAME, "-o", "out"]) == 0
    restored = np.asarray(Image.open("out/photo.png"))
    np.testing.assert_array_equal(restored, tfdeblur.load(NAME).deblur(pixels))
    assert deblur.main(["photo.png", "--model", "unet16-cifar", "-o", "out2"]) == 2
    assert f"'{NAME}'" in capsys.readouterr().err and not files.exists("out2")


def test_evaluate_and_detect_by_name_write_beside_no_package(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = write_data_set(f"{tmp_path}/pairs", {"test": 3})
    assert evaluate.main(["--model", NAME, "--data", data]) == 0
    stored = files.read_json(f"{NAME}-evaluation/pairs-test/scores.json")
    found = preset.read(tfdeblur.presets.find(NAME))
    assert stored["weights_sha256"] == found.weights.sha256
    assert stored["images_seen"] == found.training.images

    class Nothing:
        sha256 = "00"

        def __init__(self, path, **options):
            pass

        def __call__(self, image):
            empty = np.zeros(0)
            return detector.Detections(np.zeros((0, 4), np.float32), empty, empty.astype(int))

        def name(self, number):
            return ""

    monkeypatch.setattr(detector, "Detector", Nothing)
    assert detect.main(["--model", NAME, "--data", data, "--detector", "d.onnx"]) == 0
    assert files.exists(f"{NAME}-evaluation/pairs-test/detection.json")
    assert evaluate.main(["--model", "unet16-cifar", "--data", data]) == 2
    assert f"'{NAME}'" in capsys.readouterr().err


@pytest.mark.slow
def test_export_by_name_describes_the_preset(tmp_path):
    out = str(tmp_path / "saved")
    result = export.run(config(model=NAME, out=out, format="saved_model"))
    assert result.description["origin"]["preset"] == NAME
    image = np.random.default_rng(0).integers(0, 256, (9, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        tfdeblur.load(out).deblur(image), tfdeblur.load(NAME).deblur(image)
    )


def test_init_from_name_copies_every_weight():
    target = models.create("unet16", {})
    match = init_from(NAME, target)
    assert not (match.reshaped or match.missing or match.unused)
    loaded, _ = load_generator(NAME)
    for got, expected in zip(
        target.network.get_weights(), loaded.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("words", "name", "width"),
    [
        ([], "unet16", 4),
        (["--model.width", "8"], "unet16", 8),
        (["--model", "rednet30"], "rednet30", 64),
        (["--recipe", "resnet16_cifar10"], "resnet16", 64),
    ],
)
def test_train_takes_the_network_of_initial_weights_if_none_is_chosen(
    words, name, width, written, capsys
):
    given = ["--workdir", "x", "--objective", "content", "--print-config", "--init-from"]
    assert train.main([*given, written[0], *words]) == 0
    printed = settings.parse_yaml(capsys.readouterr().out, "printed")
    assert printed["model"]["name"] == name
    assert printed["model"].get("width", width) == width
