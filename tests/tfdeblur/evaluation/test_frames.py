"""Whole frames put together from tiles, and their scores beside those of the tiles."""

import numpy as np
import pytest

from data_prep import build
from tests.helpers.tiled_data import write_tiled_set
from tests.helpers.tiny_data import write_data_set
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.evaluate import EvaluateConfig, run
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.scores import QUICK_FILES, Setting
from tfdeblur.evaluation.stitching import Stitcher
from tfdeblur.io import files
from tfdeblur.ops import tiling

WHOLE = Setting("restored", "float", "whole")


def test_tiles_in_any_order_give_the_frame_once():
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
    boxes = tiling.grid(20, 24, 8, 8, 8, 8, cover=True)
    stitcher = Stitcher()
    found = []
    for place in [*rng.permutation(len(boxes)), 0]:
        box = boxes[place]
        where = np.array([box.top, box.left, 20, 24])
        images = {"a": frame[box.slices], "b": frame[box.slices] / np.float32(255)}
        found.append(stitcher.add("s", "f", where, images))
    (whole,) = [one for one in found if one is not None]
    np.testing.assert_array_equal(whole.images["a"], frame)
    np.testing.assert_allclose(whole.images["b"], frame / 255, atol=1e-6)
    assert whole.images["a"].dtype == np.uint8 and whole.images["b"].dtype == np.float32
    assert stitcher.incomplete == 0


def test_overlapping_pixels_are_averaged_and_whole_images_ignored():
    stitcher = Stitcher()
    for left, value in ((0, 10), (2, 30)):
        tile = np.full((4, 4, 3), value, np.uint8)
        frame = stitcher.add("s", "f", np.array([0, left, 4, 6]), {"x": tile})
    assert frame.images["x"][0, :, 0].tolist() == [10, 10, 20, 20, 30, 30]
    assert stitcher.add("s", "g", np.array([0, 0, 4, 4]), {"x": tile}) is None
    assert stitcher.add("s", "h", np.array([0, 0, 9, 4]), {"x": tile}) is None
    assert stitcher.incomplete == 1


def evaluate(path, split="test", batch_size=5, frames=2):
    data = EvaluationData(path, split)
    network = {"restored": lambda images: images * 0.9 + 0.05}
    evaluator = SplitEvaluator(network, data, batch_size=batch_size, frames=frames)
    return evaluator, evaluator.run(about={"split": split})


def test_frames_are_scored_as_if_evaluated_whole(tmp_path):
    path, blurred, sharp = write_tiled_set(f"{tmp_path}/data")
    evaluator, card = evaluate(path)
    frames = card.whole_frames
    assert frames.images == 3 and frames.frames == ["0000", "0001", "0002"]
    restored = np.clip(blurred / 255 * 0.9 + 0.05, 0, 1)
    mse = np.mean((restored - sharp / 255) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(frames.values[WHOLE]["mse"], mse, rtol=1e-5)
    np.testing.assert_allclose(frames.values[WHOLE]["psnr_db"], -10 * np.log10(mse), rtol=1e-5)
    table = card.table()
    assert "tiles of 16x16" in table
    assert "whole frames of 40x32, stitched from tiles of 16x16" in table
    kept = evaluator.frames(card.primary)
    assert [triplet.frame for triplet in kept] == ["0000", "0001"]
    np.testing.assert_array_equal(kept[1].sharp, sharp[1])
    np.testing.assert_allclose(kept[1].restored, np.rint(restored[1] * 255), atol=1)
    card.write(f"{tmp_path}/out", QUICK_FILES)
    assert files.read_json(f"{tmp_path}/out/frames.json")["images"] == 3
    assert files.read_json(f"{tmp_path}/out/scores.json")["images"] == card.images


def test_incomplete_frames_are_counted_and_left_out(tmp_path):
    path, _, _ = write_tiled_set(f"{tmp_path}/data")
    data = EvaluationData(path, "test", limit=9)  # six tiles make a frame
    evaluator = SplitEvaluator({"restored": lambda x: x}, data, batch_size=4, frames=0)
    card = evaluator.run()
    assert card.whole_frames.images == 1 and "1 frames are left out" in card.table()
    incomplete, _, _ = write_tiled_set(f"{tmp_path}/other", omit=(3,))
    assert evaluate(incomplete)[1].whole_frames is None


@pytest.mark.parametrize("frames", [None, 3])
def test_whole_images_have_no_frames(tmp_path, frames):
    path = write_data_set(f"{tmp_path}/data", {"test": 4})
    _, card = evaluate(path, frames=frames)
    assert card.whole_frames is None and "whole images" in card.table()


@pytest.mark.slow
def test_frames_of_reds_are_scored_whole_and_in_the_tiles_of_its_recipes(real_data, tmp_path):
    built = f"{tmp_path}/reds"
    flags = ["--source", str(real_data / "reds"), "--test-scenes", "020", "--out", built]
    tiles = ["--resize", "512x288", "--tile", "128x96", "--test-tile", "128x96"]
    assert build.main(["reds", *flags, *tiles]) == 0
    run(EvaluateConfig(model="nafnet16-photo", data=built, out=f"{tmp_path}/tiles", pictures=0))
    tiles = files.read_json(f"{tmp_path}/tiles/scores.json")
    frames = files.read_json(f"{tmp_path}/tiles/frames.json")
    assert (tiles["images"], frames["images"]) == (48, 4)
    # The input has no seams: its error is the same, averaged over tiles or over frames.
    key = "blurred"
    assert frames["rows"][key]["mse"] == pytest.approx(tiles["rows"][key]["mse"], rel=1e-5)
