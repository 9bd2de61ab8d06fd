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

from tfdeblur._version import __version__
from tfdeblur.errors import ConfigError
from tfdeblur.training.engines.engine import Engine

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


def agree_on_start(
    engine: Engine, run_settings: Mapping[str, Any], data: Mapping[str, Any]
) -> None:
    """Compares settings, versions and data, before networks are built.

    Args:
        engine: Connects the workers; all of them must call this together.
        run_settings: Values by the path of their key, without those that may differ by host.
        data: From `data.pipeline.TrainingData.identity`.

    Raises:
        ConfigError: They differ; raised on every worker.
    """
    versions = {
        "tfdeblur": __version__,
        "Keras": keras.__version__,
        **engine.versions,
    }
    sets: dict[str, Any] = {"number of data sets": len(data["sets"])}
    for number, one in enumerate(data["sets"], 1):
        sets |= {f"{name} of data set {number}": value for name, value in one.items()}
    _agree(engine, {"settings": {**versions, **run_settings}, "data": sets})


def agree_on_place(engine: Engine, images: int, **others: Any) -> None:
    """Compares what the workers have restored or initialized.

    Args:
        engine: Connects the workers; all of them must call this together.
        images: Images seen.
        others: Further values that must be equal.

    Raises:
        ConfigError: They differ; raised on every worker.
    """
    _agree(engine, {"place": {"images seen": images, **others}})


def _agree(engine: Engine, own: Mapping[str, Mapping[str, Any]]) -> None:
    if not engine.several_workers:
        return
    answers = [json.loads(answer) for answer in engine.gather(json.dumps(own))]
    complaints = []
    for section, remedy in _REMEDIES.items():
        values = [answer.get(section, {}) for answer in answers]
        if differences := _differences(values, engine.worker_names):
            complaints.append(f"{'; '.join(differences)}. {remedy}")
    if complaints:
        # A worker that exits early would cut off the others.
        with contextlib.suppress(Exception):
            engine.gather("")
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
