"""Saving, restoring and loading checkpoints."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toys import (
    TwoNetworks,
    toy_batch,
    toy_config,
    toy_generator,
    toy_run,
    toy_state,
    weights,
)
from tfdeblur import models
from tfdeblur.checkpoints.arrays import read_arrays
from tfdeblur.checkpoints.manifest import STATE, WEIGHTS, sealed, verify_checkpoint
from tfdeblur.checkpoints.store import CheckpointStore
from tfdeblur.checkpoints.weights import checkpoint_folder, load_generator
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files


@pytest.fixture(params=["local", "ram"])
def workdir(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"ram://checkpoint-{tmp_path.name}"


def train(state, step, seeds):
    for seed in seeds:
        step(toy_batch(seed=seed))
        state.images.assign_add(8)


def test_resume_after_three_of_six_steps_gives_identical_state(workdir):
    """Includes dropout, batch norm, two optimizers and averages."""
    tf.config.experimental.enable_op_determinism()
    uninterrupted, step = toy_run()
    train(uninterrupted, step, range(6))

    first, step = toy_run()
    train(first, step, range(3))
    CheckpointStore(workdir, keep=2).save(first, {})
    second, step = toy_run(seed=5)
    assert CheckpointStore(workdir, keep=2).restore_latest(second).endswith("000000000024")
    train(second, step, range(3, 6))

    got, expected = second.arrays(), uninterrupted.arrays()
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_save_beyond_keep_deletes_old_and_unfinished_checkpoints(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    files.make_dirs(store.path(7))
    files.write_text(files.join(store.path(7), STATE), "cut off")
    for images in (8, 16, 24):
        state.images.assign(images)
        store.save(state, {"psnr_db": 1.0})
    assert store.images() == [16, 24]
    assert files.list_dir(files.join(workdir, "checkpoints")) == ["000000000016", "000000000024"]


def test_save_with_keep_all_deletes_unfinished_checkpoints_only(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep="all")
    files.make_dirs(store.path(7))
    for images in (8, 16, 24):
        state.images.assign(images)
        folder = store.save(state, {})
    assert store.images() == [8, 16, 24]
    assert not files.exists(store.path(7))
    assert verify_checkpoint(folder)["epoch_images"] == 64


def test_restore_latest_without_meta_uses_checkpoint_before(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=5)
    for images in (8, 16):
        state.images.assign(images)
        store.save(state, {})
    files.remove(files.join(store.path(16), "meta.json"))
    fresh, _ = toy_run(seed=3)
    assert store.restore_latest(fresh).endswith("000000000008")
    assert fresh.images_seen == 8


def test_verify_unknown_format_raises_data_error(workdir):
    state, _ = toy_run()
    folder = CheckpointStore(workdir, keep=2).save(state, {})
    path = files.join(folder, "meta.json")
    files.write_json(path, sealed({**files.read_json(path), "format": 99}))
    with pytest.raises(DataError, match="format 99"):
        verify_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_norm": False}, "surplus .*generator/batch_normalization/beta"),
        ({"width": 5}, "of another shape .*generator/batch_normalization/beta"),
        ({"optimizer": "rmsprop"}, "surplus .*optimizer/.*momentum"),
        ({"ema_decay": 0.9}, "missing .*generator_average/"),
    ],
)
def test_restore_latest_into_other_state_names_the_arrays(change, named, workdir):
    def build(batch_norm=True, width=4, optimizer="adam", ema_decay=None):
        run_config = toy_config(
            optimizer={"name": optimizer}, training={"ema_decay": ema_decay} if ema_decay else {}
        )
        generator = toy_generator(batch_norm=batch_norm, width=width)
        return toy_state(run_config, generator, TwoNetworks())

    store = CheckpointStore(workdir, keep=2)
    folder = store.save(build(), {})
    other = build(**change)
    before = other.arrays()
    with pytest.raises(DataError, match=f"{folder} does not fit this run: .*{named}"):
        store.restore_latest(other)
    for name, value in other.arrays().items():
        np.testing.assert_array_equal(value, before[name])


def test_restore_latest_without_ema_drops_averages(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    state.images.assign(8)
    store.save(state, {})
    generator = toy_generator(batch_norm=True, dropout=0.5)
    plain = toy_state(toy_config(), generator, TwoNetworks())
    store.restore_latest(plain)
    expected = state.arrays()
    for name, value in plain.arrays().items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_save_with_full_disk_keeps_earlier_checkpoints(tmp_path, monkeypatch):
    state, _ = toy_run()
    store = CheckpointStore(str(tmp_path), keep=2)
    state.images.assign(8)
    store.save(state, {})
    state.images.assign(16)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfdeblur.checkpoints.store.write_weights", full)
    with pytest.raises(UserError, match="could not be written"):
        store.save(state, {})
    assert store.images() == [8]
    verify_checkpoint(store.path(8))


def test_save_with_ema_writes_averages_and_keeps_own_weights(workdir):
    state, step = toy_run(dropout=0.0)
    train(state, step, range(3))
    own = weights(state)["generator"]
    folder = CheckpointStore(workdir, keep=2).save(state, {})
    for before, after in zip(own, weights(state)["generator"], strict=True):
        np.testing.assert_array_equal(before, after)
    assert files.read_json(files.join(folder, "meta.json"))["averaged"] is True
    saved = read_arrays(files.join(folder, WEIGHTS))
    for name, value in state.arrays().items():
        if name.startswith("generator_average/"):
            np.testing.assert_array_equal(saved[name.removeprefix("generator_average/")], value)


class TestLoading:
    @pytest.fixture
    def run(self, workdir):
        generator = models.create("unet16", {})
        state = toy_state(toy_config(), generator, TwoNetworks())
        store = CheckpointStore(workdir, keep=2)
        state.images.assign(8)
        store.save_best(state, {"psnr_db": 30.0})
        best = generator.network.get_weights()
        generator.network.set_weights([value + 1 for value in best])
        state.images.assign(16)
        store.save(state, {})
        return workdir, best

    def test_load_generator_of_best_last_and_folder(self, run):
        workdir, best = run
        generator, meta = load_generator(workdir)
        assert (generator.name, meta["images"], meta["metrics"]) == ("unet16", 8, {"psnr_db": 30.0})
        np.testing.assert_array_equal(generator.network.get_weights()[0], best[0])
        generator, meta = load_generator(workdir, "last")
        assert meta["images"] == 16
        np.testing.assert_array_equal(generator.network.get_weights()[0], best[0] + 1)
        assert load_generator(meta["folder"])[1]["images"] == 16

    def test_checkpoint_folder_without_best_is_newest(self, run):
        workdir, _ = run
        files.remove_tree(files.join(workdir, "best"))
        assert checkpoint_folder(workdir).endswith("000000000016")

    def test_best_metrics_are_read_back(self, run):
        workdir, _ = run
        assert CheckpointStore(workdir, keep=1).best_metrics() == {"psnr_db": 30.0}

    def test_load_generator_of_empty_folder_raises_user_error(self, tmp_path):
        with pytest.raises(UserError, match="holds no checkpoint"):
            load_generator(str(tmp_path))


def test_meta_holds_metrics_and_files(tmp_path):
    state, _ = toy_run()
    folder = CheckpointStore(str(tmp_path), keep=2).save(state, {"psnr_db": np.float32(1.5)})
    with open(f"{folder}/meta.json", encoding="utf-8") as file:
        meta = json.load(file)
    assert meta["metrics"] == {"psnr_db": 1.5}
    assert set(meta["files"]) == {WEIGHTS, STATE}
