"""What a run has to agree with: the other workers of its job, and itself before it was stopped.

Workers with other settings, data or weights than the chief's would wait for each other for ever,
or add up gradients that do not belong together. So before anything else they all tell each other
what they have, and all end with the same sentence where that differs. One process alone has
nobody to ask, which costs nothing.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdeblur._version import __version__
from tfdeblur.errors import ConfigError
from tfdeblur.training.engines.tensorflow import runtime

# Differences that are told one by one.
_MOST_TOLD = 4

_CURES = {
    "settings": "Start all workers with the same command, code and versions; only the paths of "
    "data, of --init-from and of the work directory may be written otherwise, and how long is "
    "waited (runtime.worker_minutes, guards.stall_seconds).",
    "data": "Give all workers the same data set, or whole copies of it.",
    "place": "--workdir must be one folder for all workers, on a shared disk or in a bucket, and "
    "so must what --init-from names or its copies.",
}


class Workers:
    """The workers of a job, and what they say to each other.

    Args:
        strategy: The strategy that they share.

    Attributes:
        names: What each is called in messages, the chief first; a run in one process has one.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.names, self._rank = _places(strategy)
        self._strategy = strategy
        self._local = strategy.num_replicas_in_sync // len(self.names)
        self._sum = _sum(strategy)

    def gather(self, text: str) -> list[str]:
        """Returns what each worker says, in the order of `names`; all must call it together."""
        own = np.frombuffer(text.encode(), np.uint8)
        lengths = self._rows(np.array([own.size]))[:, 0]
        rows = self._rows(np.pad(own, (0, lengths.max() - own.size)))
        return [
            row[:length].astype(np.uint8).tobytes().decode()
            for row, length in zip(rows, lengths, strict=True)
        ]

    def leave_together(self) -> None:
        """Waits until all have heard what was said: who leaves at once would cut the others off."""
        with contextlib.suppress(tf.errors.OpError):
            self._rows(np.zeros([1]))

    def _rows(self, own: np.ndarray) -> np.ndarray:
        """Returns the numbers of all workers: float32 keeps whole numbers below 2^24 as they are.

        Args:
            own: This worker's [n].

        Returns:
            int64 [workers, n].
        """
        rows = np.zeros((len(self.names), own.size), np.float32)
        rows[self._rank] = own
        summed = self._sum(tf.constant(rows)).numpy()
        # Every replica of a worker has said the same.
        return np.round(summed / self._local).astype(np.int64)


def _places(strategy: tf.distribute.Strategy) -> tuple[tuple[str, ...], int]:
    """Returns what the workers are called, and which of them this one is."""
    if not runtime.spans_workers(strategy):
        return ("this process",), 0
    resolver = strategy.cluster_resolver
    tasks = [
        (job, index)
        for job in ("chief", "worker")
        for index in range(len(resolver.cluster_spec().as_dict().get(job, ())))
    ]
    names = ("the chief", *(f"worker {index}" for _, index in tasks[1:]))
    return names, tasks.index((resolver.task_type, resolver.task_id))


def _sum(strategy: tf.distribute.Strategy) -> Any:
    """Builds the function that adds up numbers over the replicas of all workers."""

    @tf.function
    def add_up(values: tf.Tensor) -> tf.Tensor:
        copies = strategy.run(tf.identity, args=(values,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, copies, axis=None)

    return add_up


# ------------------------------------------------------------------------------- the other workers


def agree_on_start(
    workers: Workers, run_settings: Mapping[str, Any], data: Mapping[str, Any]
) -> None:
    """Compares, before networks are made, what the workers were started with.

    Args:
        workers: The workers of the job; all of them must call this together.
        run_settings: Values by the path of their key, without what may differ by host.
        data: What `data.pipeline.TrainingData.identity` returned.

    Raises:
        ConfigError: They have other settings, versions or data; on every worker.
    """
    versions = {
        "tfdeblur": __version__,
        "TensorFlow": tf.__version__,
        "Keras": keras.__version__,
    }
    told: dict[str, Any] = {"number of data sets": len(data["sets"])}
    for number, one in enumerate(data["sets"], 1):
        for name, value in one.items():
            told[f"{name} of data set {number}"] = value
    _agree(workers, {"settings": {**versions, **run_settings}, "data": told})


def agree_on_place(workers: Workers, images: int, **others: Any) -> None:
    """Compares where the workers stand after they have read a checkpoint, or have found none.

    Args:
        workers: The workers of the job; all of them must call this together.
        images: Images seen.
        others: Further things that must be equal.

    Raises:
        ConfigError: They stand at different places; on every worker.
    """
    _agree(workers, {"place": {"images seen": images, **others}})


def _agree(workers: Workers, said: Mapping[str, Mapping[str, Any]]) -> None:
    if len(workers.names) == 1:
        return
    answers = [json.loads(answer) for answer in workers.gather(json.dumps(said))]
    complaints = []
    for section, cure in _CURES.items():
        told = [answer.get(section, {}) for answer in answers]
        if differences := _differences(told, workers.names):
            complaints.append(f"{'; '.join(differences)}. {cure}")
    if complaints:
        workers.leave_together()
        raise ConfigError(f"The workers of this job do not agree: {' '.join(complaints)}")


def _differences(told: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Says what some workers have otherwise than the chief, and who they are."""
    found = []
    for key in dict.fromkeys(key for one in told for key in one):
        chief = _shown(told[0], key)
        others: dict[str, list[str]] = {}
        for one, name in zip(told[1:], names[1:], strict=True):
            if _shown(one, key) != chief:
                others.setdefault(_shown(one, key), []).append(name)
        if others:
            parts = [f"{value} on {' and '.join(who)}" for value, who in others.items()]
            found.append(f"{key} is {', '.join(parts)}, but {chief} on {names[0]}")
    if len(found) > _MOST_TOLD:
        found[_MOST_TOLD:] = [f"and {len(found) - _MOST_TOLD} more"]
    return found


def _shown(told: Mapping[str, Any], key: str) -> str:
    value = told.get(key, "missing")
    return "none" if value is None else str(value)


def weights_digest(networks: Sequence[keras.Model]) -> str:
    """Returns a short digest of all weights of some networks."""
    digest = hashlib.sha256()
    for network in networks:
        for array in network.get_weights():
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


# ------------------------------------------------------------------------------ the run before this


def told_by_checkpoint(
    meta: Mapping[str, Any], data: Mapping[str, Any], averages: bool
) -> list[str]:
    """Says what is other than in the run that wrote a checkpoint, where it changes the training.

    Args:
        meta: What the checkpoint says of itself. One of a version that did not note its data is
            taken to have had the same.
        data: What `data.pipeline.TrainingData.identity` says now.
        averages: Whether the run has averaged weights now.

    Returns:
        Warnings, one sentence or two each.
    """
    told = []
    before = meta.get("data")
    if before:
        told += _other_training_data(meta, before, data) or _other_order(meta, before, data)
        told += _other_validation_data(before, data)
    if meta.get("averaged") and not averages:
        told.append(
            "training.ema_decay is left away: the averaged weights of the checkpoint are dropped "
            "for good, and what is validated and saved from here are the plain weights. Where "
            "that is not meant, end the run at once by the same signal twice, which saves nothing, "
            "and give it again."
        )
    return told


def _other_training_data(
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
        f"an epoch had {had:,} images and has {has:,} now, so epoch {images / had:.2f} becomes "
        f"epoch {images / has:.2f}, and learning rates that follow epochs move with it"
        if had != has
        else f"an epoch has {has:,} images as before, but others, or in other shards"
    )
    anew = _in_mid_epoch(images, had, before)
    return [
        f"the data are not those that the checkpoint was trained on: {what}. The order of the "
        f"images is a new one{anew and f', and {anew}'}."
    ]


def _other_validation_data(before: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    old, new = ([one["validation shards"] for one in which["sets"]] for which in (before, data))
    if old == new:
        return []
    return [
        "the validation split is not the one before: scores before and after, and the best "
        "weights so far, cannot be compared with each other."
    ]


def _other_order(
    meta: Mapping[str, Any], before: Mapping[str, Any], data: Mapping[str, Any]
) -> list[str]:
    changed = [
        f"{key} {before['order'].get(key)} -> {value}"
        for key, value in data["order"].items()
        if before["order"].get(key) != value
    ]
    records = sum(one["records"] for one in data["sets"])
    drawn_anew = _in_mid_epoch(meta["images"], records, before)
    if not changed or not drawn_anew:
        return []
    return [f"{', '.join(changed)} in the middle of an epoch: {drawn_anew}."]


def _in_mid_epoch(images: int, records: int, before: Mapping[str, Any]) -> str:
    # With several data sets each has epochs of its own.
    if images % records == 0 and len(before["sets"]) == 1:
        return ""
    return "of this epoch's images some come a second time and some do not come at all"
