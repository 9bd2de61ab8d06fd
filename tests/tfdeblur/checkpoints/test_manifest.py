"""A description is used as it was written, or not at all; what cannot be read is not damaged."""

import copy
import json
import os
import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from tests.helpers.planting import deny
from tfdeblur.checkpoints import manifest
from tfdeblur.checkpoints.manifest import (
    META,
    WEIGHTS,
    Damaged,
    count_of,
    is_there,
    name_of,
    read_meta,
    sealed,
    verify_checkpoint,
    write_meta,
)
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files

ABOUT = {
    "format": 1,
    "images": 48,
    "epoch_images": 24,
    "model": {"name": "unet16", "width": 4, "levels": (1, 2)},
    "averaged": False,
    "metrics": {"psnr_db": 23.5, "ssim": 1},
}


def make(folder: str, **changes) -> str:
    files.make_dirs(folder)
    files.write_bytes(files.join(folder, WEIGHTS), b"weights")
    files.write_bytes(files.join(folder, "state.index"), b"state")
    write_meta(folder, {**ABOUT, **changes})
    return folder


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    root = str(tmp_path) if request.param == "local" else f"ram://meta-{tmp_path.name}"
    return make(files.join(root, name_of(48)))


def put(folder: str, meta) -> None:
    files.write_text(files.join(folder, META), json.dumps(meta))


def without_checksum(meta):
    return {name: value for name, value in meta.items() if name != "sha256"}


def test_what_was_written_comes_back(folder):
    meta = verify_checkpoint(folder)
    assert {name: meta[name] for name in ("images", "metrics")} == {
        "images": 48,
        "metrics": {"psnr_db": 23.5, "ssim": 1},
    }
    assert meta["model"]["levels"] == [1, 2]
    assert set(meta["files"]) == {WEIGHTS, "state.index"}
    assert files.list_dir(folder) == [WEIGHTS, META, "state.index"]


def test_descriptions_of_early_versions_are_read(folder):
    old = without_checksum(read_meta(folder))
    put(folder, old)
    assert verify_checkpoint(folder) == old
    del old["epoch_images"]
    put(folder, old)
    assert verify_checkpoint(folder) == old


def test_entries_that_a_later_version_adds_are_no_damage(folder):
    later = sealed({**read_meta(folder), "weather": "rain"})
    put(folder, later)
    assert read_meta(folder) == later


def test_no_changed_bit_is_used(tmp_path, monkeypatch):
    folder = make(str(tmp_path / name_of(48)))
    data, written = files.read_bytes(files.join(folder, META)), read_meta(folder)
    passed = 0
    # All of them are tried, which takes too long by way of the disk.
    monkeypatch.setattr(files, "read_bytes", lambda path: bytes(changed))
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            try:
                assert read_meta(folder) == written
                passed += 1
            except Damaged as error:
                assert META in error.finding
                assert len(str(error).splitlines()) == 1
    # White space, and letters written otherwise: few, and the same when they are read.
    assert passed < 0.02 * 8 * len(data)
    changed = bytearray(data)
    assert read_meta(folder) == written


WRONG = {
    "files": [None, [], {}, "all", {WEIGHTS: None}, {WEIGHTS: {"bytes": 7}}, {"../x": {}}, 3],
    "images": [None, "48", 48.0, -1, True, 47, [48]],
    "model": [None, "unet16", {}, {"name": 3}, []],
    "metrics": [None, [], {"psnr_db": "23"}, {"psnr_db": None}, {"psnr_db": True}],
    "averaged": [None, 0, "no"],
    "epoch_images": [0, -3, "24", 24.5],
    "data": [3, "x", []],
    "origin": [3, "x"],
    "format": [None, "1", 1.0, True, []],
}


@pytest.mark.parametrize("entry", WRONG)
def test_wrong_types_are_damage_with_and_without_a_checksum(entry, tmp_path):
    folder = make(str(tmp_path / name_of(48)))
    meta = read_meta(folder)
    for value in WRONG[entry]:
        for changed in (sealed({**meta, entry: value}), {**without_checksum(meta), entry: value}):
            put(folder, changed)
            with pytest.raises(Damaged, match=r"meta\.json is damaged \(.*\)\. Remove"):
                read_meta(folder)


@pytest.mark.parametrize("entry", ["files", "images", "model", "metrics", "format"])
def test_missing_entries_are_damage(entry, folder):
    meta = read_meta(folder)
    del meta[entry]
    for changed in (sealed(meta), without_checksum(meta)):
        put(folder, changed)
        with pytest.raises(Damaged, match="is damaged"):
            read_meta(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"3",
        b'"format"',
        b"\xff\xfe",
        bytes(100),
        b"[" * 100_000,
        b'{"format": 1, "images": ' + b"9" * 5000 + b"}",
    ],
    ids=range(10),
)
def test_what_is_no_description_is_damage(content, folder):
    files.write_bytes(files.join(folder, META), content)
    with pytest.raises(Damaged, match="is damaged"):
        read_meta(folder)


def test_numbers_that_json_does_not_know_are_damage(folder):
    for word in ("NaN", "Infinity", "1e999"):
        text = json.dumps(without_checksum(read_meta(make(folder)))).replace("23.5", word)
        files.write_text(files.join(folder, META), text)
        with pytest.raises(Damaged, match="is damaged"):
            read_meta(folder)


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=6,
)


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    entry=strategies.sampled_from(sorted(WRONG)), value=JSON, seal=strategies.booleans()
)
def test_any_value_anywhere_is_refused_or_of_the_right_type(entry, value, seal, tmp_path_factory):
    folder = make(f"ram://any-{tmp_path_factory.getbasetemp().name}/{name_of(48)}")
    meta = {**copy.deepcopy(read_meta(folder)), entry: value}
    put(folder, sealed(meta) if seal else without_checksum(meta))
    try:
        read = read_meta(folder)
    except DataError:
        return
    assert read["format"] == 1 and read["images"] == 48
    assert isinstance(read["model"]["name"], str)
    assert read["files"].keys() >= {WEIGHTS}
    assert all(isinstance(score, int | float) for score in read["metrics"].values())


def test_another_format_is_no_damage(folder):
    for meta in (sealed({**read_meta(folder), "format": 99}), {"format": 99, "new": []}):
        put(folder, meta)
        with pytest.raises(DataError, match="format 99; this version reads 1") as caught:
            read_meta(folder)
        assert not isinstance(caught.value, Damaged)


def test_the_folder_must_be_named_by_the_images(tmp_path):
    folder = make(str(tmp_path / name_of(56)), images=56)
    os.rename(folder, tmp_path / name_of(64))
    with pytest.raises(Damaged, match="images: 56 is not what the folder is named by"):
        read_meta(str(tmp_path / name_of(64)))
    # Anybody may give a copy a name of his own, and a converted network any name.
    os.rename(tmp_path / name_of(64), tmp_path / "good one")
    assert read_meta(str(tmp_path / "good one"))["images"] == 56
    ported = make(str(tmp_path / "123456789012"), images=0, origin={"license": "MIT"})
    assert read_meta(ported)["images"] == 0


def test_a_missing_file_is_damage_and_an_unreadable_one_is_not(folder, monkeypatch):
    for name in (META, "state.index"):
        path = files.join(folder, name)
        with monkeypatch.context() as patch:
            deny(patch, path)
            with pytest.raises(
                UserError, match=f"Cannot read .*{name}: permission denied"
            ) as caught:
                verify_checkpoint(folder)
            assert not isinstance(caught.value, DataError)
    files.remove(files.join(folder, "state.index"))
    with pytest.raises(Damaged, match=r"state\.index is missing"):
        verify_checkpoint(folder)
    files.remove(files.join(folder, META))
    with pytest.raises(Damaged, match=r"meta\.json is missing"):
        verify_checkpoint(folder)


def test_a_folder_that_cannot_be_entered_is_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    path = str(tmp_path / "x")
    assert not is_there(path)
    assert not is_there(str(pathlib.Path(make(str(tmp_path / "c"))) / META / "below a file"))
    stat = os.stat

    def refused(what, *args, **kwargs):
        if what == path:
            raise PermissionError(13, "Permission denied")
        return stat(what, *args, **kwargs)

    monkeypatch.setattr(manifest.os, "stat", refused)
    with pytest.raises(UserError, match=r"Cannot look at .*x: Permission denied"):
        is_there(path)


@pytest.mark.parametrize("images", [0, 7, 48, 10**12 - 1, 10**12, 10**15])
def test_names_go_both_ways(images):
    assert count_of(name_of(images)) == images


@pytest.mark.parametrize(
    "name",
    [
        "",
        "48",
        "0000000000048",
        "00000000004x",
        "000000000048.damaged",
        "²" * 12,
        "٣" * 12,
        "notes",
    ],
)
def test_other_names_are_nobodys_count(name):
    assert count_of(name) is None


class TestOnTheDisk:
    @pytest.fixture
    def synced(self, monkeypatch):
        """What was put on the disk, in order."""
        found: list[str] = []

        def fsync(descriptor):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))

        monkeypatch.setattr(os, "fsync", fsync)
        return found

    def test_files_come_before_the_description_and_it_before_its_name(self, tmp_path, synced):
        folder = str(tmp_path.resolve() / name_of(48))
        make(folder)
        content = {f"{folder}/{WEIGHTS}", f"{folder}/state.index"}
        assert set(synced[:2]) == content
        before, partial, *after = synced[2:]
        assert partial.startswith(f"{folder}/{META}.") and partial.endswith(".partial")
        assert [before, *after] == [folder, folder, str(tmp_path.resolve())]

    def test_object_stores_are_left_alone(self, tmp_path, synced):
        make(f"ram://synced-{tmp_path.name}/{name_of(48)}")
        assert synced == []

    def test_a_disk_that_fails_is_told_and_one_that_cannot_wait_is_not(self, tmp_path, monkeypatch):
        def fails(number):
            def fsync(descriptor):
                raise OSError(number, os.strerror(number))

            return fsync

        monkeypatch.setattr(manifest.os, "fsync", fails(5))
        with pytest.raises(UserError, match=r"Cannot put .* on the disk: Input/output error"):
            make(str(tmp_path / name_of(48)))
        assert not is_there(str(tmp_path / name_of(48) / META))
        monkeypatch.setattr(manifest.os, "fsync", fails(22))
        manifest._to_disk(str(tmp_path))
