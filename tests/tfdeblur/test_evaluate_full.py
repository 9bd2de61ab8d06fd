"""The full score card and the comparison as commands."""

import numpy as np
import pytest

from tests.golden.lpips_weights import random_backbone, random_heads
from tests.helpers.tiny_data import write_data_set
from tfdeblur import evaluate
from tfdeblur.config import settings
from tfdeblur.errors import UserError
from tfdeblur.evaluate import EvaluateConfig
from tfdeblur.io import files


def config(**values):
    return settings.validate(EvaluateConfig, values)


@pytest.mark.slow
def test_two_runs_are_judged_in_full_and_compared(write_run, tmp_path, capsys):
    data = write_data_set(f"{tmp_path}/pairs", splits={"test": 4}, side=24)
    runs = [f"{tmp_path}/one", f"{tmp_path}/two"]
    for run in runs:
        write_run(run)
        arguments = ["--workdir", run, "--data", data, "--full", "--crops", "16", "--pictures", "1"]
        assert evaluate.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "crops of 16x16, each restored by itself" in printed and "card.html" in printed
    folder = f"{runs[0]}/evaluation/pairs-test"
    assert files.list_dir(folder) == ["card-pictures", "card.csv", "card.html", "card.json"]
    stored = files.read_json(f"{folder}/card.json")
    assert len(stored["weights_sha256"]) == len(stored["configuration_sha256"]) == 64
    assert stored["images_seen"] == 4096 and stored["crop"] == "16x16"
    assert len(files.list_dir(f"{folder}/card-pictures")) == 3 * 4

    assert evaluate.main(["--compare", *runs]) == 0
    printed = capsys.readouterr().out
    # The same network twice: no difference, in any image.
    assert "two against one, PSNR dB: +0.00 (by image +0.00 to +0.00" in printed
    assert files.exists(f"{folder}/comparison/comparison.html")


def test_whole_images_alone(write_run, tmp_path, capsys):
    run, data = f"{tmp_path}/run", write_data_set(f"{tmp_path}/pairs", {"test": 2}, side=10)
    write_run(run)
    arguments = ["--workdir", run, "--data", data, "--full", "--crops", "none", "--pictures", "0"]
    assert evaluate.main(arguments) == 0
    assert "crops" not in capsys.readouterr().out
    stored = files.read_json(f"{run}/evaluation/pairs-test/card.json")
    assert {setting["region"] for setting in stored["settings"]} == {"whole"}
    # Images too small for a window have no SSIM.
    assert list(stored["protocols"]["measures"]) == ["psnr", "psnr_y"]


def test_lpips_stands_in_the_card(write_run, tmp_path, capsys):
    run, data = f"{tmp_path}/run", write_data_set(f"{tmp_path}/pairs", {"test": 2}, side=32)
    write_run(run)
    weights = [f"{tmp_path}/{name}.npz" for name in ("backbone", "heads")]
    for path, arrays in zip(weights, (random_backbone("alex"), random_heads("alex")), strict=True):
        np.savez(path, **arrays)
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

    small = write_data_set(f"{tmp_path}/small", {"test": 2}, side=16)
    assert evaluate.main([*arguments, *lpips, "--data", small]) == 2
    assert "at least 31x31 pixels" in capsys.readouterr().err


def test_what_contradicts_is_refused(capsys):
    assert evaluate.main(["--workdir", "w", "--lpips", "alex", "--lpips-weights", "a", "b"]) == 2
    assert "Give --full as well" in capsys.readouterr().err
    assert evaluate.main(["--workdir", "w", "--full", "--lpips", "squeeze"]) == 2
    assert "lpips" in capsys.readouterr().err
    assert evaluate.main(["--full", "--all-checkpoints", "--workdir", "w"]) == 2
    assert "one of --full, --all-checkpoints and --compare" in capsys.readouterr().err
    with pytest.raises(UserError, match="--data"):
        evaluate.run_full(config(workdir="w"))
    with pytest.raises(UserError, match="holds no full score card"):
        evaluate.run_compare(config(compare=["nowhere", "elsewhere"]))
