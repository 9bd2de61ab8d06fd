"""Damaged, unreadable and foreign files in a run's folders of checkpoints."""

import json

import pytest

from tests.helpers.planting import deny
from tests.helpers.toys import toy_run
from tfdeblur.checkpoints.manifest import STATE, WEIGHTS, sealed, verify_checkpoint
from tfdeblur.checkpoints.store import CheckpointStore
from tfdeblur.checkpoints.weights import checkpoint_folder
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files
from tfdeblur.training.resilience.lock import LOCK, WorkdirLock


@pytest.fixture(params=["local", "ram"])
def workdir(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"ram://damaged-{tmp_path.name}"


def test_restore_latest_with_damage_warns_and_save_writes_it_again(workdir, capsys):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=3)
    for images in (8, 16):
        state.images.assign(images)
        folder = store.save(state, {})
    path = files.join(folder, STATE)
    files.write_bytes(path, files.read_bytes(path)[:-7])
    fresh, _ = toy_run(seed=3)
    assert store.restore_latest(fresh).endswith("000000000008")
    printed = capsys.readouterr().out
    assert "warning: " in printed and f"{path} is damaged" in printed
    assert f"{folder}.damaged" in printed or "damaged-000000000016" in printed
    assert store.images() == [8]
    fresh.images.assign(16)
    assert store.save(fresh, {}) == folder
    verify_checkpoint(folder)


def test_restore_latest_without_aside_warns_and_renames_nothing(workdir, capsys):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=3)
    for images in (8, 16):
        state.images.assign(images)
        spoil(store.save(state, {}), STATE if images == 16 else None)
    assert store.restore_latest(state, aside=False).endswith("000000000008")
    assert f"{STATE} is damaged" in capsys.readouterr().out
    assert store.images() == [8, 16]


def spoil(folder, name=WEIGHTS):
    """Flips one bit in the middle of a file of a checkpoint."""
    if name is not None:
        path = files.join(folder, name)
        data = bytearray(files.read_bytes(path))
        data[len(data) // 2] ^= 1
        files.write_bytes(path, bytes(data))


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("damaged", [(48,), (32, 48), (16, 48)])
def test_resume_before_damaged_checkpoints_keeps_intact_ones(damaged, keep, workdir):
    """A run that resumes before them saves, prunes, ends, and can resume again."""
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep="all")
    for images in (16, 32, 48):
        state.images.assign(images)
        folder = store.save(state, {})
        spoil(folder, STATE if images in damaged else None)
    store = CheckpointStore(workdir, keep)
    intact = max({16, 32, 48} - set(damaged))
    assert store.restore_latest(state) == store.path(intact)
    for images in (intact + 4, intact + 8):
        state.images.assign(images)
        folder = store.save(state, {})
        assert files.exists(folder)
    assert store.images() == [intact + 4, intact + 8][-keep:]
    for images in store.images():
        verify_checkpoint(store.path(images))
    fresh, _ = toy_run(seed=3)
    assert CheckpointStore(workdir, keep).restore_latest(fresh) == folder
    assert checkpoint_folder(workdir, "last") == folder
    assert load_meta(workdir)["images"] == intact + 8


def load_meta(workdir):
    return verify_checkpoint(checkpoint_folder(workdir, "last"))


def test_save_keeps_foreign_folders(workdir):
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


def test_unreadable_file_raises_user_error_and_nothing_is_skipped(workdir, monkeypatch):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    for images in (8, 16):
        state.images.assign(images)
        folder = store.save(state, {})
        store.save_best(state, {"psnr_db": 1.0})
    before = files.walk_files(workdir)
    best = files.join(workdir, "best", "000000000016", "meta.json")
    for path in (files.join(folder, "meta.json"), files.join(folder, STATE), best):
        with monkeypatch.context() as patch:
            deny(patch, path)
            uses = [store.best_metrics]
            if path != best:
                uses = [lambda: store.restore_latest(state), lambda: store.save(state, {})]
            for use in uses:
                with pytest.raises(UserError, match=f"Cannot read {path}"):
                    use()
    assert files.walk_files(workdir) == before


def test_save_with_smaller_keep_deletes_before_it_writes(tmp_path, monkeypatch):
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
    with pytest.raises(UserError, match="could not be written"):
        store.save(state, {})
    assert store.images() == [24, 32]
    for images in (24, 32):
        verify_checkpoint(store.path(images))


def test_save_that_cannot_prune_keeps_all_checkpoints(tmp_path, monkeypatch):
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


def test_store_with_lost_lock_writes_and_deletes_nothing(tmp_path):
    """The next heartbeat is far away, so the store itself must check the lock."""
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


def test_best_metrics_with_damage_sets_it_aside_once(workdir, capsys):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    state.images.assign(8)
    store.save_best(state, {"psnr_db": 1.0})
    spoil(files.join(workdir, "best", "000000000008"))
    assert store.best_metrics() == store.best_metrics() == {}
    assert capsys.readouterr().out.count("warning: ") == 1
    state.images.assign(16)
    store.save_best(state, {"psnr_db": 2.0})
    assert store.best_metrics() == {"psnr_db": 2.0}
    assert checkpoint_folder(workdir).endswith("000000000016")
    assert len(files.list_dir(files.join(workdir, "best"))) == 2


def test_restore_latest_with_all_damaged_raises_and_renames_nothing(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    for images in (8, 16):
        state.images.assign(images)
        spoil(store.save(state, {}), STATE)
    with pytest.raises(DataError, match=f"16/{STATE} is damaged"):
        store.restore_latest(state)
    assert store.images() == [8, 16]


def test_damaged_and_missing_files_are_named(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    folder = store.save(state, {})
    path = files.join(folder, WEIGHTS)
    data = bytearray(files.read_bytes(path))
    data[len(data) // 2] ^= 1
    files.write_bytes(path, bytes(data))
    with pytest.raises(DataError, match=f"{WEIGHTS} is damaged"):
        store.restore_latest(state)
    files.remove(path)
    with pytest.raises(DataError, match=f"{WEIGHTS} is missing"):
        verify_checkpoint(folder)


def test_unknown_format_is_neither_skipped_nor_overwritten(workdir):
    state, _ = toy_run()
    store = CheckpointStore(workdir, keep=2)
    for images in (8, 16):
        state.images.assign(images)
        folder = store.save(state, {})
    path = files.join(folder, "meta.json")
    files.write_json(path, sealed({**files.read_json(path), "format": 99}))
    for use in (store.restore_latest, lambda state: store.save(state, {})):
        with pytest.raises(DataError, match="format 99"):
            use(state)
    assert store.images() == [8, 16]
