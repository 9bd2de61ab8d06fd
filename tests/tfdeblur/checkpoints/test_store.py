"""Everything that a run needs comes back; what is damaged is named."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toys import (
    TwoPlayers,
    toy_batch,
    toy_config,
    toy_generator,
    toy_run,
    toy_state,
    weights,
)
from tfdeblur import models
from tfdeblur.checkpoints.manifest import sealed, verify_checkpoint
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


def everything(state):
    values = [state.images.numpy(), *[value.numpy() for value in state.average]]
    for player in state.players.values():
        values += [*player.network.get_weights()]
        values += [variable.numpy() for variable in player.optimizer.variables]
    return values


def test_three_and_three_steps_equal_six_bit_for_bit(workdir):
    """Dropout, batch norm, two optimizers and averages included."""
    tf.config.experimental.enable_op_determinism()
    undisturbed, step = toy_run()
    train(undisturbed, step, range(6))

    first, step = toy_run()
    train(first, step, range(3))
    CheckpointStore(workdir, keep=2).save(first, {})
    second, step = toy_run(seed=5)
    assert CheckpointStore(workdir, keep=2).restore_latest(second).endswith("000000000024")
    train(second, step, range(3, 6))

    for got, expected in zip(everything(second), everything(undisturbed), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_keeps_the_newest_and_sweeps_up_what_was_cut_off(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    files.make_dirs(store.path(7))
    files.write_text(files.join(store.path(7), "state.index"), "cut off")
    for images in (8, 16, 24):
        state.images.assign(images)
        store.save(state, {"psnr_db": 1.0})
    assert store.images() == [16, 24]
    assert files.list_dir(files.join(workdir, "checkpoints")) == ["000000000016", "000000000024"]


def test_keeps_all_where_that_is_asked_and_tells_the_length_of_an_epoch(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep="all")
    files.make_dirs(store.path(7))
    for images in (8, 16, 24):
        state.images.assign(images)
        folder = store.save(state, {})
    assert store.images() == [8, 16, 24]
    assert not files.exists(store.path(7))
    assert verify_checkpoint(folder)["epoch_images"] == 64


def test_a_folder_without_its_last_file_is_no_checkpoint(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=5)
    for images in (8, 16):
        state.images.assign(images)
        store.save(state, {})
    files.remove(files.join(store.path(16), "meta.json"))
    fresh, _ = toy_run(seed=3)
    assert store.restore_latest(fresh).endswith("000000000008")
    assert fresh.images_seen == 8


def test_another_format_is_refused(workdir):
    state, _ = toy_run()
    folder = CheckpointStore(workdir, keep=2).save(state, {})
    path = files.join(folder, "meta.json")
    files.write_json(path, sealed({**files.read_json(path), "format": 99}))
    with pytest.raises(DataError, match="format 99; this version reads 1"):
        verify_checkpoint(folder)


def test_another_network_does_not_fit(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    store.save(state, {})
    other = toy_state(toy_config(), toy_generator(batch_norm=False), TwoPlayers())
    with pytest.raises(DataError, match="does not fit this run"):
        store.restore_latest(other)


def test_a_write_that_fails_costs_the_new_checkpoint_only(tmp_path, monkeypatch):
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


def test_averaged_weights_are_saved_for_use_and_own_ones_for_training(workdir):
    state, step = toy_run(dropout=0.0)
    train(state, step, range(3))
    own = weights(state)["generator"]
    folder = CheckpointStore(workdir, keep=2).save(state, {})
    for before, after in zip(own, weights(state)["generator"], strict=True):
        np.testing.assert_array_equal(before, after)
    assert files.read_json(files.join(folder, "meta.json"))["averaged"] is True
    with state.averaged():
        for variable, average in zip(
            state.players["generator"].variables, state.average, strict=True
        ):
            np.testing.assert_array_equal(variable.numpy(), average.numpy())


class TestLoading:
    @pytest.fixture
    def run(self, workdir):
        generator = models.create("unet16", {})
        state = toy_state(toy_config(), generator, TwoPlayers())
        store = CheckpointStore(workdir, keep=2)
        state.images.assign(8)
        store.save_best(state, {"psnr_db": 30.0})
        best = generator.network.get_weights()
        generator.network.set_weights([value + 1 for value in best])
        state.images.assign(16)
        store.save(state, {})
        return workdir, best

    def test_best_last_and_a_folder(self, run):
        workdir, best = run
        generator, meta = load_generator(workdir)
        assert (generator.name, meta["images"], meta["metrics"]) == ("unet16", 8, {"psnr_db": 30.0})
        np.testing.assert_array_equal(generator.network.get_weights()[0], best[0])
        generator, meta = load_generator(workdir, "last")
        assert meta["images"] == 16
        np.testing.assert_array_equal(generator.network.get_weights()[0], best[0] + 1)
        assert load_generator(meta["folder"])[1]["images"] == 16

    def test_without_a_best_the_newest_is_taken(self, run):
        workdir, _ = run
        files.remove_tree(files.join(workdir, "best"))
        assert checkpoint_folder(workdir).endswith("000000000016")

    def test_best_metrics_come_back(self, run):
        workdir, _ = run
        assert CheckpointStore(workdir, keep=1).best_metrics() == {"psnr_db": 30.0}

    def test_nothing_there(self, tmp_path):
        with pytest.raises(UserError, match="holds no checkpoint"):
            load_generator(str(tmp_path))


def test_meta_is_plain_json(tmp_path):
    state, _ = toy_run()
    folder = CheckpointStore(str(tmp_path), keep=2).save(state, {"psnr_db": np.float32(1.5)})
    with open(f"{folder}/meta.json", encoding="utf-8") as file:
        meta = json.load(file)
    assert meta["metrics"] == {"psnr_db": 1.5}
    assert set(meta["files"]) >= {"generator.weights.h5", "state.index"}
