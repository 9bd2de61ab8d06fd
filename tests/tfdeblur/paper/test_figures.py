"""The commands that draw: curves, images, sigma and stages."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from data_prep.blur import Blur, item_rng
from tests.helpers.raw_data import picture, save
from tests.helpers.tiled_data import write_tiled_set
from tests.helpers.tiny_data import write_data_set
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import UserError
from tfdeblur.evaluation.given_pictures import ImagePlace
from tfdeblur.io import files
from tfdeblur.ops.tiling import Box
from tfdeblur.paper import images, side_by_side, sigma, stages
from tfdeblur.paper.__main__ import main
from tfdeblur.paper.side_by_side import Strip
from tfdeblur.reports import figures


def write_history(folder, name, rows):
    files.make_dirs(f"{folder}/{name}")
    text = io.StringIO()
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(f"{folder}/{name}/history.csv", text.getvalue())
    return f"{folder}/{name}"


def test_curves_of_two_runs_are_written_as_a_page_and_files(tmp_path, capsys):
    rows = [
        {"images": 10, "epoch": 1.0, "generator/loss": 0.1, "val/psnr_db": 20.0, "val/ssim": 0.5}
    ]
    runs = [write_history(tmp_path, name, rows) for name in ("a", "b")]
    out = f"{tmp_path}/out"
    assert main(["curves", *runs, "--out", out, "--figures", "pdf", "--labels", "A", "B"]) == 0
    printed = capsys.readouterr().out.split()
    assert {f"{out}/curves-figures/{n}.pdf" for n in ("loss", "psnr", "ssim")} <= set(printed)
    page = files.read_text(f"{out}/curves.html")
    assert page.count('class="chart"') == 3 and "B, training" in page
    assert files.read_bytes(f"{out}/curves-figures/psnr.pdf").startswith(b"%PDF")


def test_run_without_history_is_named(tmp_path, capsys):
    assert main(["curves", str(tmp_path / "none")]) == 2
    assert f"{tmp_path}/none/history.csv" in capsys.readouterr().err


@pytest.fixture
def run_and_data(write_run, tmp_path):
    run = str(tmp_path / "run")
    write_run(run)
    return run, write_data_set(f"{tmp_path}/data", {"test": 4, "train": 4})


def test_images_of_networks_and_pictures_stand_side_by_side(run_and_data, tmp_path):
    run, data = run_and_data
    for index in range(4):
        path = f"{tmp_path}/peer/test-scene_{index:04d}.png"
        files.make_dirs(files.parent(path))
        Image.fromarray(np.full((16, 16, 3), 40 * index, np.uint8)).save(path)
    result = images.run(
        images.ImagesConfig(
            runs=(run, f"{tmp_path}/peer"),
            data=data,
            indices=(2,),
            labels=("ours", "theirs"),
            out=f"{tmp_path}/out",
        )
    )
    (strip,) = result.strips
    assert list(strip.restored) == ["ours", "theirs"]
    frame = int(strip.place.frame)
    assert (strip.restored["theirs"] == 40 * frame).all()
    with Image.open(result.path) as picture:
        assert picture.format == "PNG" and picture.width > 800
    # Four pictures, and a magnified region below each; the page has the same.
    assert len(result.figure.axes) == 8
    page = files.read_text(result.page)
    assert page.count("data:image/png;base64,") == 8
    assert f"theirs: {tmp_path}/peer" in page and "region 1: " in page
    for version, image in strip.versions().items():
        assert f"{version}</th><td>" in page
        error = np.mean((image / 255.0 - strip.sharp / 255.0) ** 2)
        assert f"{-10 * np.log10(error):.2f}" in page


def test_frames_are_put_together_for_every_network(write_run, tmp_path):
    run = str(tmp_path / "run")
    write_run(run)
    data, blurred, sharp = write_tiled_set(f"{tmp_path}/data")
    config = images.ImagesConfig(
        runs=(run,), data=data, frames=True, indices=(1,), out=f"{tmp_path}/out"
    )
    (strip,) = images.run(config).strips
    np.testing.assert_array_equal(strip.blurred, blurred[1])
    np.testing.assert_array_equal(strip.sharp, sharp[1])
    assert strip.restored["run"].shape == sharp[1].shape


def strip_of(*versions):
    side = versions[0].shape[0]
    place = ImagePlace("s", "f", Box(0, 0, side, side), (side, side))
    named = {str(index): image for index, image in enumerate(versions)}
    return Strip(place, versions[0], versions[0], named)


def test_region_is_found_where_networks_differ_most():
    first = np.full((72, 72, 3), 100, np.uint8)
    second = first.copy()
    second[40:50, 20:30] = 200
    second[5:10, 60:65] = 140
    found = side_by_side.differing_regions(strip_of(first, second), 2)
    assert found[0].top <= 40 and found[0].bottom >= 50
    assert found[0].left <= 20 and found[0].right >= 30
    assert found[1].top <= 5 and found[1].right >= 65
    assert side_by_side.differing_regions(strip_of(first), 0) == []
    # A picture has room for a limited number of regions that do not overlap.
    assert len(side_by_side.differing_regions(strip_of(first, second), 1000)) <= 36


def test_regions_are_read_and_checked(run_and_data, tmp_path):
    assert side_by_side.parse_region("100,40,64x48") == Box(40, 100, 48, 64)
    for text in ("100,40", "1,2,0x4", "a,b,cxd", "-1,2,3x4"):
        with pytest.raises(UserError, match="LEFT,TOP,WIDTHxHEIGHT"):
            side_by_side.parse_region(text)
    run, data = run_and_data
    outside = images.ImagesConfig(
        runs=(run,), data=data, regions=("8,8,16x16",), out=f"{tmp_path}/out"
    )
    with pytest.raises(UserError, match="8,8,16x16 lies outside"):
        images.run(outside)
    with pytest.raises(UserError, match="indices: 9"):
        images.run(dataclasses.replace(outside, regions=(), indices=(9,)))


def test_sigma_blurs_as_data_preparation_does(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the default folder is
    path = str(tmp_path / "sharp.png")
    Image.fromarray(np.tile(np.arange(0, 240, 10, dtype=np.uint8)[:, None, None], (1, 24, 3))).save(
        path
    )
    out = str(tmp_path / "out")
    assert main(["sigma", path, "--sigmas", "0", "1", "3", "--out", out]) == 0
    assert files.exists(f"{out}/sigma.png")
    result = sigma.run(sigma.SigmaConfig(pictures=(path,), sigmas=(0.0, 2.0), out=out))
    titles = [axes.get_title() for axes in result.figure.axes]
    assert titles[0] == "sigma 0\nexact" and titles[1].startswith("sigma 2\n")
    assert main(["sigma"]) == 2 and "--data" in capsys.readouterr().err
    assert main(["sigma", str(tmp_path / "none.png")]) == 2
    assert "none.png" in capsys.readouterr().err


@pytest.mark.parametrize("width", [0.4, 1.3, 3.0])
def test_sigma_has_the_pixels_of_a_build(width, tmp_path):
    sharp = picture(1)
    path = str(save(tmp_path / "sharp.png", sharp))
    config = sigma.SigmaConfig(pictures=(path,), sigmas=(width,), out=str(tmp_path / "out"))
    (axes,) = sigma.run(config).figure.axes
    shown = axes.images[0].get_array()
    degradation = Degradation(blur="gaussian", min_sigma=width, max_sigma=width)
    built = Blur(degradation).apply(sharp, item_rng(0, "test/00000"))
    assert (built != sharp).any()
    np.testing.assert_array_equal(shown, built)


def test_stages_show_frame_record_crop_flips_and_batch(tmp_path, run_and_data):
    data, _, _ = write_tiled_set(f"{tmp_path}/tiles", split="train")
    out = str(tmp_path / "out")
    figure = stages.run(stages.StagesConfig(data=data, crop=(8, 8), index=2, out=out)).figure
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes][:7]
    assert titles[:2] == ["frame 40x32", "record 16x16"] and titles[2].startswith("crop 8x8 at ")
    assert titles[3:] == ["mirrored", "upside down", "turned", "batch [4, 8, 8, 3]"]
    _, whole = run_and_data
    figure = stages.run(stages.StagesConfig(data=whole, out=out)).figure
    assert figure.axes[0].get_title() == "record 16x16\nblurred"
    with pytest.raises(UserError, match="crop: 40x40"):
        stages.run(stages.StagesConfig(data=whole, crop=(40, 40), out=out))


def test_pictures_of_a_figure_are_the_same_bytes_each_time():
    row = figures.PictureRow("t", {"a": np.zeros((8, 8, 3), np.uint8)}, [Box(1, 1, 4, 4)])
    for extension in ("png", "pdf"):
        first, second = (figures.encoded(figures.draw_pictures([row]), extension) for _ in "ab")
        assert first == second
