"""The evaluate command: output, files and errors."""

import csv
import io

import numpy as np
import pytest

from tests.helpers.tiny_data import write_data_set, write_mixed_set
from tfdeblur import evaluate
from tfdeblur.config import settings
from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluate import EvaluateConfig
from tfdeblur.exporting import saved_model
from tfdeblur.io import files
from tfdeblur.io.outputs import LIST


def config(**values):
    return settings.validate(EvaluateConfig, values)


@pytest.fixture
def data(tmp_path):
    return write_data_set(f"{tmp_path}/pairs")


def test_command_prints_a_table_and_writes_all_files(write_run, data, tmp_path, capsys):
    workdir = str(tmp_path / "run")
    write_run(workdir)
    assert evaluate.main(["--workdir", workdir, "--data", data]) == 0
    printed = capsys.readouterr().out
    assert "blurred" in printed and "restored" in printed and "PSNR dB" in printed
    folder = f"{workdir}/evaluation/pairs-test"
    assert set(files.list_dir(folder)) - {LIST} == {
        "images.csv",
        "index.html",
        "pictures",
        "scores.csv",
        "scores.json",
    }
    scores = files.read_json(f"{folder}/scores.json")
    assert (scores["images"], scores["differing"]) == (6, 6)
    assert scores["images_seen"] == 4096
    assert scores["blur"] == {"kind": "contrast"}
    frames = csv.DictReader(io.StringIO(files.read_text(f"{folder}/images.csv")))
    assert len({line["frame"] for line in frames}) == 6
    assert len(files.list_dir(f"{folder}/pictures")) == 3 * 6


def test_baseline_is_the_blurred_input(write_run, data, tmp_path):
    workdir = str(tmp_path / "run")
    write_run(workdir)
    rows = evaluate.run(config(workdir=workdir, data=data)).card.rows
    stored = np.load(io.BytesIO(_pairs(data)))
    error = np.mean((stored[0] / 255.0 - stored[1] / 255.0) ** 2)
    assert rows["blurred"]["mse"] == pytest.approx(error, rel=1e-5)


def _pairs(data):
    from tfdeblur.data.evaluation import EvaluationData

    batch = next(iter(EvaluationData(data, "test").dataset(6)))
    buffer = io.BytesIO()
    np.save(buffer, np.stack([batch["blurred"].numpy(), batch["sharp"].numpy()]))
    return buffer.getvalue()


@pytest.mark.slow
def test_saved_model_scores_as_its_run(write_run, data, tmp_path):
    workdir, exported = str(tmp_path / "run"), str(tmp_path / "exported")
    saved_model.export_saved_model(write_run(workdir), exported)
    from_run = evaluate.run(config(workdir=workdir, data=data, batch_size=4))
    from_export = evaluate.run(config(model=exported, data=data, batch_size=1))
    assert from_export.folder == f"{exported}-evaluation/pairs-test"
    primary = from_run.card.primary
    for metric, values in from_run.card.values[primary].items():
        found = from_export.card.values[primary][metric]
        np.testing.assert_allclose(found, values, rtol=1e-4, err_msg=metric)


def test_settings_that_affect_scores_have_separate_folders():
    def folder(**values):
        return evaluate.default_folder(config(workdir="w", data="d/pairs/", **values))

    assert folder() == "w/evaluation/pairs-test"
    assert folder(split="val", checkpoint="last", limit=9) == "w/evaluation/pairs-val-last-first-9"


def test_limit_pictures_and_out_are_respected(write_run, data, tmp_path):
    workdir, out = str(tmp_path / "run"), str(tmp_path / "elsewhere")
    write_run(workdir)
    result = evaluate.run(
        config(workdir=workdir, data=data, split="val", limit=3, pictures=0, out=out)
    )
    assert result.card.images == 3
    assert result.folder == out and result.report == f"{out}/index.html"
    assert not files.exists(f"{out}/pictures")


def test_evaluation_works_in_memory_files(write_run):
    write_run("ram://evaluate/run")
    write_data_set("ram://evaluate/pairs")
    result = evaluate.run(config(workdir="ram://evaluate/run", data="ram://evaluate/pairs"))
    assert files.exists("ram://evaluate/run/evaluation/pairs-test/index.html")
    assert result.card.images == 6


def test_invalid_inputs_raise_errors_that_name_them(write_run, data, tmp_path, capsys):
    workdir = str(tmp_path / "run")
    write_run(workdir)
    assert evaluate.main(["--workdir", workdir]) == 2
    assert "data" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"--workdir .* --model"):
        evaluate.run(config(data=data))
    with pytest.raises(UserError, match=r"--workdir .* --model"):
        evaluate.run(config(data=data, workdir=workdir, model=workdir))
    with pytest.raises(DataError, match="tets"):
        evaluate.run(config(data=data, workdir=workdir, split="tets"))
    with pytest.raises(UserError, match="nowhere"):
        evaluate.run(config(data=data, workdir=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match=workdir):
        evaluate.run(config(data=workdir, workdir=workdir))


def test_error_of_a_damaged_shard_names_it(write_run, data, tmp_path):
    workdir = str(tmp_path / "run")
    write_run(workdir)
    shard = f"{data}/test-00001-of-00002.tfrecord"
    content = bytearray(files.read_bytes(shard))
    content[len(content) // 2] ^= 0xFF
    files.write_bytes(shard, bytes(content))
    with pytest.raises(DataError, match="test-00001-of-00002"):
        evaluate.run(config(data=data, workdir=workdir))


@pytest.mark.parametrize("kind", [[], ["--full"], ["--all-checkpoints"]])
def test_out_folder_with_other_files_is_rejected_before_any_work(
    write_run, data, tmp_path, capsys, kind
):
    """`--out` of a home folder or of the run itself must not delete pictures or pages."""
    workdir, home = tmp_path / "run", tmp_path / "home"
    write_run(str(workdir))
    for folder in ("pictures", "card-pictures"):
        (home / folder).mkdir(parents=True)
        (home / folder / "cat.jpg").write_text("another file")
    (home / "checkpoints.html").write_text("another file")
    before = sorted(path for path in home.rglob("*"))
    words = ["--workdir", str(workdir), "--data", data, "--out", str(home), *kind]
    assert evaluate.main(words) == 2
    assert str(home) in capsys.readouterr().err
    assert sorted(path for path in home.rglob("*")) == before


@pytest.mark.slow
def test_figures_are_written_beside_the_page_and_replaced(write_run, data, tmp_path):
    write_run(str(tmp_path / "run"))
    words = ["--workdir", str(tmp_path / "run"), "--data", data, "--out", str(tmp_path / "out")]
    for extension in ("svg", "png"):
        assert evaluate.main([*words, "--figures", extension]) == 0
        written = files.list_dir(f"{tmp_path}/out/index-figures")
        assert len(written) == 5 and f"gain-in-psnr.{extension}" in written
        assert all(name.endswith(f".{extension}") for name in written)
    assert evaluate.main(words) == 0
    assert not files.exists(f"{tmp_path}/out/index-figures")


def test_second_evaluation_replaces_its_pictures(write_run, data, tmp_path):
    write_run(str(tmp_path / "run"))
    settings = {"workdir": str(tmp_path / "run"), "data": data, "out": str(tmp_path / "out")}
    evaluate.run(config(**settings, pictures=3))
    before = files.walk_files(settings["out"])
    evaluate.run(config(**settings, pictures=1))
    after = files.walk_files(settings["out"])
    assert len(after) < len(before) and "index.html" in after


@pytest.fixture
def mixed(tmp_path):
    """Whole images of two sizes, neither of them a multiple of what the network requires."""
    return write_mixed_set(f"{tmp_path}/mixed", [(18, 30, [2, 1]), (30, 18, [2])])[0]


def test_images_of_several_sizes_are_evaluated_whole(write_run, mixed, tmp_path, capsys):
    write_run(str(tmp_path / "run"))
    words = ["--workdir", str(tmp_path / "run"), "--data", mixed, "--pictures", "1"]
    assert evaluate.main(words) == 0
    assert "18x30" in capsys.readouterr().out
    folder = f"{tmp_path}/run/evaluation/mixed-test"
    scores = files.read_json(f"{folder}/scores.json")
    assert scores["images"] == 5 and scores["image_sizes"] == "30x18, 18x30"
    lines = list(csv.DictReader(io.StringIO(files.read_text(f"{folder}/images.csv"))))
    assert [line["frame"] for line in lines] == [f"{index:04d}" for index in range(5)]
    assert len(files.list_dir(f"{folder}/pictures")) == 3 * 3
    assert "18x30" in files.read_text(f"{folder}/index.html")
    mean = np.mean([float(line["restored_mse"]) for line in lines])
    assert scores["rows"]["restored"]["mse"] == pytest.approx(mean)


def test_images_restored_in_tiles_say_so_and_have_a_folder_of_their_own(
    write_run, mixed, tmp_path, capsys
):
    run = str(tmp_path / "run")
    write_run(run)
    words = ["--workdir", run, "--data", mixed, "--pictures", "1"]
    assert evaluate.main([*words, "--tile", "24", "--overlap", "8"]) == 0
    printed = capsys.readouterr().out
    assert "whole images, restored in tiles" in printed and "24x24" in printed
    folder = f"{run}/evaluation/mixed-test-tile-24-overlap-8"
    scores = files.read_json(f"{folder}/scores.json")
    assert scores["tiles"] == {
        "side": 24,
        "max_pixels": 2**20,
        "sizes": "24x24",
        "overlap": 8,
        "divided_images": 5,
    }
    assert "24x24" in scores["protocols"]["tiles"] and scores["omitted_loss"]
    assert "24x24" in files.read_text(f"{folder}/index.html")
    # Larger tiles divide nothing.
    whole = evaluate.run(config(workdir=run, data=mixed, out=f"{tmp_path}/whole"))
    large = evaluate.run(config(workdir=run, data=mixed, max_pixels=18 * 30))
    assert large.card.about["tiles"]["divided_images"] == 0
    assert "tiles" not in whole.card.about and not whole.card.tiles_note()
    for key, mean in whole.card.rows["restored"].items():
        np.testing.assert_allclose(large.card.rows["restored"][key], mean, rtol=1e-4)


def test_tiles_of_evaluations_without_them_are_refused(tmp_path, capsys):
    with pytest.raises(UserError, match="overlap"):
        evaluate.tiling(config(overlap=8))
    assert evaluate.main(["--compare", "a", "b", "--tile", "64"]) == 2
    assert "tile" in capsys.readouterr().err


@pytest.mark.slow
def test_several_sizes_under_every_protocol_and_compared(write_run, mixed, tmp_path, capsys):
    runs = [str(tmp_path / name) for name in ("one", "two")]
    for run in runs:
        write_run(run)
        words = ["--workdir", run, "--data", mixed, "--full", "--pictures", "1"]
        assert evaluate.main([*words, "--crops", "20" if run == runs[0] else "none"]) == 0
        printed = capsys.readouterr()
        # Crops that are larger than some images are said to have no effect.
        assert printed.err.count("warning: crops: 20x20") == int(run == runs[0])
        assert "MS-SSIM is omitted" in printed.out and "crops of" not in printed.out
    stored = files.read_json(f"{runs[0]}/evaluation/mixed-test/card.json")
    assert "crop" not in stored and "ms_ssim" in stored["omitted_metrics"]
    assert evaluate.main(["--compare", *runs]) == 0
    assert "two against one, PSNR dB: +0.00" in capsys.readouterr().out
    assert files.exists(f"{runs[0]}/evaluation/mixed-test/comparison/comparison.html")
