"""Writes the shards of a plan and, at the end, the manifest.

Every shard is written beside its place, renamed when it is whole, and entered in the journal
(`OUT/.build/`), so a build that was killed goes on where it stopped. The manifest is written
last; then the journal is removed.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from data_prep.frames import EncodedTile, Job, make_tiles
from data_prep.plan import SplitPlan, comparable
from tfdeblur import files
from tfdeblur.data import schema
from tfdeblur.errors import ConfigError, DataError, UserError

JOURNAL = ".build"
JOURNAL_HEAD = "build.json"


def write_shard(directory: str, file: str, tiles: Sequence[EncodedTile]) -> schema.Shard:
    """Writes one shard and enters it in the journal.

    Raises:
        UserError: It cannot be written.
    """
    path = files.join(directory, file)
    partial = path + files.PARTIAL_SUFFIX
    try:
        with tf.io.TFRecordWriter(partial) as writer:
            for tile in tiles:
                writer.write(schema.serialize(**vars(tile)))
    except tf.errors.OpError as error:
        raise UserError(
            f"Cannot write {partial}: {error.message}. Finished shards are kept; the same command "
            "goes on from them."
        ) from error
    shard = schema.Shard(file, len(tiles), files.size(partial), schema.sha256_of(partial))
    files.rename(partial, path)
    files.write_json(_journal_path(directory, file), dataclasses.asdict(shard))
    return shard


def _journal_path(directory: str, file: str) -> str:
    return files.join(directory, JOURNAL, file.removesuffix(schema.SHARD_SUFFIX) + ".json")


def write(
    job: Job,
    directory: str,
    plans: Mapping[str, SplitPlan],
    manifest: schema.Manifest,
    *,
    workers: int = 1,
    overwrite: bool = False,
    deep: bool = False,
) -> schema.Manifest:
    """Makes all shards that are not there yet, then the manifest.

    Args:
        job: The source and the settings.
        directory: Folder of the data set.
        plans: The shards of each split.
        manifest: The manifest without its splits.
        workers: Number of processes.
        overwrite: Whether to remove another data set, or the beginning of one, from the folder.
        deep: Whether to compare the checksum of each shard that is there already.

    Returns:
        The manifest as written.

    Raises:
        UserError: The folder holds something else, cannot be written to, or a frame is bad.
    """
    files.make_dirs(directory)
    if overwrite:
        _clear(directory)
    wanted = [shard for plan in plans.values() for shard in plan.shards]
    known = _made_before(directory, manifest, deep)
    made = {name: shard for name, shard in known.items() if name in {p.file for p in wanted}}
    missing = [plan for plan in wanted if plan.file not in made]
    finished = files.exists(files.join(directory, schema.MANIFEST_NAME))
    if finished and not missing:
        print(f"{directory}: already built, {_counts(plans)}.")
        return schema.Manifest.load(directory)
    if made:
        print(f"{directory}: {len(made)} of {len(wanted)} shards are there; making the others.")

    files.make_dirs(files.join(directory, JOURNAL))
    head = {"fingerprint": manifest.fingerprint, "options": manifest.options}
    files.write_json(
        files.join(directory, JOURNAL, JOURNAL_HEAD), {"source": manifest.source, **head}
    )
    total = sum(plan.records for plan in wanted)
    start = sum(shard.records for shard in made.values())
    with tqdm(total=total, initial=start, unit=" records", desc=manifest.source) as progress:
        for plan, tiles in make_tiles(job, missing, workers):
            made[plan.file] = write_shard(directory, plan.file, tiles)
            progress.update(plan.records)

    splits = {
        name: schema.Split(
            height=plan.tile.height,
            width=plan.tile.width,
            encoding=job.settings.encoding,
            records=plan.records,
            scenes=plan.scenes,
            shards=tuple(made[shard.file] for shard in plan.shards),
        )
        for name, plan in plans.items()
    }
    manifest = dataclasses.replace(manifest, splits=splits)
    schema.check_intact(directory, manifest)
    manifest.save(directory)
    files.remove_tree(files.join(directory, JOURNAL))
    print(f"{directory}: built, {_counts(plans)}.")
    return manifest


def _counts(plans: Mapping[str, SplitPlan]) -> str:
    return ", ".join(f"{name} {plan.records} of {plan.tile}" for name, plan in plans.items())


def _clear(directory: str) -> None:
    """Removes a data set and nothing else; the manifest first, so no half of it looks whole."""
    files.remove(files.join(directory, schema.MANIFEST_NAME))
    files.remove_tree(files.join(directory, JOURNAL))
    for name in files.list_dir(directory):
        if name.endswith((schema.SHARD_SUFFIX, schema.SHARD_SUFFIX + files.PARTIAL_SUFFIX)):
            files.remove(files.join(directory, name))


def _made_before(directory: str, wanted: schema.Manifest, deep: bool) -> dict[str, schema.Shard]:
    """Returns the shards that an earlier run of the same build has made and that are sound."""
    known: list[schema.Shard]
    head = files.join(directory, JOURNAL, JOURNAL_HEAD)
    if files.exists(files.join(directory, schema.MANIFEST_NAME)):
        old = schema.Manifest.load(directory)
        _check_same(directory, wanted, old.source, old.fingerprint, old.options)
        known = [shard for split in old.splits.values() for shard in split.shards]
    elif files.exists(head):
        begun = files.read_json(head)
        _check_same(directory, wanted, begun["source"], begun["fingerprint"], begun["options"])
        known = [
            schema.Shard(**files.read_json(files.join(directory, JOURNAL, name)))
            for name in files.list_dir(files.join(directory, JOURNAL))
            if name.endswith(".json") and name != JOURNAL_HEAD
        ]
    else:
        known = []
    names = {shard.file for shard in known}
    strange = [
        name
        for name in files.list_dir(directory)
        if name.endswith(schema.SHARD_SUFFIX) and name not in names
    ]
    if strange:
        raise DataError(
            f"{files.join(directory, strange[0])} is a shard that no manifest or journal knows"
            f"{f', and so are {len(strange) - 1} more' if len(strange) > 1 else ''}. Give an empty "
            "folder, remove it, or give --overwrite to remove all shards in the folder."
        )
    return {shard.file: shard for shard in known if _is_sound(directory, shard, deep)}


def _is_sound(directory: str, shard: schema.Shard, deep: bool) -> bool:
    path = files.join(directory, shard.file)
    if not files.exists(path) or files.size(path) != shard.bytes:
        return False
    return not deep or schema.sha256_of(path) == shard.sha256


def _check_same(
    directory: str, wanted: schema.Manifest, source: str, digest: str, options: Mapping[str, Any]
) -> None:
    if digest == wanted.fingerprint:
        return
    cure = "Give another --out, or --overwrite to replace it."
    if source != wanted.source:
        raise ConfigError(f"{directory} holds a data set of {source!r}. {cure}")
    old, new = comparable(options), comparable(wanted.options)
    changed = [
        f"{name} was {old.get(name)} and is now {new.get(name)}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    what = "; ".join(changed) or "the frames of the source have changed"
    raise ConfigError(f"{directory} holds a data set built otherwise: {what}. {cure}")
