"""Entries of the journal, failures, and resuming."""

import pytest

from data_prep import journal
from tfdeblur.data.tfrecord import Shard
from tfdeblur.io import files

SHARDS = [Shard(f"train-0000{n}-of-00003.tfrecord", n, 10 * n, f"{n}" * 64) for n in range(3)]


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"ram://journal-{tmp_path.name}"


def test_journal_entries_are_read_back(folder):
    assert journal.read_head(folder) is None
    journal.begin(folder, {"source": "gopro"}, ())
    assert journal.read_head(folder) == {"source": "gopro"}
    for shard in SHARDS[:2]:
        journal.enter(folder, shard)
    assert journal.made(folder) == {shard.file: shard for shard in SHARDS[:2]}
    known = journal.made(folder)
    journal.enter(folder, SHARDS[2])
    assert journal.made(folder, known) == {shard.file: shard for shard in SHARDS}
    journal.close(folder)
    assert journal.read_head(folder) is None


def test_begin_keeps_only_entries_of_intact_shards(folder):
    journal.begin(folder, {"run": 1}, ())
    for shard in SHARDS:
        journal.enter(folder, shard)
    journal.enter_failure(folder, "test-00000-of-00001.tfrecord", "x.png is damaged.")
    partial = files.join(folder, journal.FOLDER, f"{SHARDS[0].file}.made.json.0a.partial")
    files.write_text(partial, "")
    journal.begin(folder, {"run": 2}, {SHARDS[1].file})
    assert journal.read_head(folder) == {"run": 2}
    assert journal.made(folder) == {SHARDS[1].file: SHARDS[1]}
    assert journal.first_failure(folder) is None
    assert len(files.list_dir(files.join(folder, journal.FOLDER))) == 2


def test_first_failure_counts_other_failures(folder):
    journal.begin(folder, {}, ())
    journal.enter_failure(folder, "b", "b.png is damaged.")
    assert str(journal.first_failure(folder)) == "b.png is damaged."
    journal.enter_failure(folder, "a", "a.png is damaged.")
    journal.enter_failure(folder, "c", "c.png is damaged.")
    assert str(journal.first_failure(folder)) == "a.png is damaged. 2 more shards failed."


def test_other_files_in_the_folder_of_the_journal_stay(folder):
    """Swift's package manager, for one, builds in a folder of the same name."""
    others = [files.join(folder, journal.FOLDER, name) for name in ("a.json", "debug/a.made.json")]
    for path in others:
        files.make_dirs(files.parent(path))
        files.write_text(path, "mine")
    for _ in range(2):
        journal.begin(folder, {"source": "gopro"}, ())
        journal.enter(folder, SHARDS[0])
        journal.close(folder)
    assert journal.read_head(folder) is None and journal.made(folder) == {}
    for path in others:
        assert files.read_text(path) == "mine"
