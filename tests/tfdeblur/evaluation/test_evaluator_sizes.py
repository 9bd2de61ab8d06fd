"""Evaluation of a split whose images differ in size: as each size alone, weighted by images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.array_pairs import ArrayPairs
from tests.helpers.tiny_data import write_mixed_set
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.scores import FULL_FILES, ScoreCard, Setting
from tfdeblur.execution.tensorflow import TensorFlowExecutor
from tfdeblur.inference.restorer import Restorer
from tfdeblur.inference.tiles import Tiles
from tfdeblur.metrics import METRICS
from tfdeblur.training.engines.tensorflow import runtime

# Height, width, images of each shard; no size is a multiple of another.
SIZES = [(13, 30, [2, 1]), (22, 18, [1]), (22, 26, [4])]


def by_mean(images):
    """A network with global pooling, whose result depends on all pixels of an image."""
    return images + 0.2 * (0.5 - tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    path, groups = write_mixed_set(str(tmp_path_factory.mktemp("mixed")), SIZES)
    alone = [
        ArrayPairs(np.stack([r.blurred for r in group]), np.stack([r.sharp for r in group]))
        for group in groups
    ]
    return EvaluationData(path, "test"), alone


def evaluator_of(data, network=by_mean, **options):
    options = {"metrics": list(METRICS.values()), "batch_size": 2, **options}
    return SplitEvaluator({"restored": network}, data, **options)


@pytest.mark.slow
def test_scores_are_those_of_each_size_weighted_by_images(mixed, tmp_path):
    data, alone = mixed
    options = {"crop": (12, 14), "values": ("float", "uint8"), "timed": True}
    card = evaluator_of(data, **options).run()
    cards = [evaluator_of(pairs, **options).run() for pairs in alone]
    assert card.frames == [f"{index:04d}" for index in range(8)]
    assert card.scenes == [f"scene{index % 2}" for index in range(8)]
    assert set(card.values) == set(cards[0].values)
    for setting, found in card.values.items():
        assert set(found) == set(cards[0].values[setting]) and "ssim" in found
        for metric, values in found.items():
            wanted = np.concatenate([one.values[setting][metric] for one in cards])
            np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-6, err_msg=metric)
        weighted = sum(one.images * one.means(setting)["psnr_db"] for one in cards) / 8
        assert card.means(setting)["psnr_db"] == pytest.approx(weighted, rel=1e-5)
    lost = np.concatenate([one.lost_gradient for one in cards])
    np.testing.assert_allclose(card.lost_gradient, lost, atol=1e-5)
    # Batches of 2: of 3, 1 and 4 images the first batch of each size is not timed.
    assert len(card.seconds["restored"]) == 1 + 0 + 1
    assert card.about["image_sizes"] == "30x13, 18x22, 26x22"
    card.write(str(tmp_path), FULL_FILES)
    loaded = ScoreCard.load(str(tmp_path))
    assert loaded.frames == card.frames and loaded.about == card.about


@pytest.mark.slow
def test_two_replicas_equal_one(mixed):
    executor = TensorFlowExecutor(runtime.make_strategy("mirrored"))
    evaluator = evaluator_of(mixed[0], batch_size=1, executor=executor)
    spread, alone = evaluator.run(), evaluator_of(mixed[0]).run()
    assert spread.frames == alone.frames
    for metric, values in alone.values[alone.primary].items():
        found = spread.values[spread.primary][metric]
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-6, err_msg=metric)
    assert [t.index for t in evaluator.pictures([6, 0, 3])] == [6, 0, 3]


def test_network_is_traced_once_for_each_size(mixed, caplog, capfd):
    traced = []

    def network(images):
        traced.append(tuple(images.shape))
        return images * 0.9

    evaluator = evaluator_of(mixed[0], network, metrics=[METRICS["mse"]], batch_size=3)
    first, second = evaluator.run(), evaluator.run()
    evaluator.pictures(range(8))
    list(evaluator.triplets())
    assert traced == [(3, 13, 30, 3), (1, 22, 18, 3), (3, 22, 26, 3)]
    np.testing.assert_array_equal(*(card.values[card.primary]["mse"] for card in (first, second)))
    assert "retracing" not in caplog.text + capfd.readouterr().err


def test_pictures_come_in_the_given_order(mixed):
    data, alone = mixed
    evaluator = evaluator_of(data, tf.identity)
    stored = [image for pairs in alone for image in pairs.blurred]
    order = [7, 0, 3, 99, 2, 5]
    found = evaluator.pictures(order)
    assert [triplet.index for triplet in found] == [7, 0, 3, 2, 5]
    every = list(evaluator.triplets())
    assert [triplet.index for triplet in every] == list(range(8))
    for triplet in [*found, *every]:
        assert triplet.frame == f"{triplet.index:04d}"
        np.testing.assert_array_equal(triplet.blurred, stored[triplet.index])
        np.testing.assert_array_equal(triplet.restored, stored[triplet.index])


def test_what_does_not_fit_the_smallest_size_is_omitted_and_named(tmp_path):
    path, _ = write_mixed_set(str(tmp_path), [(8, 30, [1]), (24, 24, [2])])
    card = evaluator_of(EvaluationData(path, "test"), crop=(16, 16)).run()
    assert card.regions == ["whole"] and card.metrics == [
        "psnr_db",
        "psnr_y",
        "mse",
        "mae",
        "log_cosh",
    ]
    assert set(card.about["omitted_metrics"]) >= {"ssim", "ms_ssim"}
    assert "lpips_alex" not in card.about["omitted_metrics"]
    assert sum("SSIM is omitted" in note for note in card.notes()) >= 2


def test_crops_may_be_as_large_as_the_smallest_images(tmp_path):
    path, _ = write_mixed_set(str(tmp_path), [(12, 14, [1]), (24, 28, [2])])
    card = evaluator_of(EvaluationData(path, "test"), crop=(12, 14)).run()
    whole, crops, center = (
        card.values[Setting("restored", "float", region)]["mse"] for region in card.regions
    )
    assert whole[0] == pytest.approx(crops[0]) == pytest.approx(center[0])
    assert abs(whole[1] - crops[1]) > 1e-6


def test_images_and_crops_restored_in_tiles_score_as_whole_ones(tmp_path):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Conv2D(count, 3, padding="same") for count in (8, 3)]
    network = keras.Sequential([keras.Input((None, None, 3)), *layers])
    path, _ = write_mixed_set(str(tmp_path / "data"), [(30, 40, [2]), (44, 28, [1])])
    data = EvaluationData(path, "test")
    options = {"metrics": None, "crop": (26, 25)}
    whole = evaluator_of(data, Restorer(network).restore, **options)
    # The margins that are discarded exceed what the network sees.
    tiled = Restorer(network, tiles=Tiles(24, 12))
    divided = evaluator_of(data, tiled.deblur, on_host=True, **options)
    expected, found = whole.run(), divided.run()
    assert set(found.values) == set(expected.values)
    for setting, values in expected.values.items():
        for key, column in values.items():
            np.testing.assert_allclose(found.values[setting][key], column, rtol=1e-5, atol=1e-5)
    for one, other in zip(whole.pictures(range(3)), divided.pictures(range(3)), strict=True):
        np.testing.assert_allclose(one.restored, other.restored, atol=1)
