"""Examines a built data set: the manifest, every shard, every record."""

import collections
import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from data_prep import build, frames, plan
from data_prep.checks import sets
from data_prep.checks.findings import Finding
from data_prep.checks.pairs import Task, check_frames, examine_record
from data_prep.checks.report import Halves, Report, sampled
from data_prep.journal import FOLDER as JOURNAL
from data_prep.processes import ordered
from data_prep.sources.source import Source
from tfdeblur.config import settings
from tfdeblur.data import schema, tfrecord
from tfdeblur.data.encoding import decode_image
from tfdeblur.errors import ConfigError, DataError, UserError
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
) -> Report:
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
    report = Report(root, "built")
    names = files.list_dir(root)
    report.found += [
        Finding("partial-file", files.join(root, name))
        for name in names
        if name.endswith(files.PARTIAL_SUFFIX)
    ]
    manifest = _load_manifest(report)
    shards = [name for name in names if name.endswith(schema.SHARD_SUFFIX)]
    report.files = {"shards": len(shards), "others": len(names) - len(shards)}
    if manifest is None:
        if repair:
            report.notes.append("Nothing was repaired: without a manifest the options are unknown.")
        return report
    report.source = manifest.source
    report.layout = (
        f"built from {manifest.source}, schema {manifest.schema_version}, blur "
        f"{manifest.blur.get('kind', 'unknown')}"
    )
    report.notes += manifest.notes
    damaged = _check_files(manifest, set(shards), report)
    if repair:
        damaged = _repair(manifest, raw, damaged, report)
    _check_records(_Records(manifest, damaged, report, sample), workers)
    return report


def _load_manifest(report: Report) -> schema.Manifest | None:
    """Returns the manifest; wrong numbers of records are findings and corrected."""
    path = files.join(report.path, schema.MANIFEST_NAME)
    if not files.exists(path):
        report.found.append(Finding("build-unfinished", report.path))
        return None
    try:
        return schema.Manifest.load(report.path)
    except UserError as error:
        message = str(error)
    try:
        content = files.read_json(path)
        for name, split in content["splits"].items():
            records = sum(shard["records"] for shard in split["shards"])
            if records != split["records"]:
                detail = f"Split {name} has {split['records']} records, its shards {records}."
                report.found.append(Finding("records-inconsistent", path, detail))
                split["records"] = records
        manifest = schema.manifest_from(content)
        if content["schema_version"] in schema.VERSIONS:
            return manifest
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        pass  # The first message is more precise.
    report.found.append(Finding("manifest-damaged", path, message))
    return None


def _check_files(
    manifest: schema.Manifest, present: set[str], report: Report
) -> dict[str, Finding]:
    """Compares sizes and SHA-256 with the manifest; returns the findings by shard."""
    damaged: dict[str, Finding] = {}
    listed = [shard for split in manifest.splits.values() for shard in split.shards]
    for shard in tqdm(listed, unit=" checksums", desc="doctor"):
        path, problem = files.join(report.path, shard.file), "missing"
        if shard.file in present:
            problem = schema.difference_of(path, shard, deep=True)
        if problem:
            damaged[shard.file] = Finding("shard-damaged", path, f"It is {problem}.")
    report.found += damaged.values()
    unlisted = sorted(present - {shard.file for shard in listed})
    report.found += [Finding("shard-unlisted", files.join(report.path, n)) for n in unlisted]
    return damaged


def _repair(
    manifest: schema.Manifest, raw: str | None, damaged: dict[str, Finding], report: Report
) -> dict[str, Finding]:
    """Remakes damaged shards from the source and the options in the manifest.

    A shard is a pure function of the source's listing, the options and its number, so it is
    written only if it has exactly the SHA-256 of the manifest; otherwise nothing is changed.

    Args:
        manifest: The manifest.
        raw: Current location of the raw data set; None uses the one in the manifest.
        damaged: The findings by shard.
        report: Gets the outcome.

    Returns:
        The findings of the shards that are still damaged.
    """
    if not damaged:
        report.notes.append("Nothing needed repair: all shards match the manifest.")
    known = {shard.file: shard for split in manifest.splits.values() for shard in split.shards}
    rebuild = functools.cache(lambda: _rebuild(report.path, manifest, raw))
    left = {}
    for file, finding in tqdm(sorted(damaged.items()), unit=" shards remade", desc="doctor"):
        try:
            source, job, plans = rebuild()
            job.write_shard(source, plans[file], known[file])
        except UserError as error:
            left[file] = finding
            report.found.append(Finding("not-repaired", finding.file, str(error)))
        else:
            report.found.remove(finding)
            report.found.append(Finding("repaired", finding.file, f"Before: {finding.detail}"))
    return left


def _rebuild(
    root: str, manifest: schema.Manifest, raw: str | None
) -> tuple[Source, frames.Job, dict[str, plan.ShardPlan]]:
    """Returns the source and the job of a build, and its shards by name.

    Raises:
        UserError: The source is missing or has changed.
    """
    options = dict(manifest.options)
    if raw is not None:
        if "source" not in options:
            raise ConfigError(f"--raw: the source {manifest.source} reads no files.")
        if folders := [name for name in ("blurred", "sharp") if options.get(name)]:
            named = " and ".join(f"--{name} {options[name]}" for name in folders)
            raise ConfigError(
                f"--raw stands for --source, and this data set was built from {named}. Put these "
                "folders back where they were, and leave out --raw."
            )
        options["source"] = raw
    config_class = build.config_class(manifest.source)
    job = build.make_job(settings.validate(config_class, {**options, "out": root}))
    source = job.build_source()
    listing, _ = build.list_frames(job, source, skip_bad=bool(manifest.skipped))
    plans = plan.make_plan(listing, job.settings)
    if plan.fingerprint(manifest.source, options, plans) != manifest.fingerprint:
        raise DataError("The frames of the source have changed since the data set was built.")
    return source, job, {s.file: s for split in plans.values() for s in split.shards}


@dataclasses.dataclass
class _Records:
    """Reads and checks the records of a data set."""

    manifest: schema.Manifest
    damaged: dict[str, Finding]
    report: Report
    sample: int | None

    def __post_init__(self) -> None:
        self.scenes = {name: collections.Counter[str]() for name in self.manifest.splits}
        self.total = sum(split.records for split in self.manifest.splits.values())
        self._chosen = sampled(self.total, self.sample)
        self._places: dict[str, tuple[schema.Split, str, int]] = {}
        self._tiles: set[int] = set()
        self._home: dict[str, str] = {}

    def tasks(self) -> Iterator[Task]:
        """Parses all records and yields a task for each one to decode."""
        first = 0
        for name, split, shard in self._shards():
            path = files.join(self.report.path, shard.file)
            if shard.file in self.damaged:
                self._locate_damage(path, split, shard)
            else:
                yield from self._shard_tasks(name, split, path, shard.records, first)
            first += shard.records

    def _shards(self) -> Iterator[tuple[str, schema.Split, schema.Shard]]:
        """Yields each shard with the name of its split and the part of the split of its size."""
        for name, split in self.manifest.splits.items():
            for part in split.by_size():
                yield from ((name, part, shard) for shard in part.shards)

    def _locate_damage(self, path: str, split: schema.Split, shard: schema.Shard) -> None:
        """Adds which record of a damaged shard is invalid, unless it is truncated or missing."""
        if files.exists(path) and files.size(path) >= shard.bytes:
            damage = schema.find_damage(path, split.height, split.width, split.encoding)
            if damage is not None:
                self._add("shard-damaged", path, damage)

    def _shard_tasks(
        self, name: str, split: schema.Split, path: str, expected: int, first: int
    ) -> Iterator[Task]:
        count = 0
        try:
            for index, data in enumerate(read_records(path)):
                count += 1
                record = self._parse(path, index, data)
                if record is not None:
                    self._check(name, split, f"{path}, record {index}", record)
                    if first + index in self._chosen:
                        yield self._task(name, split, path, index, record)
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

    def _check(self, name: str, split: schema.Split, place: str, record: dict[str, Any]) -> None:
        """Compares a record with the manifest and the records before it."""
        scene, scenes = record["scene"], self.scenes[name]
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
                plan.size_text(size) for size in ((split.height, split.width), (height, width))
            )
            detail = f"Its tile of {tile_text} at {left}, {top} is outside its frame, {frame_text}."
            self._add("records-inconsistent", place, detail)

    def _task(
        self, name: str, split: schema.Split, path: str, index: int, record: dict[str, Any]
    ) -> Task:
        key = _key(record)
        self._places[key] = (split, path, index)
        self.report.examined += 1
        whole = (record["source_height"], record["source_width"]) == (split.height, split.width)
        return functools.partial(
            examine_record,
            (record["blurred"], record["sharp"]),
            (split.height, split.width),
            split.encoding,
            key,
            name,
            place=f"{path}, record {index}",
            frame="" if whole else f"{record['scene']}/{record['frame']}",
            recorded=self.manifest.blur.get("kind") == "recorded",
        )

    def _add(self, code: str, file: str, detail: str) -> None:
        self.report.found.append(Finding(code, file, detail))

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
    """Yields the records of a shard.

    Raises:
        DataError: A record is damaged, or the file ends inside it.
    """
    index = 0
    with files.open_read(path) as file:
        try:
            for data in tfrecord.read_records(file):
                yield data
                index += 1
        except DataError as error:
            raise DataError(f"Record {index} is damaged: {error}.") from error


def _check_records(records: _Records, workers: int) -> None:
    report, splits = records.report, records.manifest.splits
    parts = [part for split in splits.values() for part in split.by_size()]
    sizes = [2 * 3 * part.height * part.width for part in parts]
    chunk = max(1, min(64, _CHUNK_BYTES // max(sizes, default=1)))
    sample = records.total if records.sample is None else min(records.sample, records.total)
    outcomes = ordered(operator.call, records.tasks(), workers, chunk)
    for outcome in tqdm(outcomes, total=sample, unit=" records", desc="doctor"):
        report.add(outcome)
    report.measures, findings = check_frames(report.measures)
    report.found += findings
    same = report.measures and all(m.psnr == math.inf for m in report.measures)
    if same and records.manifest.is_degraded:
        report.found.append(Finding("identical-halves", report.path, "In all records."))
    report.pairs = records.total
    report.splits = {name: dict(sorted(scenes.items())) for name, scenes in records.scenes.items()}
    if sample < records.total:
        report.notes.append(
            f"Decoded {report.examined} of {records.total} records (--sample); the others were "
            "only parsed."
        )
    sets.check(report)
    report.load = records.load
