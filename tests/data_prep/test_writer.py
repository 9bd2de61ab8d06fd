"""Builds are deterministic, resume after interruptions, and never mix data sets."""

import collections
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from data_prep import build, images, journal
from tests.helpers.raw_data import build_photos, content, picture, save
from tfdeblur.data import schema
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.io import files


def records_of(out, split):
    manifest = schema.Manifest.load(str(out))
    part = manifest.split(split)
    paths = [files.join(str(out), shard.file) for shard in part.shards]
    return [
        schema.decode_record(data.numpy(), part.height, part.width, part.encoding)
        for data in tf.data.TFRecordDataset(paths)
    ]


@pytest.fixture
def counted(monkeypatch):
    """Counts how often each file is decoded."""
    counts = collections.Counter()
    load = images.load_rgb

    def load_and_count(path):
        counts[os.path.basename(path)] += 1
        return load(path)

    monkeypatch.setattr(images, "load_rgb", load_and_count)
    return counts


def test_build_records_match_source_pixels(gopro, tmp_path):
    config = build.config_class("gopro")(
        source=str(gopro), out=str(tmp_path / "out"), tile="16x10", workers=1
    )
    manifest = build.run(config)
    assert manifest == schema.Manifest.load(str(tmp_path / "out"))
    assert {name: split.records for name, split in manifest.splits.items()} == {
        "train": 3 * 2 * 6,
        "val": 2 * 6,
        "test": 2,
    }
    places = set()
    for split in manifest.splits:
        for record in records_of(tmp_path / "out", split):
            assert (record.source_height, record.source_width) == (30, 40)
            scene = gopro / ("test" if split == "test" else "train") / record.scene
            height, width = record.sharp.shape[:2]
            for half, folder in ((record.blurred, "blur"), (record.sharp, "sharp")):
                frame = images.load_rgb(str(scene / folder / f"{record.frame}.png"))
                cut = frame[record.top : record.top + height, record.left : record.left + width]
                np.testing.assert_array_equal(half, cut)
            places.add((record.scene, record.frame, record.top, record.left))
    assert len(places) == 36 + 12 + 2
    # No scene is in two splits, and training records are shuffled.
    scenes = [scene for split in manifest.splits.values() for scene in split.scenes]
    assert len(scenes) == len(set(scenes)) == 5
    order = [(r.scene, r.frame, r.top, r.left) for r in records_of(tmp_path / "out", "train")]
    assert order != sorted(order)


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_build_any_number_of_workers_is_identical(photos, tmp_path, small_shards, encoding):
    one = build_photos(photos, tmp_path / "1", encoding=encoding)
    two = build_photos(photos, tmp_path / "2", encoding=encoding, workers=3)
    assert one == two
    assert len(one.split("train").shards) > 1
    assert content(tmp_path / "1") == content(tmp_path / "2")
    assert sorted(content(tmp_path / "1")) == sorted(
        [schema.MANIFEST_NAME, *(s.file for split in one.splits.values() for s in split.shards)]
    )


def test_build_to_memory_file_system_is_identical(photos, tmp_path, small_shards):
    out = f"ram://{tmp_path.name}/set"
    local = build_photos(photos, tmp_path / "local", workers=2)
    assert build_photos(photos, out, workers=2) == local
    assert content(out) == content(tmp_path / "local")
    assert schema.verify(out, local, deep=True) == []


def test_build_after_fixed_image_resumes(photos, tmp_path, small_shards, counted):
    out = tmp_path / "out"
    good = (photos / "photo3.png").read_bytes()
    (photos / "photo3.png").write_bytes(good[:-500])
    with pytest.raises(DataError, match=r"photo3\.png.*truncated"):
        build_photos(photos, out)
    made = [name for name in files.list_dir(str(out)) if name.endswith(".tfrecord")]
    assert made
    assert not files.exists(files.join(str(out), schema.MANIFEST_NAME))
    with pytest.raises(DataError, match="manifest"):
        schema.Manifest.load(str(out))

    (photos / "photo3.png").write_bytes(good)
    first = dict(counted)
    manifest = build_photos(photos, out)
    again = counted - collections.Counter(first)
    # Images in finished shards were not decoded again.
    assert sum(again.values()) < 6 and sum(first.values()) + sum(again.values()) <= 8
    assert not files.exists(files.join(str(out), ".build"))
    assert build_photos(photos, tmp_path / "fresh") == manifest
    assert content(out) == content(tmp_path / "fresh")


def test_build_with_failed_worker_keeps_other_shards(photos, tmp_path, small_shards):
    good = (photos / "photo3.png").read_bytes()
    (photos / "photo3.png").write_bytes(good[:-500])
    with pytest.raises(DataError, match=r"photo3\.png"):
        build_photos(photos, tmp_path / "out", workers=2)
    (photos / "photo3.png").write_bytes(good)
    build_photos(photos, tmp_path / "out", workers=2)
    build_photos(photos, tmp_path / "fresh")
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


@pytest.mark.slow
def test_build_killed_resumes_and_leaves_no_process(tmp_path):
    """Kills a real build once its first shard is in the journal."""
    for number in range(8):
        save(tmp_path / "photos" / f"{number}.png", picture(number, 700, 500))
    out = tmp_path / "out"
    words = [sys.executable, "-c", _SLOW_BUILD, str(tmp_path / "photos"), str(out)]
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    command = subprocess.Popen(
        words,
        cwd=root,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    journal = out / ".build"
    while not journal.is_dir() or len(list(journal.glob("*.json"))) < 2:
        assert command.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    assert not (out / schema.MANIFEST_NAME).exists()
    # The workers exit by themselves, which leaves the process group empty.
    while _group_lives(command.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tfrecord")}
    assert kept
    subprocess.run(words, cwd=root, check=True, capture_output=True)
    manifest = schema.Manifest.load(str(out))
    assert schema.verify(str(out), manifest, deep=True) == []
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
    assert not list(out.glob("*.partial")) and not journal.exists()


_SLOW_BUILD = """
import sys
from data_prep import build, plan
plan.SHARD_BYTES = 1
if __name__ == "__main__":
    build.run(build.config_class("sharp")(
        source=sys.argv[1], out=sys.argv[2], tile="100", workers=2, val_share=0, test_share=0))
"""


def _group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_build_shard_missing_in_journal_is_remade(photos, tmp_path, small_shards):
    """A build may be killed between writing a shard and entering it."""
    out = tmp_path / "out"
    build_photos(photos, out)
    whole = content(out)
    manifest = schema.Manifest.load(str(out))
    (out / schema.MANIFEST_NAME).unlink()
    head = {"source": "sharp", "fingerprint": manifest.fingerprint, "options": manifest.options}
    journal.begin(str(out), head, ())
    first, second, *_ = manifest.split("train").shards
    journal.enter(str(out), first)
    (out / second.file).write_bytes(b"half of something")
    (out / f"{second.file}.0a1b2c3d.partial").write_bytes(b"x")
    build_photos(photos, out)
    assert content(out) == whole


def test_build_complete_removes_leftover_journal(photos, tmp_path):
    build_photos(photos, tmp_path / "out")
    whole = content(tmp_path / "out")
    journal.begin(str(tmp_path / "out"), {}, ())
    build_photos(photos, tmp_path / "out")
    assert content(tmp_path / "out") == whole


def test_build_complete_does_nothing(photos, tmp_path, counted, capsys):
    manifest = build_photos(photos, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    counted.clear()
    assert build_photos(photos, tmp_path / "out") == manifest
    assert "already built" in capsys.readouterr().out
    assert not counted
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


def test_build_with_moved_source_does_nothing(photos, tmp_path, capsys):
    build_photos(photos, tmp_path / "out")
    photos.rename(tmp_path / "moved")
    build_photos(tmp_path / "moved", tmp_path / "out")
    assert "already built" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_build_damaged_shard_is_remade(photos, tmp_path, small_shards, damage, counted):
    out = tmp_path / "out"
    build_photos(photos, out)
    whole = content(out)
    shard = sorted(out.glob("train*.tfrecord"))[1]
    if damage == "missing":
        shard.unlink()
    elif damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-3])
    else:
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    counted.clear()
    build_photos(photos, out, verify=damage == "altered")
    assert content(out) == whole
    assert 1 <= sum(counted.values()) <= 2


@pytest.mark.parametrize("finished", [True, False])
def test_build_with_changed_option_raises_until_overwrite(photos, tmp_path, finished):
    out = tmp_path / "out"
    build_photos(photos, out)
    if not finished:
        manifest = schema.Manifest.load(str(out))
        (out / ".build").mkdir()
        head = {"source": "sharp", "fingerprint": manifest.fingerprint, "options": manifest.options}
        (out / ".build" / "build.json").write_text(json.dumps(head))
        (out / schema.MANIFEST_NAME).unlink()
    before = content(out) if finished else None
    with pytest.raises(ConfigError, match=r"tile was 10x10 and is now 15x10.*--overwrite"):
        build_photos(photos, out, tile="15x10")
    assert not finished or content(out) == before
    assert build_photos(photos, out, tile="15x10", overwrite=True).split("train").width == 15


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_build_with_overwrite_replaces_a_damaged_set(photos, tmp_path, damage):
    out = tmp_path / "out"
    build_photos(photos, out)
    whole = content(out)
    shard = sorted(out.glob("*.tfrecord"))[0]
    shard.write_bytes(shard.read_bytes()[:-9] if damage is None else damage)
    (out / "notes.txt").write_text("mine")
    build_photos(photos, out, overwrite=True)
    (out / "notes.txt").unlink()
    assert content(out) == whole


def test_partial_shards_of_a_running_build_stay(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    dead = out / f"train-00000-of-00001.tfrecord.0123abcd{files.PARTIAL_SUFFIX}"
    dead.write_bytes(b"x")
    with files.open_new(str(out / "val-00000-of-00001.tfrecord")) as file:
        (living,) = out.glob(f"val*{files.PARTIAL_SUFFIX}")
        file.write(b"y")
        build_photos(photos, out, val_share=0.0)
        assert living.exists() and not dead.exists()


def test_build_with_changed_frames_raises(photos, tmp_path):
    build_photos(photos, tmp_path / "out")
    save(photos / "new.png", picture(9))
    with pytest.raises(ConfigError, match="frames of the source"):
        build_photos(photos, tmp_path / "out")


def test_build_with_another_source_raises(photos, gopro, tmp_path):
    build_photos(photos, tmp_path / "out")
    config = build.config_class("gopro")(source=str(gopro), out=str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="'sharp'"):
        build.run(config)


def test_build_with_unknown_shard_raises_and_keeps_other_files(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "train-00000-of-00001.tfrecord").write_bytes(b"x")
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"train-00000-of-00001\.tfrecord"):
            build_photos(photos, out, overwrite=overwrite)
    (out / "manifest.json").write_text('"mine"')
    with pytest.raises(DataError):
        build_photos(photos, out, overwrite=True)
    assert (out / "manifest.json").read_text() == '"mine"'
    (out / "manifest.json").unlink()
    (out / "train-00000-of-00001.tfrecord").unlink()
    build_photos(photos, out)
    (out / "train-00009-of-00010.tfrecord").write_bytes(b"x")
    with pytest.raises(DataError, match=r"train-00009-of-00010\.tfrecord"):
        build_photos(photos, out)
    assert (out / "notes.txt").read_text() == "mine"


def test_build_with_older_schema_raises(photos, tmp_path):
    build_photos(photos, tmp_path / "out")
    path = tmp_path / "out" / schema.MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 0}))
    with pytest.raises(DataError, match="version 0"):
        build_photos(photos, tmp_path / "out")


def test_build_out_below_file_raises(photos, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/out"):
        build_photos(photos, tmp_path / "file" / "out")


def test_build_image_size_differs_from_listing_raises(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "size_of", lambda path: (30, 41))
    with pytest.raises(DataError, match=r"photo\d\.png.*40x30.*41x30"):
        build_photos(photos, tmp_path / "out")


def test_build_with_resize_blurs_resized_frames(photos, tmp_path):
    build_photos(photos, tmp_path / "out", resize="20x15", tile=None, exposures=(1.0,))
    differing = 0
    for split in ("train", "val", "test"):
        for record in records_of(tmp_path / "out", split):
            full = images.load_rgb(str(photos / f"{record.scene}.png"))
            np.testing.assert_array_equal(record.sharp, images.resize(full, (15, 20)))
            differing += (record.blurred != record.sharp).mean() > 0.5
    assert differing == 6


def test_build_manifest_records_blur_options_and_notes(photos, tmp_path):
    manifest = build_photos(photos, tmp_path / "out", linear_light=True)
    assert manifest.source == "sharp"
    assert manifest.blur["kind"] == "trajectory" and manifest.blur["gamma"] == 2.2
    assert manifest.options["tile"] == "10x10" and manifest.options["source"] == str(photos)
    assert not {"out", "workers", "runner", "beam_options", "overwrite", "verify"} & set(
        manifest.options
    )
    assert any(note.startswith("The val split") for note in manifest.notes)


def test_build_single_scene_has_no_val_split(tmp_path):
    save(tmp_path / "photos" / "one.png", picture(0))
    manifest = build_photos(tmp_path / "photos", tmp_path / "out")
    assert set(manifest.splits) == {"train"}
    with pytest.raises(DataError, match="'one'"):
        manifest.split("val")
