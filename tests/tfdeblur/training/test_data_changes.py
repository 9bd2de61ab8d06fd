"""Warnings of a run that resumes on other data, in another order or on another engine."""

import pytest

from tfdeblur.training.data_changes import changes_since

ONE_SET = {"records": 24, "training shards": "aa", "validation shards": "cc"}
ORDER = {"seed": 0, "data.shuffle_block": 16, "data.weights": None}
DATA = {"sets": [ONE_SET], "order": ORDER}
TENSORFLOW = {"name": "tensorflow", "devices": 2, "batch norm per replica": ["generator"]}
JAX = {"name": "jax", "devices": 2, "batch norm per replica": []}
REPEATS = "some images of this epoch repeat and others are left out"


def changes(now=DATA, before=DATA, images=32, averaged=False, averages=False):
    meta = {"images": images, "averaged": averaged, "data": before}
    return changes_since(meta, now, TENSORFLOW, averages)


def moved(before, now=JAX):
    return changes_since({"images": 32, "data": DATA, "engine": before}, DATA, now, averages=False)


def with_set(**values):
    return {**DATA, "sets": [{**ONE_SET, **values}]}


def with_order(**values):
    return {**DATA, "order": {**ORDER, **values}}


def test_same_data_give_no_warning():
    assert changes() == []
    assert changes(averaged=True, averages=True) == []


def test_checkpoint_without_record_of_its_data_gives_no_warning():
    assert changes_since({"images": 32}, DATA, TENSORFLOW, averages=False) == []


def test_more_records_in_mid_epoch_name_both_epochs_and_repeats():
    (warning,) = changes(with_set(**{"records": 40, "training shards": "bb"}))
    assert "an epoch had 24 images and now has 40" in warning
    assert "epoch 1.33 becomes epoch 0.80" in warning
    assert REPEATS in warning


def test_other_records_at_end_of_epoch_name_new_order_without_repeats():
    (warning,) = changes(with_set(**{"training shards": "bb"}), images=48)
    assert "24 images" in warning
    assert "The order of the images is new." in warning
    assert REPEATS not in warning


def test_swapped_data_sets_repeat_images_at_any_count():
    other = {**ONE_SET, "training shards": "bb"}
    pair, swapped = ({**DATA, "sets": sets} for sets in ([ONE_SET, other], [other, ONE_SET]))
    (warning,) = changes(swapped, pair, images=48)
    assert REPEATS in warning  # Each data set has epochs of its own.


def test_other_validation_split_gives_warning():
    (warning,) = changes(with_set(**{"validation shards": None}))
    assert warning.startswith("the validation split")


def test_added_data_set_leaves_the_validation_split_unchanged():
    added = {**ONE_SET, "training shards": "bb", "validation shards": "dd"}
    both = {"order": ORDER, "sets": [ONE_SET, added]}
    # With the record of earlier versions, and with that of this one.
    for before, now in ((DATA, both), ({**DATA, "validated": "cc"}, {**both, "validated": "cc"})):
        (warning,) = changes(now, before)
        assert warning.startswith("the data differ")
    # A sharp data set in front is not validated on.
    now = {"order": ORDER, "sets": [added, ONE_SET], "validated": "cc"}
    assert len(changes(now, {**DATA, "validated": "cc"})) == 1
    assert len(changes({**now, "validated": "dd"}, {**DATA, "validated": "cc"})) == 2
    # There were no scores before.
    assert len(changes(now, {**with_set(**{"validation shards": None}), "validated": None})) == 1


def test_other_order_in_mid_epoch_names_settings_and_repeats():
    (warning,) = changes(with_order(seed=5, **{"data.shuffle_block": 4}))
    assert warning.startswith("seed 0 -> 5, data.shuffle_block 16 -> 4")
    assert REPEATS in warning


def test_other_order_at_end_of_epoch_gives_no_warning():
    assert changes(with_order(seed=5), images=48) == []


def test_removed_averages_give_warning():
    (warning,) = changes(averaged=True)
    assert warning.startswith("training.ema_decay was removed")


@pytest.mark.parametrize(
    ("before", "now", "named"),
    [
        (TENSORFLOW, JAX, ["of the generator used", "2 replicas", "tensorflow on 2 devices"]),
        (JAX, TENSORFLOW, ["of the generator used", "2 replicas", "--engine jax it"]),
        ({**JAX, "devices": 1}, TENSORFLOW, ["2 replicas", "--engine jax it"]),
        (TENSORFLOW, {**TENSORFLOW, "devices": 8}, ["2 replicas", "8 replicas"]),
        ({**TENSORFLOW, "devices": 1}, TENSORFLOW, ["2 replicas", "tensorflow on 1 device it"]),
        (
            {**TENSORFLOW, "devices": 8, "batch norm per replica": ["generator", "critic"]},
            JAX,
            ["the generator and the critic", "8 replicas"],
        ),
    ],
    ids=["to jax", "from jax", "from one device", "more replicas", "from one replica", "both"],
)
def test_batch_norm_over_other_parts_of_a_batch_names_networks_and_replicas(before, now, named):
    (warning,) = moved(before, now)
    assert warning.startswith("batch norm") and "\n" not in warning
    for words in named:
        assert words in warning


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (TENSORFLOW, TENSORFLOW),
        (JAX, JAX),
        (JAX, {**TENSORFLOW, "devices": 1}),
        ({**TENSORFLOW, "devices": 1}, JAX),
        ({**TENSORFLOW, "batch norm per replica": []}, JAX),
        (JAX, {**TENSORFLOW, "batch norm per replica": []}),
        (None, JAX),
    ],
    ids=["same", "jax", "to one", "from one", "synchronized", "to synchronized", "not recorded"],
)
def test_batch_norm_over_the_same_parts_of_a_batch_gives_no_warning(before, now):
    assert moved(before, now) == []
