"""Evaluation with several networks, values and regions: each setting measures what it names."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.golden.lpips_weights import random_backbone, random_heads
from tests.helpers.array_pairs import make_pairs
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.scores import FULL_FILES, ScoreCard, Setting
from tfdeblur.metrics import CEILING_DB, METRICS
from tfdeblur.metrics.lpips import Lpips
from tfdeblur.metrics.psnr import psnr_db
from tfdeblur.ops import imaging

COMPUTED = [metric for metric in METRICS.values() if metric.compute]
BLURRED = Setting("blurred", "uint8", "whole")


def by_mean(images):
    """A network with global pooling: a crop is restored by its own mean."""
    return images + 0.2 * (0.5 - tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True))


def dark(images):
    return images * 0.98


def psnr(sharp, restored):
    return float(psnr_db(sharp[None], restored[None])[0])


def keys(height, width):
    return [metric.key for metric in COMPUTED if metric.fits(height, width)]


def full_evaluator(networks, data, **options):
    options = {"batch_size": 2, "values": ("float", "uint8"), "timed": True, **options}
    return SplitEvaluator(networks, data, **{"metrics": COMPUTED, **options})


@pytest.fixture(scope="module")
def evaluated():
    data = make_pairs(count=5, height=26, width=40, same=1)
    networks = {"restored": by_mean, "restored_tlc": dark}
    evaluator = full_evaluator(networks, data, crop=(12, 16))
    return data, evaluator.run(about={"crop": "16x12", "tlc_window": 8})


def unit(images):
    return np.float32(images) / np.float32(255)


def test_card_has_every_setting_and_metric(evaluated):
    _, card = evaluated
    assert card.regions == ["whole", "crops", "center"]
    states = [("blurred", "uint8")]
    states += [(s, v) for s in ("restored", "restored_tlc") for v in ("float", "uint8")]
    assert set(card.values) == {Setting(*s, r) for s in states for r in card.regions}
    assert card.primary == Setting("restored_tlc", "float", "whole")
    assert card.images == 5 and list(card.differs) == [False, True, True, True, True]
    for setting, found in card.values.items():
        size = (26, 40) if setting.region == "whole" else (12, 16)
        assert set(found) == set(keys(*size))


def test_uint8_values_are_rounded_before_measuring(evaluated):
    data, card = evaluated
    sharp, restored = unit(data.sharp[3]), np.clip(by_mean(unit(data.blurred[3])[None])[0], 0, 1)
    rounded = np.rint(restored * 255) / np.float32(255)
    for values, image in (("float", restored), ("uint8", rounded)):
        found = card.values[Setting("restored", values, "whole")]["psnr_db"][3]
        assert found == pytest.approx(psnr(sharp, image), abs=1e-4)
    pair = [card.values[Setting("restored", v, "whole")]["psnr_db"][3] for v in ("float", "uint8")]
    assert pair[0] != pair[1]


def test_crops_are_restored_independently_and_averaged(evaluated):
    data, card = evaluated
    sharp, blurred = unit(data.sharp[2]), unit(data.blurred[2])
    # Two rows and two columns of 12x16 fit into 26x40; the rest is omitted.
    places = [(top, left) for top in (0, 12) for left in (0, 16)]
    values = []
    for top, left in [*places, (7, 12)]:
        cut = np.s_[top : top + 12, left : left + 16]
        values.append(psnr(sharp[cut], np.clip(by_mean(blurred[cut][None])[0], 0, 1)))
    whole, crops, center = (
        card.values[Setting("restored", "float", region)]["psnr_db"][2] for region in card.regions
    )
    assert crops == pytest.approx(np.mean(values[:-1]), abs=1e-4)
    assert center == pytest.approx(values[-1], abs=1e-4)
    assert crops != pytest.approx(whole)


def test_psnr_omits_images_whose_input_equals_the_target(evaluated):
    _, card = evaluated
    assert math.isinf(card.values[BLURRED]["psnr_db"][0])
    assert np.isnan(card.column(BLURRED, "psnr_db")[0])
    assert card.column(BLURRED, "ssim")[0] == pytest.approx(1)
    # The crops of an equal pair are at the ceiling, not infinite, and omitted as well.
    crops = Setting("blurred", "uint8", "crops")
    assert card.values[crops]["psnr_db"][0] == CEILING_DB
    assert np.isnan(card.column(crops, "psnr_db")[0])


def test_time_of_the_first_batch_is_omitted(evaluated):
    _, card = evaluated
    assert set(card.seconds) == {"restored", "restored_tlc"}
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in card.seconds.values())


@pytest.mark.parametrize("crop", [(12, 16), (13, 8), None])
def test_crop_that_is_not_smaller_than_the_images_is_ignored(pairs, crop):
    data = pairs(count=2, height=12, width=16, same=0)
    evaluator = full_evaluator({"restored": tf.identity}, data, crop=crop)
    assert not evaluator.has_crops
    card = evaluator.run()
    assert card.regions == ["whole"]
    gain = card.gains(card.primary)["psnr_db"]
    assert gain.mean == pytest.approx(0, abs=1e-5)


@pytest.fixture(scope="module")
def lpips():
    return Lpips("alex", random_backbone("alex") | random_heads("alex"))


def test_lpips_is_measured_on_whole_images_in_every_state(lpips, pairs, tmp_path):
    data = pairs(count=3, height=33, width=40, same=1)
    metric = dataclasses.replace(
        METRICS["lpips_alex"], compute=lpips.distance, prepare=lpips.features
    )
    evaluator = full_evaluator(
        {"restored": by_mean, "restored_tlc": dark},
        data,
        crop=(32, 32),
        metrics=[*METRICS.values(), metric],
    )
    card = evaluator.run()
    assert set(card.metrics) == {*keys(33, 40), "lpips_alex"}
    sharp, blurred = unit(data.sharp), unit(data.blurred)
    restored = np.clip(by_mean(blurred), 0, 1)
    for setting, images in (
        (BLURRED, blurred),
        (Setting("restored", "float", "whole"), restored),
        (Setting("restored", "uint8", "whole"), unit(np.rint(restored * 255))),
        (Setting("restored_tlc", "float", "whole"), dark(blurred)),
    ):
        found = card.values[setting]["lpips_alex"]
        np.testing.assert_allclose(found, lpips(sharp, images), atol=1e-6)
    assert card.column(BLURRED, "lpips_alex")[0] == 0
    assert np.isnan(card.column(Setting("restored", "float", "crops"), "lpips_alex")).all()
    assert any("LPIPS" in note and "whole images only" in note for note in card.notes())
    assert "LPIPS (AlexNet, v0.1)" in card.cells("whole")[0]
    header, rows = card.cells("crops")
    assert "LPIPS" not in " ".join(header) and {len(row) for row in rows} == {len(header)}
    card.write(str(tmp_path), FULL_FILES)
    assert ScoreCard.load(str(tmp_path)).table() == card.table()


def test_pictures_are_restored_by_the_given_network(pairs):
    data = pairs(count=3)
    evaluator = full_evaluator({"restored": by_mean, "restored_tlc": dark}, data)
    (plain,), (converted,) = (evaluator.pictures([1], s) for s in ("restored", "restored_tlc"))
    expected = imaging.to_uint8(dark(unit(data.blurred[1])))
    np.testing.assert_allclose(np.int32(converted.restored), np.int32(expected), atol=1)
    assert (plain.restored != converted.restored).any()
