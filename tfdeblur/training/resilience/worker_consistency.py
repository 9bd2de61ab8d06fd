"""Checks that all workers of a job start from the same settings, data and weights.

Workers that differ would deadlock, or add gradients that do not belong together. They exchange
what they have before anything else, and all of them end with the same message if it differs. A
single process exchanges nothing.
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

# Ends a text; no byte of UTF-8 has this value.
_END = 0xFF

# Differences that a message lists; further ones are counted.
_MAX_LISTED = 4

_REMEDIES = {
    "settings": "Start all workers with the same command, code and versions; only the paths of "
    "data, of --init-from and of the work directory, and the time limits "
    "(runtime.worker_minutes, guards.stall_seconds), may differ.",
    "data": "Give all workers the same data set, or intact copies of it.",
    "place": "--workdir must be one folder for all workers, on a shared disk or in a bucket, and "
    "so must the source of --init-from, or copies of it.",
}


class Workers:
    """The workers of a job, which exchange text.

    Args:
        strategy: The strategy that they share.

    Attributes:
        names: Their names in messages, the chief first; a run in one process has one.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.names, self._rank = _places(strategy)
        self._strategy = strategy

    def gather(self, text: str) -> list[str]:
        """Returns the texts of all workers, in the order of `names`; all must call it together."""
        # Every device has collectives for float32, which holds bytes exactly.
        own = tf.constant([*f"{self._rank} {text}".encode(), _END], tf.float32)
        copies = self._strategy.run(tf.identity, args=(own,))
        joined = self._strategy.gather(copies, axis=0).numpy().astype(np.uint8).tobytes()
        texts = {}
        for part in joined.split(bytes([_END]))[:-1]:
            # Each replica of a worker contributes a copy.
            rank, _, answer = part.decode().partition(" ")
            texts[int(rank)] = answer
        return [texts[rank] for rank in range(len(self.names))]

    def wait_for_all(self) -> None:
        """Waits until all workers come here: one that exits early would cut off the others."""
        with contextlib.suppress(tf.errors.OpError):
            self.gather("")


def _places(strategy: tf.distribute.Strategy) -> tuple[tuple[str, ...], int]:
    """Returns the names of the workers, and the index of this one."""
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


def agree_on_start(
    workers: Workers, run_settings: Mapping[str, Any], data: Mapping[str, Any]
) -> None:
    """Compares settings, versions and data, before networks are built.

    Args:
        workers: The workers of the job; all of them must call this together.
        run_settings: Values by the path of their key, without those that may differ by host.
        data: From `data.pipeline.TrainingData.identity`.

    Raises:
        ConfigError: They differ; raised on every worker.
    """
    versions = {
        "tfdeblur": __version__,
        "TensorFlow": tf.__version__,
        "Keras": keras.__version__,
    }
    sets: dict[str, Any] = {"number of data sets": len(data["sets"])}
    for number, one in enumerate(data["sets"], 1):
        sets |= {f"{name} of data set {number}": value for name, value in one.items()}
    _agree(workers, {"settings": {**versions, **run_settings}, "data": sets})


def agree_on_place(workers: Workers, images: int, **others: Any) -> None:
    """Compares what the workers have restored or initialized.

    Args:
        workers: The workers of the job; all of them must call this together.
        images: Images seen.
        others: Further values that must be equal.

    Raises:
        ConfigError: They differ; raised on every worker.
    """
    _agree(workers, {"place": {"images seen": images, **others}})


def _agree(workers: Workers, own: Mapping[str, Mapping[str, Any]]) -> None:
    if len(workers.names) == 1:
        return
    answers = [json.loads(answer) for answer in workers.gather(json.dumps(own))]
    complaints = []
    for section, remedy in _REMEDIES.items():
        values = [answer.get(section, {}) for answer in answers]
        if differences := _differences(values, workers.names):
            complaints.append(f"{'; '.join(differences)}. {remedy}")
    if complaints:
        workers.wait_for_all()
        raise ConfigError(f"The workers of this job differ: {' '.join(complaints)}")


def _differences(values: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Returns the keys whose values differ from the chief's, with the values and the workers."""
    found = []
    for key in dict.fromkeys(key for one in values for key in one):
        chief = _as_text(values[0], key)
        others: dict[str, list[str]] = {}
        for one, name in zip(values[1:], names[1:], strict=True):
            if _as_text(one, key) != chief:
                others.setdefault(_as_text(one, key), []).append(name)
        if others:
            parts = [f"{value} on {' and '.join(who)}" for value, who in others.items()]
            found.append(f"{key} is {', '.join(parts)}, but {chief} on {names[0]}")
    if len(found) > _MAX_LISTED:
        found[_MAX_LISTED:] = [f"and {len(found) - _MAX_LISTED} more"]
    return found


def _as_text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "missing")
    return "none" if value is None else str(value)


def weights_digest(networks: Sequence[keras.Model]) -> str:
    """Returns a short digest of all weights of some networks."""
    digest = hashlib.sha256()
    for network in networks:
        for array in network.get_weights():
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]
