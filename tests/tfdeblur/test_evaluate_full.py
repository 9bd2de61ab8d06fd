"""Commands for the full score card and the comparison."""

import numpy as np
import pytest
from PIL import Image

from tests.golden.lpips_weights import random_backbone, random_heads
from tests.helpers.score_cards import full_card
from tests.helpers.tiny_data import write_data_set, write_split
from tfdeblur import evaluate
from tfdeblur.config import settings
from tfdeblur.data import schema
from tfdeblur.errors import UserError
from tfdeblur.evaluate import EvaluateConfig
from tfdeblur.evaluation import networks
from tfdeblur.evaluation.scores import FULL_FILES
from tfdeblur.inference.restorer import Restorer
from tfdeblur.io import files
from tfdeblur.io.outputs import LIST


def config(**values):
    return settings.validate(EvaluateConfig, values)


def lpips_weights(folder):
    """Writes random weights for AlexNet; returns the paths of the two files."""
    paths = [f"{folder}/{name}.npz" for name in ("backbone", "heads")]
    for path, arrays in zip(paths, (random_backbone("alex"), random_heads("alex")), strict=True):
        np.savez(path, **arrays)
    return paths


@pytest.mark.slow
def test_two_runs_are_fully_evaluated_and_compared(write_run, tmp_path, capsys):
    data = write_data_set(f"{tmp_path}/pairs", splits={"test": 4}, side=24)
    runs = [f"{tmp_path}/one", f"{tmp_path}/two"]
    for run in runs:
        write_run(run)
        arguments = ["--workdir", run, "--data", data, "--full", "--crops", "16", "--pictures", "1"]
        assert evaluate.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "crops of 16x16, " in printed and "card.html" in printed
    folder = f"{runs[0]}/evaluation/pairs-test"
    written = {"card-pictures", "card.csv", "card.html", "card.json"}
    assert set(files.list_dir(folder)) - {LIST} == written
    stored = files.read_json(f"{folder}/card.json")
    assert len(stored["weights_sha256"]) == len(stored["configuration_sha256"]) == 64
    assert stored["images_seen"] == 4096 and stored["crop"] == "16x16"
    assert len(files.list_dir(f"{folder}/card-pictures")) == 3 * 4

    assert evaluate.main(["--compare", *runs]) == 0
    printed = capsys.readouterr().out
    # The same network twice: no image differs.
    assert "two against one, PSNR dB: +0.00 (by image +0.00 to +0.00" in printed
    assert files.exists(f"{folder}/comparison/comparison.html")


def test_crops_none_evaluates_whole_images_only(write_run, tmp_path, capsys):
    run, data = f"{tmp_path}/run", write_data_set(f"{tmp_path}/pairs", {"test": 2}, side=10)
    write_run(run)
    arguments = ["--workdir", run, "--data", data, "--full", "--crops", "none", "--pictures", "0"]
    assert evaluate.main(arguments) == 0
    assert "crops of" not in capsys.readouterr().out
    stored = files.read_json(f"{run}/evaluation/pairs-test/card.json")
    assert {setting["region"] for setting in stored["settings"]} == {"whole"}
    # Images smaller than a window have no SSIM.
    measured = ["psnr_db", "psnr_of_mean_mse_db", "psnr_y", "mse", "mae", "log_cosh"]
    assert list(stored["protocols"]["measures"]) == measured


def test_lpips_is_part_of_the_card(write_run, tmp_path, capsys):
    run, data = f"{tmp_path}/run", write_data_set(f"{tmp_path}/pairs", {"test": 2}, side=32)
    write_run(run)
    weights = lpips_weights(tmp_path)
    arguments = ["--workdir", run, "--data", data, "--full", "--crops", "none"]
    lpips = ["--lpips", "alex", "--lpips-weights", *weights]
    assert evaluate.main([*arguments, *lpips, "--pictures", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Gain in LPIPS (AlexNet, v0.1): " in printed and "not the published files" in printed
    folder = f"{run}/evaluation/pairs-test"
    stored = files.read_json(f"{folder}/card.json")
    assert stored["lpips_alex_weights"]["heads"] == weights[1]
    assert len(stored["lpips_alex_sha256"]) == 64
    assert "papers" in stored["protocols"]["measures"]["lpips_alex"]
    assert 0 < stored["settings"][0]["averages"]["lpips_alex"]["mean"] < 1
    assert "blurred/uint8/whole/lpips_alex" in files.read_text(f"{folder}/card.csv")
    html = files.read_text(f"{folder}/card.html")
    assert stored["lpips_alex_sha256"][:12] in html and stored["lpips_alex_sha256"] not in html


def test_lpips_of_images_that_are_too_small_is_rejected(write_run, tmp_path, capsys):
    run, data = f"{tmp_path}/run", write_data_set(f"{tmp_path}/pairs", {"test": 2}, side=16)
    write_run(run)
    weights = lpips_weights(tmp_path)
    arguments = ["--workdir", run, "--data", data, "--full", "--lpips", "alex"]
    assert evaluate.main([*arguments, "--lpips-weights", *weights]) == 2
    error = capsys.readouterr().err
    assert "31x31" in error and "16x16" in error and "alex" in error


@pytest.fixture
def unchanged(monkeypatch):
    """Evaluates a network that changes nothing, whatever the work directory."""
    restorer = Restorer(lambda images: images, name="unchanged")
    network = networks.EvaluatedNetwork(restorer, {"restored": restorer.restore}, None, None, {})
    monkeypatch.setattr(networks, "open_network", lambda *_: network)


def write_shifted_set(directory, shifts):
    """Writes smooth pictures of 56x48 pixels, blurred ones being sharp ones moved by pixels."""
    rng = np.random.default_rng(0)
    records = []
    for index, (down, right) in enumerate(shifts):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 10, 3), dtype=np.uint8))
        large = np.asarray(coarse.resize((62, 54), Image.Resampling.BICUBIC))
        moved = large[3 + down : 51 + down, 3 + right : 59 + right]
        names = ("scene", f"{index:04d}")
        record = schema.Record(moved, large[3:51, 3:59], *names, 0, 0, 48, 56)
        records.append(schema.encode_record(record, "raw"))
    files.make_dirs(directory)
    shards = write_split(directory, "test", [records])
    split = schema.Split(48, 56, "raw", len(records), ("scene",), shards)
    schema.Manifest("test", {"kind": "shift"}, {}, {"test": split}).save(directory)
    return directory


def test_shifted_pairs_are_scored_at_the_best_shift_and_registered(unchanged, tmp_path, capsys):
    data = write_shifted_set(f"{tmp_path}/pairs", [(2, -1), (-3, 3), (1, 2)])
    arguments = ["--workdir", f"{tmp_path}/run", "--data", data, "--full", "--crops", "none"]
    aligned = ["--max-shift", "3", "--register", "homography"]
    assert evaluate.main([*arguments, "--pictures", "0", *aligned]) == 0
    printed = capsys.readouterr().out
    assert "PSNR, best shift dB" in printed and "SSIM, homography" in printed
    folder = f"{tmp_path}/run/evaluation/pairs-test"
    stored = files.read_json(f"{folder}/card.json")
    means = stored["rows"]["restored"]
    assert stored["max_shift"] == 3
    assert means["psnr_db"] < 18 and means["psnr_shift_db"] == 100
    assert means["ssim"] < 0.9 and means["ssim_shift"] == pytest.approx(1, abs=1e-4)
    # Scaling before registration leaves a factor.
    assert means["psnr_homography_db"] > means["psnr_db"] + 10
    assert means["ssim_homography"] > 0.95
    (header, *_) = files.read_text(f"{folder}/card.csv").splitlines()
    columns = {name.removeprefix("restored/float/whole/") for name in header.split(",")}
    measured = {"psnr_shift_db", "ssim_shift", "psnr_homography_db", "ssim_homography"}
    assert measured <= columns and "translation" not in header


def test_shift_metrics_of_another_reach_are_not_compared(tmp_path, capsys):
    runs = {}
    for name, reach in (("one", 3), ("same", 3), ("other", 1)):
        run = runs[name] = f"{tmp_path}/{name}"
        about = {"from": run, "data_fingerprint": "f", "max_shift": reach}
        full_card([1.0, 2.0, 3.0], about=about).write(f"{run}/evaluation/pairs-test", FULL_FILES)
    for name, compared in (("same", True), ("other", False)):
        assert evaluate.main(["--compare", runs["one"], runs[name]]) == 0
        printed = capsys.readouterr().out
        assert f"{name} against one, PSNR dB: " in printed
        for title, unit in (("PSNR, best shift", " dB"), ("SSIM, best shift", "")):
            assert (f"{name} against one, {title}{unit}: " in printed) == compared
            assert (f"{title} is omitted: " in printed) != compared
    assert "another --max-shift" in printed


def test_contradicting_flags_are_rejected(capsys):
    assert evaluate.main(["--workdir", "w", "--lpips", "alex", "--lpips-weights", "a", "b"]) == 2
    assert "--full" in capsys.readouterr().err
    assert evaluate.main(["--workdir", "w", "--full", "--lpips", "squeeze"]) == 2
    assert "lpips" in capsys.readouterr().err
    assert evaluate.main(["--full", "--all-checkpoints", "--workdir", "w"]) == 2
    assert "--full, --all-checkpoints, --compare" in capsys.readouterr().err
    with pytest.raises(UserError, match="--data"):
        evaluate.run_full(config(workdir="w"))
    with pytest.raises(UserError, match="nowhere"):
        evaluate.run_compare(config(compare=["nowhere", "elsewhere"]))
