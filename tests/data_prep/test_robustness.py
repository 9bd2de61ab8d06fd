"""Builds that are killed or run out of disk space resume, and partial files are never read."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers.raw_data import build_photos, content, picture, save
from tfdeblur.data import dataset, schema
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
KILLS = 10
SHARDS = 40

# Prints when the imports are done, so that kills happen during the build.
_BUILD = """
import sys
from data_prep import build, plan
from tfdeblur.io import files
if __name__ == "__main__":
    import tensorflow
    plan.SHARD_BYTES = 1
    config = build.config_class("sharp")(
        source=sys.argv[1], out=sys.argv[2], tile="50", workers=2, val_share=0, test_share=0)
    print("begun", flush=True)
    build.run(config)
"""


def start(photos, out):
    words = [sys.executable, "-c", _BUILD, str(photos), str(out)]
    command = subprocess.Popen(
        words,
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert command.stdout.readline() == "begun\n"
    return command


@pytest.mark.slow
def test_build_killed_ten_times_is_identical(tmp_path):
    """Kills the main process or the whole process group at random moments."""
    for number in range(SHARDS):
        save(tmp_path / "photos" / f"{number}.png", picture(number, 600, 400))
    begin = time.monotonic()
    assert start(tmp_path / "photos", tmp_path / "whole").wait() == 0
    seconds = time.monotonic() - begin
    whole = content(tmp_path / "whole")
    assert len(whole) == SHARDS + 1
    rng = random.Random(7)
    kills, sets = 0, 0
    while kills < KILLS or sets < 1:
        out = tmp_path / f"{sets}"
        while True:
            command = start(tmp_path / "photos", out)
            try:
                # Short enough that a build is killed several times before it finishes.
                command.wait(rng.uniform(0, seconds / 3) if kills < KILLS else None)
            except subprocess.TimeoutExpired:
                kill = os.kill if kills % 2 else os.killpg
                kill(command.pid, signal.SIGKILL)
                command.wait()
                kills += 1
                # An incomplete set is never opened.
                if not (out / schema.MANIFEST_NAME).exists():
                    with pytest.raises(DataError, match="manifest"):
                        dataset.open_split(str(out), "train")
                continue
            assert command.returncode == 0
            break
        assert content(out) == whole
        sets += 1


class FullDisk(files._WriteThroughFile):
    """A file on a disk with limited space."""

    left = 0

    def write(self, data):
        if len(data) > FullDisk.left:
            super().write(data[: FullDisk.left])
            FullDisk.left = 0
            raise OSError(errno.ENOSPC, "No space left on device")
        FullDisk.left -= len(data)
        return super().write(data)


@pytest.mark.parametrize("room", [0, 100, 3_000, 20_000])
def test_build_full_disk_raises_and_leaves_no_partial_files(
    photos, tmp_path, monkeypatch, small_shards, room
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        FullDisk.left = room
        patch.setattr(files, "_WriteThroughFile", FullDisk)
        with pytest.raises(UserError, match=r"out/.*disk is full"):
            build_photos(photos, out, encoding="raw")
    assert not list(out.rglob("*.partial"))
    with pytest.raises(DataError, match="manifest"):
        dataset.open_split(str(out), "train")
    whole = build_photos(photos, tmp_path / "whole", encoding="raw")
    sizes = {shard.file: shard.bytes for split in whole.splits.values() for shard in split.shards}
    assert all(path.stat().st_size == sizes[path.name] for path in out.glob("*.tfrecord"))
    build_photos(photos, out, encoding="raw")
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["local", "beam"])
def test_build_mounted_full_disk_resumes_after_enlarging(tmp_path, runner):
    """Requires permission to mount a small disk in memory."""
    if runner == "beam":
        pytest.importorskip("apache_beam", reason="Apache Beam (extra `beam`) is not installed")
    for number in range(8):
        save(tmp_path / "photos" / f"{number}.png", picture(number, 600, 400))
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a disk")
    try:
        options = {"source": tmp_path / "photos", "encoding": "raw", "tile": "100"}
        words = [f"--{name}={value}" for name, value in options.items()]
        words += ["--val-share=0", "--test-share=0", "--workers=2", f"--runner={runner}"]
        command = [sys.executable, "-c", _SMALL_SHARDS, *words]

        def build(out):
            return subprocess.run(
                [*command, f"--out={out}"], cwd=ROOT, capture_output=True, text=True, check=False
            )

        done = build(disk / "set")
        assert done.returncode == 2, done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("error: ") and "disk is full" in last
        assert "Traceback" not in done.stderr
        assert not list(disk.rglob("*.partial"))
        with pytest.raises(DataError, match="manifest"):
            dataset.open_split(str(disk / "set"), "train")
        kept = len(list(disk.rglob("*.tfrecord")))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = build(disk / "set")
        assert again.returncode == 0, again.stderr
        assert f"{kept} of 8 shards" in again.stdout
        assert build(tmp_path / "whole").returncode == 0
        assert content(disk / "set") == content(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


_SMALL_SHARDS = """
import sys
from data_prep import build, plan
if __name__ == "__main__":
    plan.SHARD_BYTES = 1
    sys.exit(build.main(["sharp", *sys.argv[1:]]))
"""
