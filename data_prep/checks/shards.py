"""Examines a built data set: the manifest, every shard, every record."""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from data_prep.checks import sets
from data_prep.checks.findings import Finding
from data_prep.checks.pairs import RecordTask, check_frames, run_task
from data_prep.checks.repair import Repair
from data_prep.checks.report import Examination, Halves, sampled
from data_prep.journal import FOLDER as JOURNAL
from data_prep.plan import size_text
from data_prep.processes import ordered
from tfdeblur.data import schema
from tfdeblur.data.encoding import decode_image
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files

# Maximum bytes of records that are sent to a process together.
_CHUNK_BYTES = 4 << 20


def is_built(root: str) -> bool:
    """Returns whether a folder contains a built data set, complete or not."""
    return files.is_dir(root) and (
        files.exists(files.join(root, schema.MANIFEST_NAME))
        or files.is_dir(files.join(root, JOURNAL))
        or any(name.endswith(schema.SHARD_SUFFIX) for name in files.list_dir(root))
    )


def examine(
    root: str, sample: int | None, workers: int, repair: bool = False, raw: str | None = None
) -> Examination:
    """Examines a built data set, and optionally remakes damaged shards.

    Args:
        root: Its folder.
        sample: How many records to decode; None decodes all. All are parsed in any case.
        workers: Number of processes.
        repair: Whether to remake shards that are missing, truncated or altered.
        raw: Current location of the raw data set, if it has moved.

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
    manifest = _load_manifest(root, found)
    shards = [name for name in names if name.endswith(schema.SHARD_SUFFIX)]
    found.files = {"shards": len(shards), "others": len(names) - len(shards)}
    if manifest is None:
        if repair:
            found.notes.append("Nothing was repaired: without a manifest the options are unknown.")
        return found
    found.source = manifest.source
    found.layout = (
        f"built from {manifest.source}, schema {manifest.schema_version}, blur "
        f"{manifest.blur.get('kind', 'unknown')}"
    )
    found.notes += manifest.notes
    damaged = _check_files(root, manifest, set(shards), found)
    if repair:
        damaged = _repair(Repair(root, manifest, raw), damaged, found)
    _check_records(_Records(root, manifest, damaged, found, sample), workers)
    return found


def _load_manifest(root: str, found: Examination) -> schema.Manifest | None:
    """Returns the manifest; wrong numbers of records are findings and corrected."""
    path = files.join(root, schema.MANIFEST_NAME)
    if not files.exists(path):
        found.findings.append(Finding("build-unfinished", root))
        return None
    try:
        return schema.Manifest.load(root)
    except UserError as error:
        message = str(error)
    try:
        content = files.read_json(path)
        splits = {}
        for name, split in content["splits"].items():
            shards = tuple(schema.Shard(**shard) for shard in split["shards"])
            records = sum(shard.records for shard in shards)
            if records != split["records"]:
                detail = f"Split {name} has {split['records']} records, its shards {records}."
                found.findings.append(Finding("records-inconsistent", path, detail))
            splits[name] = schema.Split(
                **{**split, "shards": shards, "scenes": tuple(split["scenes"]), "records": records}
            )
        manifest = schema.Manifest(
            **{**content, "splits": splits, "notes": tuple(content.get("notes", ()))}
        )
        if manifest.schema_version == schema.SCHEMA_VERSION:
            return manifest
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        pass  # The first message is more precise.
    found.findings.append(Finding("manifest-damaged", path, message))
    return None


def _check_files(
    root: str, manifest: schema.Manifest, present: set[str], found: Examination
) -> dict[str, Finding]:
    """Compares sizes and SHA-256 with the manifest; returns the findings by shard."""
    damaged: dict[str, Finding] = {}
    listed = [shard for split in manifest.splits.values() for shard in split.shards]
    for shard in tqdm(listed, unit=" checksums", desc="doctor"):
        problem = _file_problem(root, shard, present)
        if problem:
            path = files.join(root, shard.file)
            damaged[shard.file] = Finding("shard-damaged", path, problem)
    found.findings += damaged.values()
    unlisted = sorted(present - {shard.file for shard in listed})
    found.findings += [Finding("shard-unlisted", files.join(root, name)) for name in unlisted]
    return damaged


def _file_problem(root: str, shard: schema.Shard, present: set[str]) -> str:
    path = files.join(root, shard.file)
    if shard.file not in present:
        return "It is missing."
    size = files.size(path)
    if size != shard.bytes:
        problem = "truncated" if size < shard.bytes else "altered"
        return f"It is {problem}: {size} bytes instead of {shard.bytes}."
    if schema.sha256_of(path) != shard.sha256:
        return "It is altered: its SHA-256 differs from the manifest."
    return ""


def _repair(repair: Repair, damaged: dict[str, Finding], found: Examination) -> dict[str, Finding]:
    """Remakes damaged shards; returns those that are still damaged."""
    if not damaged:
        found.notes.append("Nothing needed repair: all shards match the manifest.")
    left = {}
    for file, finding in tqdm(sorted(damaged.items()), unit=" shards remade", desc="doctor"):
        try:
            repair.remake(file)
        except UserError as error:
            left[file] = finding
            found.findings.append(Finding("not-repaired", finding.file, str(error)))
        else:
            found.findings.remove(finding)
            found.findings.append(Finding("repaired", finding.file, f"Before: {finding.detail}"))
    return left


@dataclasses.dataclass
class _Records:
    """Reads and checks the records of a data set."""

    root: str
    manifest: schema.Manifest
    damaged: dict[str, Finding]
    found: Examination
    sample: int | None

    def __post_init__(self) -> None:
        self.scenes = {name: collections.Counter[str]() for name in self.manifest.splits}
        self.total = sum(split.records for split in self.manifest.splits.values())
        self._chosen = sampled(self.total, self.sample)
        self._places: dict[str, tuple[schema.Split, str, int]] = {}
        self._tiles: set[int] = set()
        self._home: dict[str, str] = {}

    def tasks(self) -> Iterator[RecordTask]:
        """Parses all records and yields a task for each one to decode."""
        first = 0
        for name, split in self.manifest.splits.items():
            for shard in split.shards:
                path = files.join(self.root, shard.file)
                if shard.file in self.damaged:
                    self._locate_damage(path, split, shard)
                else:
                    yield from self._shard_tasks(name, path, shard.records, first)
                first += shard.records

    def _locate_damage(self, path: str, split: schema.Split, shard: schema.Shard) -> None:
        """Adds which record of a damaged shard is invalid, unless it is truncated or missing."""
        if files.exists(path) and files.size(path) >= shard.bytes:
            damage = schema.find_damage(path, split.height, split.width, split.encoding)
            if damage is not None:
                self._add("shard-damaged", path, damage)

    def _shard_tasks(self, name: str, path: str, expected: int, first: int) -> Iterator[RecordTask]:
        count = 0
        try:
            for index, data in enumerate(read_records(path)):
                count += 1
                record = self._parse(path, index, data)
                if record is not None:
                    self._check(name, f"{path}, record {index}", record)
                    if first + index in self._chosen:
                        yield self._task(name, path, index, record)
        except DataError as error:
            self._add("shard-damaged", path, str(error))
        if count != expected:
            detail = f"It contains {count} records instead of {expected}."
            self._add("records-inconsistent", path, detail)

    def _parse(self, path: str, index: int, data: bytes) -> dict[str, Any] | None:
        try:
            return schema.read_features(data)
        except DataError as error:
            self._add("shard-damaged", path, f"Record {index} does not fit the schema: {error}")
            return None

    def _check(self, name: str, place: str, record: dict[str, Any]) -> None:
        """Compares a record with the manifest and the records before it."""
        split, scene, scenes = self.manifest.splits[name], record["scene"], self.scenes[name]
        top, left = record["top"], record["left"]
        key = _key(record)
        tile = hash((scene, record["frame"], top, left))
        if tile in self._tiles:
            self._add("records-inconsistent", place, f"It repeats {key}.")
        self._tiles.add(tile)
        other = self._home.setdefault(scene, name)
        if other != name and scene not in scenes:
            self._add("scene-in-two-splits", scene, f"It is in {other} and in {name}.")
        if scene not in split.scenes and scene not in scenes:
            detail = f"Its scene {scene} is not listed for {name}."
            self._add("records-inconsistent", place, detail)
        scenes[scene] += 1
        height, width = record["source_height"], record["source_width"]
        if not (0 <= top <= height - split.height and 0 <= left <= width - split.width):
            tile_text, frame_text = (
                size_text(size) for size in ((split.height, split.width), (height, width))
            )
            detail = f"Its tile of {tile_text} at {left}, {top} is outside its frame, {frame_text}."
            self._add("records-inconsistent", place, detail)

    def _task(self, name: str, path: str, index: int, record: dict[str, Any]) -> RecordTask:
        split, key = self.manifest.splits[name], _key(record)
        self._places[key] = (split, path, index)
        self.found.examined += 1
        whole = (record["source_height"], record["source_width"]) == (split.height, split.width)
        return RecordTask(
            key=key,
            split=name,
            place=f"{path}, record {index}",
            frame="" if whole else f"{record['scene']}/{record['frame']}",
            blurred=record["blurred"],
            sharp=record["sharp"],
            height=split.height,
            width=split.width,
            encoding=split.encoding,
            recorded=self.manifest.blur.get("kind") == "recorded",
        )

    def _add(self, code: str, file: str, detail: str) -> None:
        self.found.findings.append(Finding(code, file, detail))

    def load(self, key: str) -> Halves:
        """Returns both halves of a decoded record."""
        split, path, index = self._places[key]
        record = schema.read_features(next(itertools.islice(read_records(path), index, None)))
        blurred, sharp = (
            decode_image(record[half], split.height, split.width, split.encoding)
            for half in ("blurred", "sharp")
        )
        return blurred, sharp


def _key(record: dict[str, Any]) -> str:
    return f"{record['scene']}/{record['frame']} at {record['left']}, {record['top']}"


def read_records(path: str) -> Iterator[bytes]:
    """Yields the records of a shard: length (8 bytes), its checksum (4), data, its checksum (4).

    tf.data would trace a graph for each shard. The checksums need not be compared, because the
    SHA-256 of the file was.

    Raises:
        DataError: The file ends inside a record.
    """
    with tf.io.gfile.GFile(path, "rb") as file:
        index = 0
        while head := file.read(12):
            length = int.from_bytes(head[:8], "little")
            data = file.read(length + 4) if len(head) == 12 else b""
            if len(data) < length + 4:
                raise DataError(f"The file ends inside record {index}.")
            yield data[:-4]
            index += 1


def _check_records(records: _Records, workers: int) -> None:
    found, splits = records.found, records.manifest.splits
    sizes = [2 * 3 * split.height * split.width for split in splits.values()]
    chunk = max(1, min(64, _CHUNK_BYTES // max(sizes, default=1)))
    sample = records.total if records.sample is None else min(records.sample, records.total)
    outcomes = ordered(run_task, records.tasks(), workers, chunk)
    for outcome in tqdm(outcomes, total=sample, unit=" records", desc="doctor"):
        found.add(outcome)
    found.measures, findings = check_frames(found.measures)
    found.findings += findings
    if found.measures and all(m.psnr == math.inf for m in found.measures):
        found.findings.append(Finding("identical-halves", records.root, "In all records."))
    found.pairs = records.total
    found.splits = {name: dict(sorted(scenes.items())) for name, scenes in records.scenes.items()}
    if sample < records.total:
        found.notes.append(
            f"Decoded {found.examined} of {records.total} records (--sample); the others were only "
            "parsed."
        )
    sets.check(found)
    found.load = records.load
