"""Makes the missing shards of a plan, then writes the manifest.

Workers write each shard under a temporary name, rename it when it is complete, and enter it in the
journal, so a killed build resumes where it stopped. The manifest is written last; then the journal
is removed.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from tqdm import tqdm

from data_prep import journal
from data_prep.frames import Job
from data_prep.plan import SplitPlan, comparable, size_text
from data_prep.runners import Runner
from tfdeblur.cli.printable import printable
from tfdeblur.data import schema
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import files

_SHARD = re.compile(rf"\w+-\d{{5}}-of-\d{{5}}{re.escape(schema.SHARD_SUFFIX)}")
_PARTIAL = re.compile(rf"{_SHARD.pattern}(\.[0-9a-f]+)?{re.escape(files.PARTIAL_SUFFIX)}")


def write(
    job: Job,
    plans: Mapping[str, SplitPlan],
    manifest: schema.Manifest,
    *,
    runner: Runner,
    overwrite: bool = False,
    deep: bool = False,
) -> schema.Manifest:
    """Makes all missing shards, then writes the manifest.

    Args:
        job: The source, the settings and the folder of the data set.
        plans: The shards of each split.
        manifest: The manifest without its splits.
        runner: Makes the shards; see `runners`.
        overwrite: Whether to remove another data set, finished or not, from the folder first.
        deep: Whether to check the SHA-256 of existing shards.

    Returns:
        The manifest as written.

    Raises:
        UserError: The folder contains another data set, is not writable, or a frame is unreadable.
    """
    directory = job.directory
    files.make_dirs(directory)
    if overwrite:
        _clear(directory)
    wanted = {shard.file: shard for plan in plans.values() for shard in plan.shards}
    known = _made_before(directory, manifest, wanted.keys(), deep)
    made = {name: shard for name, shard in known.items() if name in wanted}
    missing = [plan for name, plan in wanted.items() if name not in made]
    if not missing and files.exists(files.join(directory, schema.MANIFEST_NAME)):
        journal.close(directory)
        print(printable(f"{directory}: already built, {_counts(plans)}."))
        return schema.Manifest.load(directory)
    if made:
        counts = f"{len(made)} of {len(wanted)} shards exist"
        print(printable(f"{directory}: {counts}; making the others."))

    head = {"fingerprint": manifest.fingerprint, "options": manifest.options}
    journal.begin(directory, {"source": manifest.source, **head}, made)
    _sweep(directory)
    total = sum(plan.records for plan in wanted.values())
    start = sum(shard.records for shard in made.values())
    with tqdm(total=total, initial=start, unit=" records", desc=manifest.source) as progress:
        for shard in runner(job, missing):
            made[shard.file] = shard
            progress.update(shard.records)

    splits = {
        name: schema.Split(
            height=plan.tile[0] if plan.tile else 0,
            width=plan.tile[1] if plan.tile else 0,
            encoding=job.settings.encoding,
            records=plan.records,
            scenes=plan.scenes,
            shards=tuple(made[shard.file] for shard in plan.shards),
            sizes=()
            if plan.tile
            else tuple(schema.Sizes(*size, count) for size, count in plan.sizes.items()),
        )
        for name, plan in plans.items()
    }
    manifest = dataclasses.replace(manifest, splits=splits)
    schema.check_intact(directory, manifest)
    manifest.save(directory)
    _sweep(directory)
    journal.close(directory)
    print(printable(f"{directory}: built, {_counts(plans)}."))
    return manifest


def _counts(plans: Mapping[str, SplitPlan]) -> str:
    return ", ".join(
        f"{name} {plan.records} of "
        + (size_text(plan.tile) if plan.tile else f"{len(plan.sizes)} sizes")
        for name, plan in plans.items()
    )


def _clear(directory: str) -> None:
    """Removes the data set that a manifest or journal describes, and nothing else.

    The manifest is removed first, so that a partially removed data set never looks complete.

    Raises:
        DataError: The folder contains shards of unknown origin, or a manifest that is damaged or
            not one of a data set. Nothing is removed then.
    """
    known: dict[str, schema.Shard | None] = {}
    if files.exists(files.join(directory, schema.MANIFEST_NAME)):
        splits = schema.Manifest.load(directory).splits.values()
        known = {shard.file: shard for split in splits for shard in split.shards}
    if journal.read_head(directory) is not None:
        # A killed build may not have entered its last shards in the journal.
        known |= dict.fromkeys(filter(_SHARD.fullmatch, files.list_dir(directory)))
    _refuse_strange_shards(directory, known)
    files.remove(files.join(directory, schema.MANIFEST_NAME))
    for name, shard in known.items():
        # Damaged shards as well; only files of other names must be those that were built.
        if shard is None or _SHARD.fullmatch(name) or _is_intact(directory, shard, deep=False):
            files.remove(files.join(directory, name))
    journal.close(directory)
    _sweep(directory)


def _sweep(directory: str) -> None:
    """Removes partial shards of killed builds, but not those that a process is writing."""
    local = files.is_local(directory)
    if local:
        files.remove_abandoned(directory, (schema.SHARD_SUFFIX,))
    for name in files.list_dir(directory):
        found = _PARTIAL.fullmatch(name)
        if found and not (local and found[1]):
            files.remove(files.join(directory, name))


def _made_before(
    directory: str, wanted: schema.Manifest, planned: Collection[str], deep: bool
) -> dict[str, schema.Shard]:
    """Returns the intact shards of an earlier run of the same build."""
    known: dict[str, schema.Shard] = {}
    begun = journal.read_head(directory)
    if files.exists(files.join(directory, schema.MANIFEST_NAME)):
        old = schema.Manifest.load(directory)
        _check_same(directory, wanted, old.source, old.fingerprint, old.options)
        known = {shard.file: shard for split in old.splits.values() for shard in split.shards}
    elif begun is not None:
        _check_same(directory, wanted, begun["source"], begun["fingerprint"], begun["options"])
        known = journal.made(directory)
    # A killed build may have written a shard without entering it in the journal.
    _refuse_strange_shards(directory, known.keys() if begun is None else {*known, *planned})
    return {name: shard for name, shard in known.items() if _is_intact(directory, shard, deep)}


def _refuse_strange_shards(directory: str, names: Collection[str]) -> None:
    """Raises a DataError if the folder contains shards with other names."""
    strange = [
        name
        for name in files.list_dir(directory)
        if name.endswith(schema.SHARD_SUFFIX) and name not in names
    ]
    if strange:
        raise DataError(
            f"{files.join(directory, strange[0])} is a shard that is in no manifest or journal"
            f"{f', and so are {len(strange) - 1} more' if len(strange) > 1 else ''}. Choose an "
            "empty folder, or move these files away."
        )


def _is_intact(directory: str, shard: schema.Shard, deep: bool) -> bool:
    path = files.join(directory, shard.file)
    return files.exists(path) and not schema.difference_of(path, shard, deep)


def _check_same(
    directory: str, wanted: schema.Manifest, source: str, digest: str, options: Mapping[str, Any]
) -> None:
    if digest == wanted.fingerprint:
        return
    remedy = "Choose another --out, or set --overwrite to replace it."
    if source != wanted.source:
        raise ConfigError(f"{directory} contains a data set of {source!r}. {remedy}")
    old, new = comparable(options), comparable(wanted.options)
    changed = [
        f"{name} was {old.get(name)} and is now {new.get(name)}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    what = "; ".join(changed) or "the frames of the source have changed"
    raise ConfigError(f"{directory} contains a data set with other options: {what}. {remedy}")
