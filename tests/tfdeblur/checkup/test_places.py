"""Folders and buckets are tried by writing into them."""

import os
import shutil
from collections import namedtuple

import pytest

from tfdeblur import programs
from tfdeblur.checkup import places
from tfdeblur.errors import UserError
from tfdeblur.programs import Answer

Usage = namedtuple("Usage", "total used free")


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path):
    permission, space = places.workdir(str(tmp_path / "runs" / "new"))
    assert permission.status == "ok" and "can be made there" in permission.text
    assert "GiB free" in space.text
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    (finding,) = places.workdir(str(tmp_path / "file"))
    assert finding.status == "wrong" and "is a file" in finding.text


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    finding = places.workdir(str(tmp_path))[0]
    monkeypatch.undo()
    assert finding.status == "wrong" and "Permission denied" in finding.text
    assert str(tmp_path) in finding.advice


@pytest.mark.parametrize(
    ("free", "status"), [(places.ENOUGH, "ok"), (places.NEEDED, "warning"), (1, "wrong")]
)
def test_disk_space(tmp_path, monkeypatch, free, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free))
    assert places.workdir(str(tmp_path))[1].status == status


def test_what_the_program_does(folder):
    from tfdeblur import files

    answer = places._work({"path": folder})
    assert answer["seconds"] >= 0
    assert files.list_dir(folder) == []


def test_bytes_that_come_back_changed(folder, monkeypatch):
    from tfdeblur import files

    monkeypatch.setattr(files, "read_bytes", lambda path: b"other")
    with pytest.raises(UserError, match="other bytes"):
        places._work({"path": folder})


def test_a_scheme_that_is_not_there():
    answer = places._work({"path": "nowhere://bucket"})
    assert answer["unknown_scheme"] and "nowhere://" in answer[programs.ERROR]


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (Answer({"unknown_scheme": True}, "cannot read gs://"), "gs"),
        (Answer({}, "permission denied"), "Storage Object Admin"),
        (Answer({}, "late", timed_out=True), "network"),
    ],
)
def test_a_bucket_that_cannot_be_written(monkeypatch, answer, advice):
    monkeypatch.setattr(programs, "ask", lambda *args, **options: answer)
    (finding,) = places.workdir("gs://bucket/runs")
    assert finding.status == "wrong" and advice in finding.advice
    assert finding.text == answer.error


def test_a_bucket_that_can(monkeypatch):
    monkeypatch.setattr(programs, "ask", lambda *args, **options: Answer({"seconds": 0.5}))
    assert places.remote("bucket", "gs://bucket").status == "ok"
