"""The full pass: every setting measures what it says, on what it says."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.golden.lpips_weights import random_backbone, random_heads
from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.full_card import FullCard, Setting
from tfdeblur.evaluation.full_pass import FullEvaluator
from tfdeblur.evaluation.scores import CEILING_DB
from tfdeblur.metrics import protocols
from tfdeblur.metrics.lpips import Lpips


def by_mean(images):
    """A network with global pooling: what it does to a crop depends on the crop's own mean."""
    return images + 0.2 * (0.5 - tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True))


def psnr(sharp, restored):
    return float(protocols.MEASURES["psnr"].function(sharp[None], restored[None])[0])


@pytest.fixture(scope="module")
def judged():
    from tests.tfdeblur.evaluation.conftest import make_pairs

    data = make_pairs(count=5, height=26, width=40, same=1)
    networks = {"restored": by_mean, "restored_tlc": lambda images: images * 0.98}
    evaluator = FullEvaluator(networks, data, batch_size=2, crop=(12, 16))
    return data, evaluator.run(progress=False, about={"crop": "16x12", "tlc_window": 8})


def unit(images):
    return np.float32(images) / np.float32(255)


def test_every_setting_is_there(judged):
    _, card = judged
    assert card.regions == ["whole", "crops", "center"]
    states = [("blurred", "uint8")]
    states += [(s, v) for s in ("restored", "restored_tlc") for v in ("float", "uint8")]
    assert set(card.values) == {Setting(*s, r) for s in states for r in card.regions}
    assert card.primary == Setting("restored_tlc", "float", "whole")
    assert card.images == 5 and list(card.differs) == [False, True, True, True, True]
    names = set(protocols.fitting(26, 40))
    assert all(set(found) == names for found in card.values.values())


def test_rounding_is_done_before_measuring(judged):
    data, card = judged
    sharp, restored = unit(data.sharp[3]), np.clip(by_mean(unit(data.blurred[3])[None])[0], 0, 1)
    rounded = np.rint(restored * 255) / np.float32(255)
    for values, image in (("float", restored), ("uint8", rounded)):
        found = card.values[Setting("restored", values, "whole")]["psnr"][3]
        assert found == pytest.approx(psnr(sharp, image), abs=1e-4)
    pair = [card.values[Setting("restored", v, "whole")]["psnr"][3] for v in ("float", "uint8")]
    assert pair[0] != pair[1]


def test_crops_are_restored_by_themselves_and_averaged(judged):
    data, card = judged
    sharp, blurred = unit(data.sharp[2]), unit(data.blurred[2])
    # Two rows and two columns of 12x16 fit in 26x40; the rest is left out.
    places = [(top, left) for top in (0, 12) for left in (0, 16)]
    values = []
    for top, left in [*places, (7, 12)]:
        cut = np.s_[top : top + 12, left : left + 16]
        values.append(psnr(sharp[cut], np.clip(by_mean(blurred[cut][None])[0], 0, 1)))
    crops = card.values[Setting("restored", "float", "crops")]["psnr"][2]
    center = card.values[Setting("restored", "float", "center")]["psnr"][2]
    assert crops == pytest.approx(np.mean(values[:-1]), abs=1e-4)
    assert center == pytest.approx(values[-1], abs=1e-4)
    assert crops != pytest.approx(card.values[Setting("restored", "float", "whole")]["psnr"][2])


def test_images_that_are_the_truth_count_in_no_psnr(judged):
    _, card = judged
    setting = Setting("blurred", "uint8", "whole")
    assert math.isinf(card.values[setting]["psnr"][0])
    assert np.isnan(card.column(setting, "psnr")[0])
    assert card.column(setting, "ssim")[0] == pytest.approx(1)
    # The crops of an equal pair are the ceiling, not infinite, and left out as well.
    crops = Setting("blurred", "uint8", "crops")
    assert card.values[crops]["psnr"][0] == CEILING_DB
    assert np.isnan(card.column(crops, "psnr")[0])


def test_time_leaves_the_first_batch_out(judged):
    _, card = judged
    assert set(card.seconds) == {"restored", "restored_tlc"}
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in card.seconds.values())


def test_a_crop_as_large_as_the_images_is_no_crop(pairs):
    data = pairs(count=2, height=12, width=16, same=0)
    for crop in ((12, 16), (13, 8), None):
        evaluator = FullEvaluator({"restored": tf.identity}, data, batch_size=2, crop=crop)
        assert not evaluator.has_crops
    card = evaluator.run(progress=False)
    assert card.regions == ["whole"]
    gain = card.gains(card.primary)["psnr"]
    assert gain.mean == pytest.approx(0, abs=1e-5)


def test_an_empty_split_is_refused(pairs):
    data = pairs()
    empty = data.dataset(2).take(0)
    data.dataset = lambda batch_size: empty
    with pytest.raises(DataError, match="no images"):
        FullEvaluator({"restored": tf.identity}, data, batch_size=2).run(progress=False)


@pytest.fixture(scope="module")
def lpips():
    return {"lpips_alex": Lpips("alex", random_backbone("alex") | random_heads("alex"))}


def test_lpips_is_measured_of_whole_images_in_every_state(lpips, pairs, tmp_path):
    data = pairs(count=3, height=33, width=40, same=1)
    networks = {"restored": by_mean, "restored_tlc": lambda images: images * 0.98}
    evaluator = FullEvaluator(networks, data, batch_size=2, crop=(32, 32), lpips=lpips)
    card = evaluator.run(progress=False)
    assert card.measures == [*protocols.fitting(33, 40), "lpips_alex"]
    sharp, blurred = unit(data.sharp), unit(data.blurred)
    restored = np.clip(by_mean(blurred), 0, 1)
    rounded = np.rint(restored * 255) / np.float32(255)
    measure = lpips["lpips_alex"]
    for setting, images in (
        (Setting("blurred", "uint8", "whole"), blurred),
        (Setting("restored", "float", "whole"), restored),
        (Setting("restored", "uint8", "whole"), rounded),
        (Setting("restored_tlc", "float", "whole"), blurred * np.float32(0.98)),
    ):
        found = card.values[setting]["lpips_alex"]
        np.testing.assert_allclose(found, measure(sharp, images), atol=1e-6)
    assert card.column(Setting("blurred", "uint8", "whole"), "lpips_alex")[0] == 0
    assert np.isnan(card.column(Setting("restored", "float", "crops"), "lpips_alex")).all()
    assert "LPIPS is measured of whole images only." in card.notes()
    assert card.cells("whole")[0][-1] == "LPIPS (AlexNet, v0.1)"
    header, rows = card.cells("crops")
    assert header[-1] == "SSIM-Y" and {len(row) for row in rows} == {len(header)}
    card.write(str(tmp_path))
    assert FullCard.load(str(tmp_path)).table() == card.table()


def test_images_too_small_for_lpips_are_refused_before_the_work(lpips, pairs):
    data = pairs(count=2, height=30, width=40)
    with pytest.raises(UserError, match=r"at least 31x31 .* are 40x30\. Leave alex out of --lpips"):
        FullEvaluator({"restored": tf.identity}, data, batch_size=2, lpips=lpips)
    assert data.read == 0


def test_a_card_is_read_as_it_was_written(judged, tmp_path):
    _, card = judged
    card.write(str(tmp_path))
    read = FullCard.load(str(tmp_path))
    assert read.to_dict() == card.to_dict()
    assert read.table() == card.table()
    for setting, found in card.values.items():
        for measure, values in found.items():
            np.testing.assert_array_equal(read.values[setting][measure], values)
