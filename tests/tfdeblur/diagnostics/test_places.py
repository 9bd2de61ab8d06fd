"""Folders and buckets are tried by writing into them."""

import os
import shutil
from collections import namedtuple

import pytest

from tests.helpers.tiny_data import write_data_set
from tfdeblur.diagnostics import places
from tfdeblur.errors import UserError
from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Answer

Usage = namedtuple("Usage", "total used free")


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path):
    permission, space = places.folder("work directory", str(tmp_path / "runs" / "new"))
    assert permission.status == "ok" and "can be made there" in permission.text
    assert "GiB free" in space.text
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    (finding,) = places.folder("work directory", str(tmp_path / "file"))
    assert finding.status == "wrong" and "is a file" in finding.text


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    finding = places.folder("work directory", str(tmp_path))[0]
    monkeypatch.undo()
    assert finding.status == "wrong" and "Permission denied" in finding.text
    assert str(tmp_path) in finding.advice


@pytest.mark.parametrize(
    ("free", "status"), [(places.ENOUGH, "ok"), (places.NEEDED, "warning"), (1, "wrong")]
)
def test_disk_space(tmp_path, monkeypatch, free, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free))
    assert places.folder("work directory", str(tmp_path))[1].status == status


def test_what_the_program_does(folder):
    from tfdeblur.io import files

    answer = places._work({"path": folder})
    assert answer["seconds"] >= 0
    assert files.list_dir(folder) == []


def test_bytes_that_come_back_changed(folder, monkeypatch):
    from tfdeblur.io import files

    monkeypatch.setattr(files, "read_bytes", lambda path: b"other")
    with pytest.raises(UserError, match="other bytes"):
        places._work({"path": folder})


def test_a_scheme_that_is_not_there():
    answer = places._work({"path": "nowhere://bucket"})
    assert answer["unknown_scheme"] and "nowhere://" in answer[subprocesses.ERROR]


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (Answer({"unknown_scheme": True}, "cannot read gs://"), "gs"),
        (Answer({}, "permission denied"), "Storage Object Admin"),
        (Answer({}, "late", timed_out=True), "network"),
        (Answer({}, "libcurl code 6: Couldn't resolve host 'x'"), "network"),
    ],
)
def test_a_bucket_that_cannot_be_written(monkeypatch, answer, advice):
    monkeypatch.setattr(subprocesses, "ask", lambda *args, **options: answer)
    (finding,) = places.folder("work directory", "gs://bucket/runs")
    assert finding.status == "wrong" and advice in finding.advice
    assert finding.text == answer.error


def test_what_a_bucket_says_is_one_line(monkeypatch):
    answer = Answer({}, "denied\n\t when writing")
    monkeypatch.setattr(subprocesses, "ask", lambda *args, **options: answer)
    assert places.remote("bucket", "gs://b").text == "denied when writing"


def test_one_slash_is_no_bucket():
    (finding,) = places.folder("bucket", "gs:/b/runs")
    assert finding.status == "wrong" and "write gs://b/runs" in finding.text


def test_data_is_what_has_a_manifest(tmp_path):
    missing = places.data(str(tmp_path / "none"))
    assert missing.status == "wrong" and "does not exist" in missing.text
    write_data_set(str(tmp_path))
    found = places.data(str(tmp_path))
    assert found.status == "ok" and "24 in train, 6 in val" in found.text


def test_a_bucket_that_can(monkeypatch):
    monkeypatch.setattr(subprocesses, "ask", lambda *args, **options: Answer({"seconds": 0.5}))
    assert places.remote("bucket", "gs://bucket").status == "ok"
