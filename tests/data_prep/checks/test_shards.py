"""Built data sets: every shard, every record, and repair that changes nothing else."""

import json
import os
import shutil

import pytest
import tensorflow as tf

from data_prep import build, doctor, plan
from data_prep.checks.findings import CODES
from tests.helpers import faulty_data as faulty
from tfdeblur.io import files


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A built data set of several shards, and its source."""
    folder = tmp_path_factory.mktemp("original")
    source = faulty.make_gopro(folder / "raw")
    patch = pytest.MonkeyPatch()
    # One frame per shard.
    patch.setattr(plan, "SHARD_BYTES", 2 * 3 * faulty.WIDTH * faulty.HEIGHT)
    assert (
        build.main(["gopro", "--source", source, "--out", str(folder / "set"), "--workers", "1"])
        == 0
    )
    patch.undo()
    return folder


@pytest.fixture
def built(original, tmp_path, monkeypatch):
    """A copy of the built data set."""
    monkeypatch.setattr(plan, "SHARD_BYTES", 2 * 3 * faulty.WIDTH * faulty.HEIGHT)
    shutil.copytree(original / "set", tmp_path / "set")
    return str(tmp_path / "set")


def content(root):
    found = {}
    for name in os.listdir(root):
        with open(f"{root}/{name}", "rb") as file:
            found[name] = file.read()
    return found


def test_examine_clean_built_set_has_no_findings(built, examine):
    before = content(built)
    report = examine(built)
    assert report.findings == [] and report.exit_code == 0, report.to_text()
    found = report
    assert (found.kind, found.source, found.pairs, found.examined) == ("built", "gopro", 8, 8)
    assert found.splits["test"] == {"GOPR0D": 2}
    assert report.psnr["pairs"] == 8
    assert content(built) == before


def first_shard(root, split="train"):
    return f"{root}/{sorted(n for n in os.listdir(root) if n.startswith(split))[0]}"


def truncate(root):
    os.truncate(first_shard(root), os.path.getsize(first_shard(root)) // 2)


def lose(root):
    os.remove(first_shard(root))


def empty(root):
    os.truncate(first_shard(root), 0)


def alter(root):
    path = first_shard(root)
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))


def lengthen(root):
    with open(first_shard(root), "ab") as file:
        file.write(b"more")


def stranger(root):
    shutil.copy(first_shard(root), f"{root}/train-00099-of-00100.tfrecord")


def partial(root):
    shutil.copy(first_shard(root), f"{first_shard(root)}.partial")


def no_manifest(root):
    os.remove(f"{root}/manifest.json")


def torn_manifest(root):
    os.truncate(f"{root}/manifest.json", 300)


def edit(change):
    """Returns a function that changes the manifest."""

    def run(root):
        with open(f"{root}/manifest.json") as file:
            manifest = json.load(file)
        change(manifest)
        with open(f"{root}/manifest.json", "w") as file:
            json.dump(manifest, file)

    return run


def newer(manifest):
    manifest["schema_version"] = 99


def miscount(manifest):
    manifest["splits"]["train"]["records"] += 1


def miscount_shard(manifest):
    manifest["splits"]["train"]["records"] += 1
    manifest["splits"]["train"]["shards"][0]["records"] += 1


def rewritten(change):
    """Returns a function that changes the records of a shard and updates the manifest."""

    def run(root):
        path = first_shard(root)
        records = [data.numpy() for data in tf.data.TFRecordDataset([path])]
        with tf.io.TFRecordWriter(path) as writer:
            for data in change(records):
                writer.write(data)

        def agree(content):
            for split in content["splits"].values():
                for shard in split["shards"]:
                    if path.endswith(shard["file"]):
                        split["records"] += len(list(change(records))) - shard["records"]
                        shard["records"] = len(list(change(records)))
                        shard["bytes"] = os.path.getsize(path)
                        shard["sha256"] = files.sha256_of(path)

        edit(agree)(root)

    return run


def example(data, **values):
    record = tf.train.Example.FromString(data)
    for name, value in values.items():
        kind = "int64_list" if isinstance(value, int) else "bytes_list"
        getattr(record.features.feature[name], kind).value[:] = [value]
    return record.SerializeToString()


def without(data, name):
    record = tf.train.Example.FromString(data)
    del record.features.feature[name]
    return record.SerializeToString()


FAULTS = [
    ("truncated", truncate, "shard-damaged", "truncated"),
    ("empty", empty, "shard-damaged", "truncated"),
    ("missing", lose, "shard-damaged", "missing"),
    ("altered", alter, "shard-damaged", "SHA-256"),
    ("altered-record", alter, "shard-damaged", "record 0"),
    ("longer", lengthen, "shard-damaged", "altered"),
    ("unlisted", stranger, "shard-unlisted", ""),
    ("partial", partial, "partial-file", ""),
    ("unfinished", no_manifest, "build-unfinished", ""),
    ("torn", torn_manifest, "manifest-damaged", ""),
    ("newer", edit(newer), "manifest-damaged", "version 99"),
    ("miscounted", edit(miscount), "records-inconsistent", "train"),
    ("miscounted-shard", edit(miscount_shard), "records-inconsistent", "records"),
    ("garbage", rewritten(lambda r: [b"garbage", *r]), "shard-damaged", "Record 0"),
    ("no-scene", rewritten(lambda r: [without(r[0], "scene")]), "shard-damaged", "scene"),
    ("png", rewritten(lambda r: [example(r[0], sharp=b"\x89PNG")]), "shard-damaged", "PNG"),
    (
        "small",
        rewritten(lambda r: [example(r[0], sharp=faulty.encoded(faulty.half()[:9], "PNG"))]),
        "shard-damaged",
        "PNG",
    ),
    ("twice", rewritten(lambda r: r * 2), "records-inconsistent", "repeats"),
    (
        "outside",
        rewritten(lambda r: [example(r[0], left=10)]),
        "records-inconsistent",
        "outside",
    ),
    (
        "stranger",
        rewritten(lambda r: [example(r[0], scene=b"other")]),
        "records-inconsistent",
        "scene other",
    ),
    ("leak", rewritten(lambda r: [example(r[0], scene=b"GOPR0D")]), "scene-in-two-splits", "train"),
]


@pytest.mark.parametrize(
    ("plant", "code", "detail"), [f[1:] for f in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_examine_faulty_built_set_is_found(built, examine, plant, code, detail):
    plant(built)
    before = content(built)
    report = examine(built)
    found = [f for f in report.findings if f.code == code and detail in f.detail]
    assert found, report.to_text()
    assert report.severity == max(CODES[f.code].severity for f in report.findings)
    assert report.severity == CODES[code].severity or code == "shard-unlisted"
    assert content(built) == before


@pytest.mark.parametrize("plant", [truncate, empty, lose, alter, lengthen])
def test_repair_damaged_shard_is_remade_and_nothing_else(built, examine, original, plant):
    before = content(built)
    stranger(built)
    with_stranger = content(built)
    plant(built)
    report = examine(built, repair=True)
    assert content(built) == with_stranger and len(with_stranger) == len(before) + 1
    codes = [finding.code for finding in report.findings]
    assert codes == ["shard-unlisted", "repaired"] and report.exit_code == 3
    assert report.findings[1].detail
    os.remove(f"{built}/train-00099-of-00100.tfrecord")
    assert examine(built).findings == []


def test_repair_with_changed_source_changes_nothing(built, examine, tmp_path, original):
    raw = shutil.copytree(original / "raw", tmp_path / "moved")
    lose(built)
    before = content(built)
    for folder in os.listdir(raw / "train"):
        blurred, _ = faulty.pair(501)
        faulty.write(f"{raw}/train/{folder}/blur/000000.png", blurred)
        faulty.write(f"{raw}/train/{folder}/blur/000001.png", blurred)
    report = examine(built, repair=True, raw=str(raw))
    assert content(built) == before
    (detail,) = [f.detail for f in report.findings if f.code == "not-repaired"]
    assert "SHA-256" in detail and report.exit_code == 4

    os.remove(f"{raw}/train/{folder}/blur/000000.png")
    os.remove(f"{raw}/train/{folder}/sharp/000000.png")
    report = examine(built, repair=True, raw=str(raw))
    (detail,) = [f.detail for f in report.findings if f.code == "not-repaired"]
    assert "have changed" in detail and content(built) == before

    report = examine(built, repair=True, raw=str(tmp_path / "nowhere"))
    (detail,) = [f.detail for f in report.findings if f.code == "not-repaired"]
    assert "nowhere" in detail and content(built) == before


def test_repair_with_raw_uses_moved_source(built, examine, tmp_path, original):
    complete = content(built)
    raw = shutil.copytree(original / "raw", tmp_path / "moved")
    lose(built)
    report = examine(built, repair=True, raw=str(raw))
    assert content(built) == complete and [f.code for f in report.findings] == ["repaired"]
    assert report.exit_code == 0


def test_repair_raw_set_changes_nothing(original, examine, tmp_path):
    raw = shutil.copytree(original / "raw", tmp_path / "raw")
    path = raw / "train/GOPR0A/blur/000000.png"
    path.write_bytes(path.read_bytes()[:500])
    report = examine(raw, repair=True)
    assert path.stat().st_size == 500 and report.exit_code == 4
    assert any("Nothing was repaired" in note for note in report.notes)


def test_examine_built_set_with_sample_decodes_some(built, examine):
    report = examine(built, sample=2)
    assert report.examined == 2 and report.pairs == 8
    assert any("2 of 8 records" in note for note in report.notes)


def test_examine_built_set_any_number_of_workers_reports_the_same(built):
    truncate(built)
    reports = []
    for workers in (1, 2):
        config = doctor.DoctorConfig(path=(built,), workers=workers)
        reports.append(doctor.run(config).to_json())
    assert reports[0] == reports[1]
