"""The manifest: written last, verified when read; unreadable files are not damage."""

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
    STATE,
    WEIGHTS,
    WEIGHTS_FORMAT_1,
    Damaged,
    checkpoint_name,
    image_count,
    path_exists,
    read_meta,
    sealed,
    verify_checkpoint,
    weights_file,
    write_meta,
)
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files

ABOUT = {
    "format": 2,
    "images": 48,
    "epoch_images": 24,
    "model": {"name": "unet16", "width": 4, "levels": (1, 2)},
    "averaged": False,
    "metrics": {"psnr_db": 23.5, "ssim": 1},
}


def make(folder: str, **changes) -> str:
    files.make_dirs(folder)
    files.write_bytes(files.join(folder, WEIGHTS), b"weights")
    files.write_bytes(files.join(folder, STATE), b"state")
    write_meta(folder, {**ABOUT, **changes})
    return folder


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    root = str(tmp_path) if request.param == "local" else f"ram://meta-{tmp_path.name}"
    return make(files.join(root, checkpoint_name(48)))


def put(folder: str, meta) -> None:
    files.write_text(files.join(folder, META), json.dumps(meta))


def without_checksum(meta):
    return {name: value for name, value in meta.items() if name != "sha256"}


def test_written_manifest_is_read_back(folder):
    meta = verify_checkpoint(folder)
    assert {name: meta[name] for name in ("images", "metrics")} == {
        "images": 48,
        "metrics": {"psnr_db": 23.5, "ssim": 1},
    }
    assert meta["model"]["levels"] == [1, 2]
    assert set(meta["files"]) == {WEIGHTS, STATE}
    assert files.list_dir(folder) == [WEIGHTS, META, STATE]


def test_read_format_1_finds_its_weights_file(tmp_path):
    folder = str(tmp_path / "old")
    files.make_dirs(folder)
    files.write_bytes(files.join(folder, WEIGHTS_FORMAT_1), b"weights")
    meta = write_meta(folder, {**ABOUT, "format": 1})
    assert weights_file(meta) == WEIGHTS_FORMAT_1
    put(folder, sealed({**meta, "format": 2}))
    with pytest.raises(Damaged, match=WEIGHTS):
        read_meta(folder)


def test_read_manifest_without_checksum(folder):
    old = without_checksum(read_meta(folder))
    put(folder, old)
    assert verify_checkpoint(folder) == old
    del old["epoch_images"]
    put(folder, old)
    assert verify_checkpoint(folder) == old


def test_read_manifest_with_unknown_entry_returns_it(folder):
    later = sealed({**read_meta(folder), "weather": "rain"})
    put(folder, later)
    assert read_meta(folder) == later


def test_read_manifest_with_flipped_bit_raises_damaged(tmp_path, monkeypatch):
    folder = make(str(tmp_path / checkpoint_name(48)))
    data, written = files.read_bytes(files.join(folder, META)), read_meta(folder)
    passed = 0
    # Every bit is tried, which would take too long with real files.
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
    # White space and escaped letters: the few changes that do not change the content.
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
    "engine": [3, "x", []],
    "origin": [3, "x"],
    "format": [None, "1", 1.0, True, []],
}


@pytest.mark.parametrize("entry", WRONG)
def test_read_manifest_with_wrong_type_raises_damaged(entry, tmp_path):
    folder = make(str(tmp_path / checkpoint_name(48)))
    meta = read_meta(folder)
    for value in WRONG[entry]:
        for changed in (sealed({**meta, entry: value}), {**without_checksum(meta), entry: value}):
            put(folder, changed)
            with pytest.raises(Damaged, match=r"meta\.json is damaged \(.*\)\. Remove"):
                read_meta(folder)


@pytest.mark.parametrize("entry", ["files", "images", "model", "metrics", "format"])
def test_read_manifest_with_missing_entry_raises_damaged(entry, folder):
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
        b'{"format": 2, "images": ' + b"9" * 5000 + b"}",
    ],
    ids=range(10),
)
def test_read_other_content_raises_damaged(content, folder):
    files.write_bytes(files.join(folder, META), content)
    with pytest.raises(Damaged, match="is damaged"):
        read_meta(folder)


def test_read_manifest_with_non_json_number_raises_damaged(folder):
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
def test_read_manifest_with_any_value_is_refused_or_valid(entry, value, seal, tmp_path_factory):
    folder = make(f"ram://any-{tmp_path_factory.getbasetemp().name}/{checkpoint_name(48)}")
    meta = {**copy.deepcopy(read_meta(folder)), entry: value}
    put(folder, sealed(meta) if seal else without_checksum(meta))
    try:
        read = read_meta(folder)
    except DataError:
        return
    assert read["format"] == 2 and read["images"] == 48
    assert isinstance(read["model"]["name"], str)
    assert read["files"].keys() >= {WEIGHTS}
    assert all(isinstance(score, int | float) for score in read["metrics"].values())


def test_read_unknown_format_raises_data_error(folder):
    for meta in (sealed({**read_meta(folder), "format": 99}), {"format": 99, "new": []}):
        put(folder, meta)
        with pytest.raises(DataError, match="format 99") as caught:
            read_meta(folder)
        assert not isinstance(caught.value, Damaged)


def test_read_manifest_in_folder_of_other_count_raises_damaged(tmp_path):
    folder = make(str(tmp_path / checkpoint_name(56)), images=56)
    os.rename(folder, tmp_path / checkpoint_name(64))
    with pytest.raises(Damaged, match="images: 56"):
        read_meta(str(tmp_path / checkpoint_name(64)))
    # Copies may have names without a count, and converted networks any name.
    os.rename(tmp_path / checkpoint_name(64), tmp_path / "good one")
    assert read_meta(str(tmp_path / "good one"))["images"] == 56
    ported = make(str(tmp_path / "123456789012"), images=0, origin={"license": "MIT"})
    assert read_meta(ported)["images"] == 0


def test_verify_with_missing_file_raises_damaged_and_unreadable_user_error(folder, monkeypatch):
    for name in (META, STATE):
        path = files.join(folder, name)
        with monkeypatch.context() as patch:
            deny(patch, path)
            with pytest.raises(
                UserError, match=f"Cannot read .*{name}: permission denied"
            ) as caught:
                verify_checkpoint(folder)
            assert not isinstance(caught.value, DataError)
    files.remove(files.join(folder, STATE))
    with pytest.raises(Damaged, match=r"state\.safetensors is missing"):
        verify_checkpoint(folder)
    files.remove(files.join(folder, META))
    with pytest.raises(Damaged, match=r"meta\.json is missing"):
        verify_checkpoint(folder)


def test_path_exists_with_inaccessible_path_raises_user_error(tmp_path, monkeypatch):
    path = str(tmp_path / "x")
    assert not path_exists(path)
    assert not path_exists(str(pathlib.Path(make(str(tmp_path / "c"))) / META / "below a file"))
    stat = os.stat

    def refused(what, *args, **kwargs):
        if what == path:
            raise PermissionError(13, "Permission denied")
        return stat(what, *args, **kwargs)

    monkeypatch.setattr(manifest.os, "stat", refused)
    with pytest.raises(UserError, match=r"Cannot look at .*x: Permission denied"):
        path_exists(path)


@pytest.mark.parametrize("images", [0, 7, 48, 10**12 - 1, 10**12, 10**15])
def test_checkpoint_name_and_image_count_are_inverse(images):
    assert image_count(checkpoint_name(images)) == images


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
def test_image_count_of_other_names_is_none(name):
    assert image_count(name) is None


class TestOnTheDisk:
    @pytest.fixture
    def synced(self, monkeypatch):
        """Paths passed to fsync, in order."""
        found: list[str] = []

        def fsync(descriptor):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))

        monkeypatch.setattr(os, "fsync", fsync)
        return found

    def test_write_meta_syncs_files_before_the_manifest_and_it_before_its_name(
        self, tmp_path, synced
    ):
        folder = str(tmp_path.resolve() / checkpoint_name(48))
        make(folder)
        content = {f"{folder}/{WEIGHTS}", f"{folder}/{STATE}"}
        assert set(synced[:2]) == content
        before, partial, *after = synced[2:]
        assert partial.startswith(f"{folder}/{META}.") and partial.endswith(".partial")
        assert [before, *after] == [folder, folder, str(tmp_path.resolve())]

    def test_write_meta_on_object_store_syncs_nothing(self, tmp_path, synced):
        make(f"ram://synced-{tmp_path.name}/{checkpoint_name(48)}")
        assert synced == []

    def test_write_meta_with_failing_fsync_raises_but_ignores_unsupported(
        self, tmp_path, monkeypatch
    ):
        def fails(number):
            def fsync(descriptor):
                raise OSError(number, os.strerror(number))

            return fsync

        monkeypatch.setattr(manifest.os, "fsync", fails(5))
        with pytest.raises(UserError, match=r"Cannot put .* on the disk: Input/output error"):
            make(str(tmp_path / checkpoint_name(48)))
        assert not path_exists(str(tmp_path / checkpoint_name(48) / META))
        monkeypatch.setattr(manifest.os, "fsync", fails(22))
        manifest._sync(str(tmp_path))
