"""Examines a built data set: the manifest, every shard, every record."""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterator

import tensorflow as tf

from data_prep.checks import sets
from data_prep.checks.examination import Examination, Halves, chosen, progress
from data_prep.checks.findings import Finding
from data_prep.checks.pairs import RecordTask, judge_frames, run_task
from data_prep.checks.pool import ordered
from data_prep.checks.repair import Remaker
from data_prep.journal import FOLDER as JOURNAL
from tfdeblur.data import schema
from tfdeblur.data.encoding import decode_image
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files

# Bytes of records that go to a process together.
_CHUNK_BYTES = 4 << 20


def is_built(root: str) -> bool:
    """Tells whether a folder holds a built set, whole or not."""
    return files.is_dir(root) and (
        files.exists(files.join(root, schema.MANIFEST_NAME))
        or files.is_dir(files.join(root, JOURNAL))
        or any(name.endswith(schema.SHARD_SUFFIX) for name in files.list_dir(root))
    )


def examine(
    root: str, sample: int | None, workers: int, repair: bool = False, raw: str | None = None
) -> Examination:
    """Examines a built data set, and makes broken shards again if it is told to.

    Args:
        root: Its folder.
        sample: How many records are decoded; None decodes all. All are parsed in any case.
        workers: Number of processes.
        repair: Whether to make shards again that are missing, cut off or altered.
        raw: Where the raw set lies now, if not where the manifest says.

    Raises:
        UserError: A process was killed, or a shard cannot be written.
    """
    found = Examination("built")
    names = files.list_dir(root)
    found.findings += [
        Finding("partial-file", files.join(root, name))
        for name in names
        if name.endswith(files.PARTIAL_SUFFIX)
    ]
    manifest = _manifest(root, found)
    shards = [name for name in names if name.endswith(schema.SHARD_SUFFIX)]
    found.files = {"shards": len(shards), "others": len(names) - len(shards)}
    if manifest is None:
        if repair:
            found.notes.append("Nothing was repaired: without a manifest nobody knows the options.")
        return found
    found.source = manifest.source
    found.layout = (
        f"built from {manifest.source}, schema {manifest.schema_version}, blur "
        f"{manifest.blur.get('kind', 'unknown')}"
    )
    found.notes += manifest.notes
    broken = _files(root, manifest, set(shards), found)
    if repair:
        broken = _repair(root, manifest, broken, found, raw)
    _records(root, manifest, broken, found, sample, workers)
    return found


def _manifest(root: str, found: Examination) -> schema.Manifest | None:
    """Reads the manifest; counts that disagree are told and do not end the examination."""
    path = files.join(root, schema.MANIFEST_NAME)
    if not files.exists(path):
        found.findings.append(Finding("build-unfinished", root))
        return None
    try:
        return schema.Manifest.load(root)
    except UserError as error:
        said = str(error)
    try:
        content = files.read_json(path)
        splits = {}
        for name, split in content["splits"].items():
            shards = tuple(schema.Shard(**shard) for shard in split["shards"])
            held = sum(shard.records for shard in shards)
            if held != split["records"]:
                told = f"Split {name} claims {split['records']} records, its shards hold {held}."
                found.findings.append(Finding("count-differs", path, told))
            splits[name] = schema.Split(
                **{**split, "shards": shards, "scenes": tuple(split["scenes"]), "records": held}
            )
        manifest = schema.Manifest(
            **{**content, "splits": splits, "notes": tuple(content.get("notes", ()))}
        )
        if manifest.schema_version == schema.SCHEMA_VERSION:
            return manifest
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        pass  # The first message says more than that of another attempt.
    found.findings.append(Finding("manifest-damaged", path, said))
    return None


def _files(
    root: str, manifest: schema.Manifest, present: set[str], found: Examination
) -> dict[str, Finding]:
    """Compares sizes and checksums with the manifest; returns what is wrong by shard."""
    wrong: dict[str, Finding] = {}
    listed = [shard for split in manifest.splits.values() for shard in split.shards]
    for shard in progress(listed, len(listed), "checksums"):
        path = files.join(root, shard.file)
        if shard.file not in present:
            wrong[shard.file] = Finding("shard-missing", path)
            continue
        size = files.size(path)
        said = f"It is {size} bytes, and should be {shard.bytes}."
        if size < shard.bytes:
            wrong[shard.file] = Finding("shard-truncated", path, said)
        elif size > shard.bytes:
            wrong[shard.file] = Finding("shard-altered", path, said)
        elif schema.sha256_of(path) != shard.sha256:
            wrong[shard.file] = Finding("shard-altered", path, "Its SHA-256 is another.")
    found.findings += wrong.values()
    known = {shard.file for shard in listed}
    found.findings += [
        Finding("shard-unlisted", files.join(root, name)) for name in sorted(present - known)
    ]
    return wrong


def _repair(
    root: str,
    manifest: schema.Manifest,
    broken: dict[str, Finding],
    found: Examination,
    raw: str | None,
) -> dict[str, Finding]:
    """Makes broken shards again; returns those that are still broken."""
    if not broken:
        found.notes.append("Nothing needed repair: all shards are as the manifest says.")
        return broken
    left = {}
    remaker = Remaker(root, manifest, raw)
    for file, finding in progress(sorted(broken.items()), len(broken), "shards made again"):
        try:
            remaker.make(file)
        except UserError as error:
            left[file] = finding
            found.findings.append(Finding("not-repaired", finding.file, str(error)))
        else:
            found.findings.remove(finding)
            was = f"It was {finding.code.removeprefix('shard-')}."
            found.findings.append(Finding("repaired", finding.file, was))
    return left


@dataclasses.dataclass
class _Reader:
    """Reads the records of a set one by one, and keeps count."""

    root: str
    manifest: schema.Manifest
    broken: dict[str, Finding]
    found: Examination
    sample: int | None

    def __post_init__(self) -> None:
        self.places: dict[str, tuple[str, str, int]] = {}
        self.scenes: dict[str, collections.Counter[str]] = {}
        self._tiles: set[int] = set()
        self._home: dict[str, str] = {}
        self._deep = chosen(self.total, self.sample)

    @property
    def total(self) -> int:
        """How many records the manifest lists."""
        return sum(split.records for split in self.manifest.splits.values())

    def tasks(self) -> Iterator[RecordTask]:
        """Yields one task for each record."""
        place = 0
        for name, split in self.manifest.splits.items():
            self.scenes[name] = collections.Counter()
            for shard in split.shards:
                path = files.join(self.root, shard.file)
                fault = self.broken.get(shard.file)
                if fault is None:
                    count = 0
                    for index, data in enumerate(self._read(path)):
                        task = self._task(name, split, path, index, data, self._deep(place + index))
                        count += 1
                        if task is not None:
                            yield task
                    if count != shard.records:
                        said = f"It holds {count} records, and should hold {shard.records}."
                        self.found.findings.append(Finding("count-differs", path, said))
                elif fault.code == "shard-altered":
                    # Which record is hit; where a file is cut off there is nothing to say.
                    damage = schema.find_damage(path, split.height, split.width, split.encoding)
                    if damage is not None:
                        self.found.findings.append(Finding("shard-damaged", path, damage))
                place += shard.records

    def _read(self, path: str) -> Iterator[bytes]:
        try:
            yield from _framed(path)
        except DataError as error:
            self.found.findings.append(Finding("shard-damaged", path, str(error)))

    def _task(
        self, name: str, split: schema.Split, path: str, index: int, data: bytes, deep: bool
    ) -> RecordTask | None:
        try:
            record = schema.read_features(data)
        except DataError as error:
            said = f"Record {index} is no record of this schema: {error}"
            self.found.findings.append(Finding("shard-damaged", path, said))
            return None
        scene, frame, top, left = (record[key] for key in ("scene", "frame", "top", "left"))
        where = f"{path}, record {index}"
        tile = hash((scene, frame, top, left))
        if tile in self._tiles:
            said = f"It is {scene}/{frame} at {left}, {top} once more."
            self.found.findings.append(Finding("record-repeated", where, said))
        self._tiles.add(tile)
        other = self._home.setdefault(scene, name)
        if other != name and self.scenes[name][scene] == 0:
            said = f"It is in {other} and in {name}."
            self.found.findings.append(Finding("scene-in-two-splits", scene, said))
        if scene not in split.scenes and self.scenes[name][scene] == 0:
            self.found.findings.append(Finding("record-strange-scene", where, f"It is of {scene}."))
        self.scenes[name][scene] += 1
        height, width = record["source_height"], record["source_width"]
        if not (0 <= top <= height - split.height and 0 <= left <= width - split.width):
            said = f"It is {split.width}x{split.height} at {left}, {top} of {width}x{height}."
            self.found.findings.append(Finding("record-out-of-frame", where, said))
        key = f"{scene}/{frame} at {left}, {top}"
        if deep:
            self.places[key] = (name, path, index)
        self.found.examined += deep
        return RecordTask(
            key=key,
            split=name,
            place=where,
            frame="" if (height, width) == (split.height, split.width) else f"{scene}/{frame}",
            blurred=record["blurred"] if deep else b"",
            sharp=record["sharp"] if deep else b"",
            height=split.height,
            width=split.width,
            encoding=split.encoding,
            deep=deep,
            recorded=self.manifest.blur.get("kind") == "recorded",
        )


def _framed(path: str) -> Iterator[bytes]:
    """Yields the records of a shard: length (8 bytes), its checksum (4), data, its checksum (4).

    tf.data would trace a graph anew for each shard. The checksums need no look: that of the whole
    file has been compared.

    Raises:
        DataError: The file ends inside of a record.
    """
    with tf.io.gfile.GFile(path, "rb") as file:
        index = 0
        while head := file.read(12):
            length = int.from_bytes(head[:8], "little")
            data = file.read(length + 4) if len(head) == 12 else b""
            if len(data) < length + 4:
                raise DataError(f"The file ends inside of record {index}.")
            yield data[:-4]
            index += 1


def _records(
    root: str,
    manifest: schema.Manifest,
    broken: dict[str, Finding],
    found: Examination,
    sample: int | None,
    workers: int,
) -> None:
    reader = _Reader(root, manifest, broken, found, sample)
    sizes = [2 * 3 * split.height * split.width for split in manifest.splits.values()]
    chunk = max(1, min(64, _CHUNK_BYTES // max(sizes, default=1)))
    outcomes = ordered(run_task, reader.tasks(), workers, chunk)
    for outcome in progress(outcomes, reader.total, "records"):
        found.findings += outcome.findings
        if outcome.measure is not None:
            found.measures.append(outcome.measure)
    found.measures, judged = judge_frames(found.measures)
    found.findings += judged
    if found.measures and all(m.psnr == math.inf for m in found.measures):
        found.findings.append(Finding("identical-halves", root, "So are all of them."))
    found.pairs = reader.total
    found.splits = {name: dict(sorted(scenes.items())) for name, scenes in reader.scenes.items()}
    if sample is not None and sample < reader.total:
        found.notes.append(
            f"Pictures were decoded of {found.examined} of {reader.total} records (--sample): the "
            "others were only parsed."
        )
    whole, found.twins, notes = sets.check(found.measures)
    found.findings += whole
    found.notes += notes

    def load(key: str) -> Halves:
        name, path, index = reader.places[key]
        split = manifest.splits[name]
        record = schema.read_features(next(itertools.islice(_framed(path), index, None)))
        blurred, sharp = (
            decode_image(record[half], split.height, split.width, split.encoding)
            for half in ("blurred", "sharp")
        )
        return blurred, sharp

    found.load = load
