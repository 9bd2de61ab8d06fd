"""Folders and buckets are checked by writing to them."""

import os
import shutil
from collections import namedtuple

import pytest

from tests.helpers.tiny_data import write_data_set
from tfdeblur.diagnostics import places
from tfdeblur.errors import UserError
from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Reply

Usage = namedtuple("Usage", "total used free")


def test_folder_that_can_be_created_is_ok_and_not_created(tmp_path):
    permission, space = places.folder("work directory", str(tmp_path / "runs" / "new"))
    assert permission.status == "ok" and "can be created" in permission.text
    assert "GiB free" in space.text
    assert os.listdir(tmp_path) == []


def test_folder_that_is_a_file_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    (finding,) = places.folder("work directory", str(tmp_path / "file"))
    assert finding.status == "wrong" and "is a file" in finding.text


def test_folder_without_write_permission_is_wrong(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    finding = places.folder("work directory", str(tmp_path))[0]
    monkeypatch.undo()
    assert finding.status == "wrong" and "Permission denied" in finding.text
    assert str(tmp_path) in finding.advice


@pytest.mark.parametrize(
    ("free", "status"),
    [(places.RECOMMENDED_SPACE, "ok"), (places.MIN_SPACE, "warning"), (1, "wrong")],
)
def test_folder_status_depends_on_free_space(tmp_path, monkeypatch, free, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free))
    assert places.folder("work directory", str(tmp_path))[1].status == status


def test_work_leaves_no_files_behind(folder):
    from tfdeblur.io import files

    reply = places._work({"path": folder})
    assert reply["seconds"] >= 0
    assert files.list_dir(folder) == []


def test_work_with_changed_bytes_raises_user_error(folder, monkeypatch):
    from tfdeblur.io import files

    monkeypatch.setattr(files, "read_bytes", lambda path: b"other")
    with pytest.raises(UserError, match="other bytes"):
        places._work({"path": folder})


def test_work_with_an_unknown_scheme_replies_with_an_error():
    reply = places._work({"path": "nowhere://bucket"})
    assert reply["unknown_scheme"] and "nowhere://" in reply[subprocesses.ERROR]


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (Reply({"unknown_scheme": True}, "cannot read gs://"), "gs"),
        (Reply({}, "permission denied"), "Storage Object Admin"),
        (Reply({}, "late", timed_out=True), "network"),
        (Reply({}, "libcurl code 6: Couldn't resolve host 'x'"), "network"),
    ],
)
def test_bucket_with_an_error_is_wrong_with_matching_advice(monkeypatch, reply, advice):
    monkeypatch.setattr(subprocesses, "call", lambda *args, **options: reply)
    (finding,) = places.folder("work directory", "gs://bucket/runs")
    assert finding.status == "wrong" and advice in finding.advice
    assert finding.text == reply.error


def test_bucket_with_a_long_error_reports_it_in_one_line(monkeypatch):
    reply = Reply({}, "denied\n\t when writing")
    monkeypatch.setattr(subprocesses, "call", lambda *args, **options: reply)
    assert places.remote("bucket", "gs://b").text == "denied when writing"


def test_bucket_with_one_slash_is_wrong():
    (finding,) = places.folder("bucket", "gs:/b/runs")
    assert finding.status == "wrong" and "gs://b/runs" in finding.text


def test_data_reports_records_and_missing_manifest(tmp_path):
    missing = places.data(str(tmp_path / "none"))
    assert missing.status == "wrong" and "does not exist" in missing.text
    write_data_set(str(tmp_path))
    found = places.data(str(tmp_path))
    assert found.status == "ok" and "24 in train, 6 in val" in found.text


def test_bucket_without_error_is_ok(monkeypatch):
    monkeypatch.setattr(subprocesses, "call", lambda *args, **options: Reply({"seconds": 0.5}))
    assert places.remote("bucket", "gs://bucket").status == "ok"
