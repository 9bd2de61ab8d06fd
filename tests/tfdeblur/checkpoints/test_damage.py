"""Damage costs the damaged checkpoint alone, and what is not a run's own is left alone."""

import json

import pytest

from tests.helpers.planting import deny
from tests.helpers.toys import toy_run
from tfdeblur.checkpoints.manifest import sealed, verify_checkpoint
from tfdeblur.checkpoints.store import CheckpointStore
from tfdeblur.checkpoints.weights import checkpoint_folder
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files
from tfdeblur.training.resilience.lock import LOCK, WorkdirLock


@pytest.fixture(params=["local", "ram"])
def workdir(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"ram://damaged-{tmp_path.name}"


def test_a_damaged_checkpoint_is_passed_over_and_written_again(workdir, capsys):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=3)
    for images in (8, 16):
        state.images.assign(images)
        folder = store.save(state, {})
    path = files.join(folder, "state.index")
    files.write_bytes(path, files.read_bytes(path)[:-7])
    fresh, _ = toy_run(seed=3)
    assert store.restore_latest(fresh).endswith("000000000008")
    printed = capsys.readouterr().out
    assert "warning: The checkpoint file " in printed and "state.index is damaged" in printed
    # The run goes on by itself, and what it found is not lost, not used and not in the way.
    assert "Remove" not in printed and "was put aside as " in printed
    assert store.images() == [8]
    fresh.images.assign(16)
    assert store.save(fresh, {}) == folder
    verify_checkpoint(folder)


def test_a_worker_that_owns_nothing_passes_over_and_renames_nothing(workdir, capsys):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=3)
    for images in (8, 16):
        state.images.assign(images)
        spoil(store.save(state, {}), "state.index" if images == 16 else None)
    assert store.restore_latest(state, aside=False).endswith("000000000008")
    assert "state.index is damaged. It is passed over." in capsys.readouterr().out
    assert store.images() == [8, 16]


def spoil(folder, name="generator.weights.h5"):
    """Changes one bit in the middle of a file of a checkpoint."""
    if name is not None:
        path = files.join(folder, name)
        data = bytearray(files.read_bytes(path))
        data[len(data) // 2] ^= 1
        files.write_bytes(path, bytes(data))


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("damaged", [(48,), (32, 48), (16, 48)])
def test_damaged_ones_ahead_never_cost_a_whole_one(damaged, keep, workdir):
    """A run that goes on from before them writes, sweeps, ends, and can go on again."""
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep="all")
    for images in (16, 32, 48):
        state.images.assign(images)
        folder = store.save(state, {})
        spoil(folder, "state.index" if images in damaged else None)
    store = CheckpointStore(workdir, keep)
    whole = max({16, 32, 48} - set(damaged))
    assert store.restore_latest(state) == store.path(whole)
    for images in (whole + 4, whole + 8):
        state.images.assign(images)
        folder = store.save(state, {})
        assert files.exists(folder)
    assert store.images() == [whole + 4, whole + 8][-keep:]
    for images in store.images():
        verify_checkpoint(store.path(images))
    fresh, _ = toy_run(seed=3)
    assert CheckpointStore(workdir, keep).restore_latest(fresh) == folder
    assert checkpoint_folder(workdir, "last") == folder
    assert load_meta(workdir)["images"] == whole + 8


def load_meta(workdir):
    return verify_checkpoint(checkpoint_folder(workdir, "last"))


def test_what_others_put_there_is_left_alone(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=1)
    for kind in ("checkpoints", "best"):
        for name in ("my_copy_of_16", "notes"):
            files.make_dirs(files.join(workdir, kind, name))
            files.write_text(files.join(workdir, kind, name, "a.txt"), "mine")
    for images in (8, 16):
        state.images.assign(images)
        store.save(state, {})
        store.save_best(state, {"psnr_db": 1.0})
    for kind in ("checkpoints", "best"):
        found = files.list_dir(files.join(workdir, kind))
        assert found == ["000000000016", "my_copy_of_16", "notes"]
        assert files.read_text(files.join(workdir, kind, "notes", "a.txt")) == "mine"


def test_what_cannot_be_read_is_an_error_and_nothing_is_passed_over(workdir, monkeypatch):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    for images in (8, 16):
        state.images.assign(images)
        folder = store.save(state, {})
        store.save_best(state, {"psnr_db": 1.0})
    before = files.walk_files(workdir)
    best = files.join(workdir, "best", "000000000016", "meta.json")
    for path in (files.join(folder, "meta.json"), files.join(folder, "state.index"), best):
        with monkeypatch.context() as patch:
            deny(patch, path)
            uses = [store.best_metrics]
            if path != best:
                uses = [lambda: store.restore_latest(state), lambda: store.save(state, {})]
            for use in uses:
                with pytest.raises(UserError, match=f"Cannot read {path}: permission denied"):
                    use()
    assert files.walk_files(workdir) == before


def test_a_smaller_keep_makes_room_before_the_next_one_is_written(tmp_path, monkeypatch):
    state, _ = toy_run()
    for images in (8, 16, 24, 32):
        state.images.assign(images)
        CheckpointStore(str(tmp_path), keep="all").save(state, {})
    store = CheckpointStore(str(tmp_path), keep=2)
    state.images.assign(40)

    def full(*args):
        assert store.images() == [24, 32]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfdeblur.checkpoints.store.write_weights", full)
    with pytest.raises(UserError, match=r"could not be written: .*a smaller --keep does"):
        store.save(state, {})
    assert store.images() == [24, 32]
    for images in (24, 32):
        verify_checkpoint(store.path(images))


def test_room_that_cannot_be_made_costs_no_checkpoint(tmp_path, monkeypatch):
    state, _ = toy_run()
    for images in (8, 16):
        state.images.assign(images)
        CheckpointStore(str(tmp_path), keep="all").save(state, {})
    store = CheckpointStore(str(tmp_path), keep=1)
    deny(monkeypatch, files.join(store.path(16), "meta.json"))
    state.images.assign(24)
    with pytest.raises(UserError, match=r"Cannot read .*16/meta\.json"):
        CheckpointStore(str(tmp_path), keep=2).save(state, {})
    assert store.images() == [8, 16, 24]


def test_nothing_is_written_or_removed_where_another_run_has_come_in(tmp_path):
    """Its beat is far away: the lock itself is looked at."""
    state, _ = toy_run()
    with WorkdirLock(str(tmp_path), beat_seconds=3600) as lock:
        store = CheckpointStore(str(tmp_path), 1, lock)
        state.images.assign(8)
        store.save(state, {})
        store.save_best(state, {"psnr_db": 1.0})
        state.images.assign(16)
        before = sorted(str(path) for path in tmp_path.rglob("*"))
        (tmp_path / LOCK).write_text(json.dumps({"token": "other", "host": "there", "pid": 7}))
        spoil(files.join(str(tmp_path), "best", "000000000008"))
        for use in (
            lambda: store.save(state, {}),
            lambda: store.save_best(state, {}),
            store.best_metrics,
        ):
            with pytest.raises(UserError, match="taken over by another run, process 7 on there"):
                use()
        assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_damaged_best_weights_are_put_aside_once(workdir, capsys):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    state.images.assign(8)
    store.save_best(state, {"psnr_db": 1.0})
    spoil(files.join(workdir, "best", "000000000008"))
    assert store.best_metrics() == store.best_metrics() == {}
    assert capsys.readouterr().out.count("The next validation writes new best weights.") == 1
    state.images.assign(16)
    store.save_best(state, {"psnr_db": 2.0})
    assert store.best_metrics() == {"psnr_db": 2.0}
    assert checkpoint_folder(workdir).endswith("000000000016")
    assert len(files.list_dir(files.join(workdir, "best"))) == 2


def test_where_all_are_damaged_nothing_is_renamed(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    for images in (8, 16):
        state.images.assign(images)
        spoil(store.save(state, {}), "state.index")
    with pytest.raises(DataError, match=r"16/state.index is damaged. No checkpoint in .* is whole"):
        store.restore_latest(state)
    assert store.images() == [8, 16]


def test_a_damaged_file_is_named(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    folder = store.save(state, {})
    path = files.join(folder, "generator.weights.h5")
    data = bytearray(files.read_bytes(path))
    data[len(data) // 2] ^= 1
    files.write_bytes(path, bytes(data))
    with pytest.raises(DataError, match=r"generator.weights.h5 is damaged"):
        store.restore_latest(state)
    files.remove(path)
    with pytest.raises(DataError, match=r"generator.weights.h5 is missing"):
        verify_checkpoint(folder)


def test_the_checkpoint_of_another_version_is_neither_passed_over_nor_written_over(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    for images in (8, 16):
        state.images.assign(images)
        folder = store.save(state, {})
    path = files.join(folder, "meta.json")
    files.write_json(path, sealed({**files.read_json(path), "format": 99}))
    for use in (store.restore_latest, lambda state: store.save(state, {})):
        with pytest.raises(DataError, match="Use the tfdeblur version that wrote it"):
            use(state)
    assert store.images() == [8, 16]
