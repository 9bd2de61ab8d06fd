"""The export command."""

import numpy as np
import pytest

from tfdeblur import export
from tfdeblur.config import settings
from tfdeblur.errors import UserError
from tfdeblur.export import ExportConfig
from tfdeblur.inference.restorer import load_restorer
from tfdeblur.io import files


def config(**values):
    return settings.validate(ExportConfig, values)


def test_export_writes_a_saved_model_that_restores_like_the_run(write_run, tmp_path, capsys):
    workdir = str(tmp_path / "run")
    write_run(workdir)
    assert export.main(["--workdir", workdir]) == 0
    printed = capsys.readouterr().out
    assert f"{workdir}/saved_model" in printed
    assert "uint8" in printed and "bytes" in printed
    image = np.random.default_rng(0).integers(0, 256, (9, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        load_restorer(f"{workdir}/saved_model").deblur(image),
        load_restorer(workdir).deblur(image),
    )


@pytest.mark.slow
def test_export_keeps_the_facts_of_the_checkpoint(write_run, tmp_path):
    workdir, out = str(tmp_path / "run"), str(tmp_path / "out")
    write_run(workdir)
    result = export.run(config(workdir=workdir, out=out, max_pixels=10**6))
    assert result.path == out
    description = files.read_json(f"{out}/tfdeblur.json")
    assert description == result.description
    assert description["images"] == 4096
    assert description["max_pixels"] == 10**6
    assert description["metrics"] == {"psnr_db": 12.5}


@pytest.mark.slow
def test_export_writes_to_other_file_systems(write_run):
    write_run("ram://export/run")
    result = export.run(config(workdir="ram://export/run"))
    assert load_restorer(result.path).name == "unet16"


def test_export_without_a_checkpoint_or_into_other_files_raises(write_run, tmp_path, capsys):
    with pytest.raises(UserError, match=str(tmp_path)):
        export.run(config(workdir=str(tmp_path)))
    assert export.main(["--workdir", str(tmp_path), "--checkpoint", "worst"]) == 2
    assert "checkpoint" in capsys.readouterr().err
    workdir = str(tmp_path / "run")
    write_run(workdir)
    with pytest.raises(UserError, match="--overwrite"):
        export.run(config(workdir=workdir, out=workdir))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_export_of_litert_writes_a_file_for_one_size(write_run, tmp_path, capsys):
    import tensorflow as tf

    workdir = str(tmp_path / "run")
    write_run(workdir)
    words = ["--workdir", workdir, "--format", "litert", "--size", "20x9"]
    assert export.main(words) == 0
    printed = capsys.readouterr().out
    assert f"{workdir}/model.tflite" in printed and "20x9" in printed
    image = np.random.default_rng(0).random((9, 20, 3), np.float32)
    runner = tf.lite.Interpreter(f"{workdir}/model.tflite").get_signature_runner()
    np.testing.assert_allclose(
        runner(images=image[None])["restored"][0],
        load_restorer(workdir).deblur(image),
        atol=1e-5,
    )
    assert export.main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert export.main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--format", "litert"], "--size"),
        (["--size", "20x9"], "--size"),
        (["--weights", "float16"], "--weights"),
        (["--format", "onnx", "--out", "model.pb"], ".onnx"),
        (["--format", "tfjs"], "format"),
        (["--format", "onnx", "--max-pixels", "9"], "--max-pixels"),
        (["--max-pixels", "0"], "max_pixels"),
    ],
)
def test_export_with_conflicting_settings_exits_with_2(write_run, tmp_path, capsys, words, named):
    workdir = str(tmp_path / "run")
    write_run(workdir)
    assert export.main(["--workdir", workdir, *words]) == 2
    assert named in capsys.readouterr().err
