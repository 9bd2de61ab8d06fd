"""The page shows each image with its own target, whatever changed between two starts."""

import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from tfdeblur.io import files
from tfdeblur.training import gallery
from tfdeblur.training.gallery import Gallery, Pictures, Validation
from tfdeblur.training.history import History
from tfdeblur.training.loop import Report

SCORES = {"psnr_db": 30.0, "ssim": 0.9}


def picture(number):
    return np.full([4, 6, 3], number, np.uint8)


def show(folder, images, records, offset=0, validated=True):
    """Writes the page as a new process; the pixels of an image identify it."""
    files.make_dirs(folder)
    sharp = [picture(offset + record) for record in records]
    pictures = Pictures(
        kind="Validation image" if validated else "Training sample",
        records=records,
        blurred=[image + 100 for image in sharp],
        restored=[image + 200 for image in sharp],
        sharp=sharp,
    )
    validation = Validation(SCORES, SCORES, pictures) if validated else None
    history = History(folder, images)
    history.add(images, {"generator/loss": 0.5})
    report = Report(images, 100, {}, 0.0, False)
    Gallery(folder, "a run", []).add(report, pictures, history, validation)
    return files.read_text(files.join(folder, "index.html"))


def pixel(folder, name):
    return int(tf.io.decode_png(files.read_bytes(files.join(folder, "pictures", name)))[0, 0, 0])


def names(folder):
    return files.list_dir(files.join(folder, "pictures"))


def test_fewer_images_keep_their_records(folder):
    show(folder, 11, [0, 1, 2, 3, 4, 5])
    page = show(folder, 22, [0, 2, 5])
    assert pixel(folder, "000002-restored-000000000011.png") == 202
    assert pixel(folder, "000002-restored-000000000022.png") == 202
    assert pixel(folder, "000005-restored-000000000022.png") == 205
    assert pixel(folder, "000005-sharp.png") == 5
    assert "000005-restored-000000000011.png" in page and "000001-" not in page
    assert "000001-restored-000000000011.png" in names(folder)


def test_long_runs_keep_some_stages_of_each_image(folder):
    kept = []
    for stage in range(100, 30_000, 100):
        kept.append(stage)
        kept = [one for one in kept if one not in gallery._surplus(kept)]
    assert len(kept) == gallery._MAX_STAGES and (kept[0], kept[-1]) == (100, 29_900)
    assert max(after / before for before, after in itertools.pairwise(kept)) < 2.5
    shown = gallery._spread(kept)
    assert len(shown) == 6 and max(b / a for a, b in itertools.pairwise(shown)) < 6
    for stage in range(11, 11 * 28, 11):
        page = show(folder, stage, [3])
    found = [name for name in names(folder) if "restored" in name]
    assert len(found) == gallery._MAX_STAGES and "000003-restored-000000000297.png" in page
    assert len(set(re.findall(r"000003-restored-\d+\.png", page))) == 6


def test_other_split_replaces_images_and_stages(folder):
    show(folder, 11, [0, 3])
    page = show(folder, 22, [0, 3], offset=50)
    assert [pixel(folder, f"000003-{kind}.png") for kind in ("blurred", "sharp")] == [153, 53]
    assert "000003-restored-000000000011.png" not in page
    assert "000003-restored-000000000011.png" not in names(folder)
    assert pixel(folder, "000003-restored-000000000022.png") == 253


@pytest.mark.parametrize("damage", [b"", b"no image"])
def test_truncated_image_is_rewritten(folder, damage):
    show(folder, 11, [0])
    files.write_bytes(files.join(folder, "pictures", "000000-sharp.png"), damage)
    show(folder, 22, [0])
    assert pixel(folder, "000000-sharp.png") == 0


def test_later_stages_are_not_shown(folder):
    show(folder, 22, [0])
    page = show(folder, 11, [0])
    assert "000000-restored-000000000011.png" in page
    assert "000000-restored-000000000022.png" not in page


def test_page_without_validation_shows_training_samples_and_curves(folder):
    page = show(folder, 11, [0, 1], validated=False)
    assert "Training sample 1" in page and "000001-restored-000000000011.png" in page
    assert "Training and validation loss" in page and "11 images" in page
    assert "Validation" not in page
    assert "Validation PSNR" in show(folder, 22, [0, 1])


def test_training_psnr_and_time_of_an_epoch_are_on_the_page_and_in_tensorboard(tmp_path):
    folder = str(tmp_path)
    show(folder, 11, [0])
    history = History(folder, 22)
    history.add(22, {"train/psnr_db": 21.75, "epoch_seconds": 5400.0})
    history.write()
    page = show(folder, 33, [0])
    (text,) = re.findall(r"<dl.*?</dl>", page, re.S)
    rows = dict(re.findall(r"<dt>(.*?)</dt>\s*<dd>(.*?)</dd>", text))
    assert (rows["Training PSNR"], rows["Time of an epoch"]) == ("21.75 dB", "1.5 h")
    curves = EventAccumulator(files.join(folder, "tensorboard"))
    curves.Reload()
    for name, value in (("train/psnr_db", 21.75), ("epoch_seconds", 5400.0)):
        (point,) = curves.Tensors(name)
        assert (point.step, float(tf.make_ndarray(point.tensor_proto))) == (22, value)


def test_page_without_images_shows_curves(folder):
    page = show(folder, 11, [], validated=False)
    assert "Training and validation loss" in page and ".png" not in page
    assert not names(folder)
