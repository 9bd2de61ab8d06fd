"""The command `tfdeblur.paper table`, on results that evaluations have written."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from tests.helpers.score_cards import full_card, quick_card
from tests.helpers.tiled_data import write_tiled_set
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.scores import FULL_FILES, QUICK_FILES
from tfdeblur.io import files
from tfdeblur.paper.__main__ import main


def evaluated(folder, gain=2.0, names=QUICK_FILES, **about):
    """Writes a run's evaluation; returns the work directory."""
    card = quick_card(gain) if names is QUICK_FILES else full_card([gain, gain, gain])
    about = {"from": folder, "data": "data/cifar10", "source": "cifar10", "split": "test", **about}
    card = dataclasses.replace(card, about=about)
    card.write(f"{folder}/evaluation/cifar10-test", names)
    return folder


@pytest.fixture
def runs(tmp_path):
    loss = {"recipe": "rednet30wgan_cifar10"}
    return [
        evaluated(f"{tmp_path}/unet", 2.0, recipe="unet16_cifar10"),
        evaluated(f"{tmp_path}/rednet", -1.0, **loss),
    ]


def text_of(capsys, *arguments):
    assert main(["table", *arguments]) == 0
    return capsys.readouterr().out


def test_networks_stand_beside_the_input_and_their_papers(runs, capsys):
    lines = text_of(capsys, *runs).splitlines()
    rows = {line.split("  ")[0].strip(): line.split() for line in lines[2:12]}
    assert "blurred, paper" in lines[2] and "unet, paper" in lines[2]
    assert rows["PSNR dB"][2:] == ["28.49", "24.67", "*30.49", "29.32", "27.49", "31.98"]
    assert rows["Loss (Adv.)"][-1] == "-0.005700"
    assert list(rows).index("SSIM") < list(rows).index("PSNR dB")


def test_paper_is_left_out_on_request_and_on_other_data(runs, tmp_path, capsys):
    assert "paper" not in text_of(capsys, *runs, "--no-paper").splitlines()[2]
    other = evaluated(f"{tmp_path}/reds", recipe="unet16_cifar10", source="reds")
    text = text_of(capsys, other)
    assert "unet, paper" not in text and "they are of cifar10, and this is reds" in text


def test_paper_is_left_out_for_another_network_than_that_of_the_recipe(tmp_path, capsys):
    run = evaluated(f"{tmp_path}/run", recipe="mimo_unet_ablation", source="gopro")
    files.write_text(f"{run}/config.yaml", "model: {name: mimo_unet, mise: false}")
    assert "run, paper" in text_of(capsys, run)
    files.write_text(f"{run}/config.yaml", "model: {name: mimo_unet, mise: true}")
    text = text_of(capsys, run)
    assert "run, paper" not in text and "model.mise" in text


def test_region_selects_crops_beside_which_figures_of_crops_stand(tmp_path, capsys):
    about = {"from": f"{tmp_path}/run", "data": "data/gopro", "source": "gopro"}
    about |= {"recipe": "improved_deblurgan", "crop": "256x256"}
    card = full_card([1.0, 2.0], about=about)
    regions = {"crops": 3.0, "center": 5.0}  # more decibels in each than in whole images
    values = {
        dataclasses.replace(s, region=region): {**own, "psnr_db": own["psnr_db"] + more}
        for region, more in {"whole": 0.0, **regions}.items()
        for s, own in card.values.items()
    }
    card = dataclasses.replace(card, values=values)
    card.write(f"{tmp_path}/run/evaluation/gopro-test", FULL_FILES)
    run = f"{tmp_path}/run"
    whole = means_of(capsys, run, "--metrics", "psnr_db")
    crops = means_of(capsys, run, "--metrics", "psnr_db", "ssim", "--region", "crops")
    center = means_of(capsys, run, "--metrics", "psnr_db", "--region", "center")
    assert list(whole) == list(center) == ["blurred", "run"]
    assert crops.pop("run, paper") == {"psnr_db": 27.19, "ssim": 0.82}
    assert list(crops) == ["blurred", "run"]
    for name, row in whole.items():
        assert crops[name]["psnr_db"] == pytest.approx(row["psnr_db"] + 3)
        assert center[name]["psnr_db"] == pytest.approx(row["psnr_db"] + 5)
    # The note says why the figures are missing, the caption what is measured.
    for region in ("whole images", "center crop of 256x256"):
        text = text_of(capsys, run, "--region", region.split()[0])
        assert f"crops of 256x256, see --region, and this is of {region}" in text
    text = text_of(capsys, run, "--region", "crops")
    assert text.startswith("gopro, test: 2 images, crops of 256x256")

    # As whole images, tiles of the size of the crops are what the paper measured.
    for size, fits in (("256x256", True), ("128x128", False)):
        tiles = {**card.about, "whole_images": f"tiles of {size}"}
        dataclasses.replace(card, about=tiles).write(f"{run}/evaluation/gopro-test", FULL_FILES)
        assert ("run, paper" in text_of(capsys, run, "--format", "csv")) == fits
    # Crops of another size are not; nor are crops what a paper on whole images measured.
    for other in ({"crop": "128x128"}, {"recipe": "mimo_unet_gopro"}):
        changed = dataclasses.replace(card, about={**card.about, **other})
        changed.write(f"{run}/evaluation/gopro-test", FULL_FILES)
        text = text_of(capsys, run, "--region", "crops", "--format", "csv")
        assert "run, paper" not in text


def test_region_that_was_not_measured_is_named(runs, tiles, tmp_path, capsys):
    peer = pictures(tmp_path / "peer", tiles[2])
    for arguments, named in (
        ([tiles[0]], f"{tiles[0]}/evaluation/data-test/card.json"),
        (runs[:1], f"{runs[0]} holds no full score card"),
        ([tiles[0], peer], peer),
        ([tiles[0], "--frames"], "--frames"),
        ([tiles[0], "--by-epoch"], "--by-epoch"),
    ):
        assert main(["table", *arguments, "--region", "crops"]) == 2
        assert named in capsys.readouterr().err


def test_table_is_written_in_the_format_of_its_suffix(runs, tmp_path, capsys):
    for suffix, start in {
        "md": "cifar10",
        "tex": "% ",
        "html": "<!doctype",
        "csv": "network",
    }.items():
        out = f"{tmp_path}/table.{suffix}"
        assert out in text_of(capsys, *runs, "--out", out, "--labels", "A", "B")
        assert files.read_text(out).startswith(start)
        assert main(["table", *runs, "--out", out]) == 0  # its own file is replaced
    lines = list(csv.DictReader(io.StringIO(files.read_text(f"{tmp_path}/table.csv"))))
    assert [line["source"] for line in lines][:3] == ["measured", "paper", "measured"]
    assert float(lines[1]["mse"]) == pytest.approx(6.317e-3)


def test_file_of_the_user_is_not_overwritten(runs, tmp_path, capsys):
    out = tmp_path / "table.md"
    out.write_text("mine")
    assert main(["table", *runs, "--out", str(out)]) == 2
    assert str(out) in capsys.readouterr().err and out.read_text() == "mine"


def test_full_evaluation_counts_before_a_quick_one(tmp_path, capsys):
    run = evaluated(f"{tmp_path}/run")
    evaluated(run, 1.5, FULL_FILES)
    text = text_of(capsys, run, "--metrics", "ssim_y", "psnr_y")
    assert "SSIM-Y" in text and "PSNR-Y" in text


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """A full evaluation, on tiles, of a network that changes nothing; blurred and sharp frames."""
    folder = str(tmp_path_factory.mktemp("tiles"))
    path, blurred, sharp = write_tiled_set(f"{folder}/data")
    data = EvaluationData(path, "test")
    network = {"restored": lambda images: images}
    values = ("float", "uint8")
    evaluator = SplitEvaluator(network, data, batch_size=6, values=values, frames=0)
    card = evaluator.run(about={"from": f"{folder}/run", "data": path, "split": "test"})
    card.write(f"{folder}/run/evaluation/data-test", FULL_FILES)
    return f"{folder}/run", blurred, sharp


def pictures(folder, frames):
    """Writes frames as another program does; returns their folder."""
    files.make_dirs(str(folder))
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(f"{folder}/scene_{index:04d}.png")
    return str(folder)


def means_of(capsys, *arguments):
    """The unrounded values of a table by network."""
    lines = csv.DictReader(io.StringIO(text_of(capsys, *arguments, "--format", "csv")))
    return {
        line.pop("network"): {key: float(v) for key, v in line.items() if key != "source"}
        for line in lines
    }


def test_pictures_of_another_program_are_one_more_column(tiles, tmp_path, capsys):
    run, blurred, sharp = tiles
    peer, inputs = pictures(tmp_path / "peer", sharp), pictures(tmp_path / "inputs", blurred)
    keys = ("psnr_db", "ssim", "mse")
    means = means_of(capsys, run, peer, inputs, "--metrics", *keys)
    assert list(means) == ["blurred", "run", "peer", "inputs"]
    assert means["peer"]["psnr_db"] == 100 and means["peer"]["mse"] == 0
    # The inputs as pictures have the scores of the network that changes nothing.
    assert means["inputs"] == pytest.approx(means["run"], rel=1e-5)
    text = text_of(capsys, peer, run, "--labels", "theirs", "ours")
    assert text.splitlines()[2].split() == ["blurred", "theirs", "ours"]
    assert "*100.00" in text and f"theirs: {peer}" in text


def test_pictures_need_a_run_that_was_evaluated_with_full(runs, tiles, tmp_path, capsys):
    peer = pictures(tmp_path / "peer", tiles[2])
    for arguments in ([runs[0], peer], [peer], [tiles[0], peer, "--frames"]):
        assert main(["table", *arguments]) == 2
        error = capsys.readouterr().err
        assert f"{peer} holds pictures" in error and "--full" in error


def test_frames_put_together_from_tiles_are_scored_as_wholes(runs, tiles, capsys):
    run, blurred, sharp = tiles
    assert text_of(capsys, run).startswith("data, test: 18 tiles of 16x16")
    whole = "data, test: 3 whole frames of 40x32, stitched from tiles of 16x16"
    assert text_of(capsys, run, "--frames").startswith(whole)
    expected = np.mean(np.square(blurred / 255 - sharp / 255))
    means = means_of(capsys, run, "--frames", "--metrics", "mse")
    assert means["run"]["mse"] == pytest.approx(expected, rel=1e-5)
    # Tiles overlap, so some pixels count twice in their mean.
    assert means_of(capsys, run, "--metrics", "mse")["run"]["mse"] != pytest.approx(expected, 1e-5)
    assert main(["table", runs[0], "--frames"]) == 2
    assert f"{runs[0]} holds no evaluation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--metrics", "psnr"], "psnr_db"),
        (["--labels", "one", "two", "three"], "labels"),
        (["--by-epoch"], "--by-epoch"),
    ],
)
def test_wrong_arguments_are_named(runs, arguments, named, capsys):
    assert main(["table", *runs, *arguments]) == 2
    assert named in capsys.readouterr().err


def test_results_of_other_images_are_refused_with_both_files(runs, tmp_path, capsys):
    other = evaluated(f"{tmp_path}/other", split="val")
    assert main(["table", runs[0], f"{other}/evaluation/cifar10-test"]) == 2
    error = capsys.readouterr().err
    assert f"{runs[0]}/evaluation/cifar10-test/scores.json" in error and other in error


@pytest.mark.parametrize("content", ["{}", "[]", '{"rows": {"restored": 3}, "images": 1}'])
def test_file_that_is_no_result_is_named(tmp_path, content, capsys):
    files.make_dirs(str(tmp_path / "run"))
    files.write_text(f"{tmp_path}/run/scores.json", content)
    assert main(["table", f"{tmp_path}/run"]) == 2
    assert f"{tmp_path}/run/scores.json" in capsys.readouterr().err


def test_unknown_kind_and_missing_kind_are_user_errors(capsys):
    assert main(["tabel"]) == 2 and "'table'" in capsys.readouterr().err
    assert main([]) == 2 and "table" in capsys.readouterr().err
    assert main(["--help"]) == 0 and "table" in capsys.readouterr().out


def test_run_by_epoch_has_the_papers_figures_at_its_epochs(tmp_path, capsys):
    rows = [
        {"images_seen": 2100 * epochs, "epochs": 1.0, "psnr_db": 27.0, "ssim": 0.5, "loss": None}
        for epochs in (20, 30)
    ]
    rows[1]["validation_loss"] = 0.125
    stored = {
        "recipe": "deblurgan_resnet9",
        "data": "gopro_256",
        "split": "test",
        "images": 5,
        "differing": 5,
        "baseline": {"psnr_db": 25.0, "ssim": 0.4},
        "checkpoints": rows,
    }
    files.make_dirs(str(tmp_path / "run"))
    files.write_json(f"{tmp_path}/run/checkpoints.json", stored)
    lines = text_of(capsys, f"{tmp_path}/run", "--by-epoch").splitlines()[2:]
    titles = [line.split("  ")[0] for line in lines[2:10]]
    assert titles[:4] == ["blurred", "20 epochs", "20 epochs, paper", "30 epochs"]
    assert titles[4] == "40 epochs, paper" and "28.46" in lines[4]
    assert "Validation loss" in lines[0] and "0.1250" in lines[5]


def test_networks_stand_across_their_test_sets(runs, tmp_path, capsys):
    evaluated_on(runs[1], "gopro-test", 3.0)
    out = f"{tmp_path}/sets.csv"
    assert main(["sets", *runs, "--metrics", "psnr_db", "--labels", "U", "R"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 networks on 2 test sets"
    rows = {line.split()[0]: line.split()[1:] for line in lines[4:7]}
    assert rows["blurred"] == ["28.49", "28.49"]
    assert rows["U"] == ["*30.49", "-"] and rows["R"] == ["27.49", "*31.49"]
    assert main(["sets", *runs, "--out", out]) == 0
    (_, _, rednet) = csv.DictReader(io.StringIO(files.read_text(out)))
    assert float(rednet["gopro-test/psnr_db"]) == pytest.approx(31.494, abs=1e-3)
    # One of its evaluations, or its file.
    for path in ("gopro-test", "gopro-test/scores.json"):
        assert main(["sets", f"{runs[1]}/evaluation/{path}", "--metrics", "psnr_db"]) == 0
        assert "on 1 test sets" in capsys.readouterr().out
    assert main(["sets", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


def evaluated_on(folder, name, gain):
    card = dataclasses.replace(quick_card(gain), about={"data": name, "split": "test"})
    card.write(f"{folder}/evaluation/{name}", QUICK_FILES)
