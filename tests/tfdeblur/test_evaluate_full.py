"""The full score card and the comparison as commands."""

import pytest

from tests.tfdeblur.tiny_data import write_data_set
from tfdeblur import evaluate, files, settings
from tfdeblur.errors import UserError
from tfdeblur.evaluate import EvaluateConfig


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


def test_what_contradicts_is_refused(capsys):
    assert evaluate.main(["--full", "--all-checkpoints", "--workdir", "w"]) == 2
    assert "one of --full, --all-checkpoints and --compare" in capsys.readouterr().err
    with pytest.raises(UserError, match="--data"):
        evaluate.run_full(config(workdir="w"))
    with pytest.raises(UserError, match="holds no full score card"):
        evaluate.run_compare(config(compare=["nowhere", "elsewhere"]))
