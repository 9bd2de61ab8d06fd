"""Warnings for a run that resumes on other data, in another order or on another engine."""

from collections.abc import Mapping
from typing import Any


def changes_since(
    meta: Mapping[str, Any], data: Mapping[str, Any], engine: Mapping[str, Any], averages: bool
) -> list[str]:
    """Compares a run with the checkpoint it resumes from.

    Args:
        meta: The checkpoint's `meta.json`. A checkpoint without a record of its data or engine,
            from an early version, is assumed to have had the same.
        data: The run's data, from `data.pipeline.TrainingData.identity`.
        engine: The run's engine, from `engines.engine.Engine.identity`.
        averages: Whether the run keeps averaged weights.

    Returns:
        Warnings of one or two sentences each, for changes that affect the training.
    """
    changes = []
    before = meta.get("data")
    if before:
        changes += _training_data(meta, before, data) or _order(meta, before, data)
        changes += _validation_data(before, data)
    if engine_before := meta.get("engine"):
        changes += _batch_norm(engine_before, engine)
    if meta.get("averaged") and not averages:
        changes.append(
            "training.ema_decay was removed: the averaged weights of the checkpoint are dropped "
            "for good, and from here the plain weights are validated and saved. If this is not "
            "intended, end the run at once by the same signal twice, which saves nothing, and set "
            "training.ema_decay again."
        )
    return changes


def _training_data(
    meta: Mapping[str, Any], before: Mapping[str, Any], data: Mapping[str, Any]
) -> list[str]:
    old, new = (
        [(one["records"], one["training shards"]) for one in which["sets"]]
        for which in (before, data)
    )
    if old == new:
        return []
    had, has = (sum(records for records, _ in which) for which in (old, new))
    images = meta["images"]
    what = (
        f"an epoch had {had:,} images and now has {has:,}, so epoch {images / had:.2f} becomes "
        f"epoch {images / has:.2f}, and learning rates that follow epochs change with it"
        if had != has
        else f"an epoch still has {has:,} images, but other images, or in other shards"
    )
    repeated = _if_mid_epoch(images, had, before)
    return [
        f"the data differ from those that the checkpoint was trained on: {what}. The order of the "
        f"images is new{repeated and f', and {repeated}'}."
    ]


def _validation_data(before: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    old, new = _validated(before), _validated(data)
    # Without a validation split there are no scores to compare with.
    if old is None or old == new:
        return []
    return [
        "the validation split has changed: earlier scores, and those of the best weights so far, "
        "are not comparable with new ones."
    ]


def _validated(which: Mapping[str, Any]) -> str | None:
    """Returns the digest of the split that is validated on; other data sets do not matter."""
    if "validated" in which:
        return which["validated"]
    # Earlier versions did not record which data set it is of.
    digests = (one["validation shards"] for one in which["sets"])
    return next((digest for digest in digests if digest is not None), None)


def _order(
    meta: Mapping[str, Any], before: Mapping[str, Any], data: Mapping[str, Any]
) -> list[str]:
    changed = [
        f"{key} {before['order'].get(key)} -> {value}"
        for key, value in data["order"].items()
        if before["order"].get(key) != value
    ]
    records = sum(one["records"] for one in data["sets"])
    repeated = _if_mid_epoch(meta["images"], records, before)
    if not changed or not repeated:
        return []
    return [f"{', '.join(changed)} in the middle of an epoch: {repeated}."]


def _batch_norm(before: Mapping[str, Any], engine: Mapping[str, Any]) -> list[str]:
    key = "batch norm per replica"
    # The parts of a batch that have statistics of their own; under JAX, no network is named.
    had, has = (one["devices"] if one[key] else 1 for one in (before, engine))
    if had == has:
        return []
    old, new = (
        f"the images of each of {parts} replicas" if parts > 1 else "the global batch"
        for parts in (had, has)
    )
    devices = f" on {had} device{'s' * (had > 1)}" if before[key] else ""
    return [
        f"batch norm of the {' and the '.join(before[key] or engine[key])} used statistics of "
        f"{old} and now uses those of {new}: training differs from here on. With --engine "
        f"{before['name']}{devices} it does not."
    ]


def _if_mid_epoch(images: int, records: int, before: Mapping[str, Any]) -> str:
    # Each of several data sets has epochs of its own.
    if images % records == 0 and len(before["sets"]) == 1:
        return ""
    return "some images of this epoch repeat and others are left out"
