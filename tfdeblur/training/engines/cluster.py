"""The workers of a job, by the variable `TF_CONFIG`, and their devices, for every engine."""

import json
import math
import os
from collections.abc import Sequence
from typing import TypeVar

from tqdm import tqdm

from tfdeblur.errors import ConfigError, NotNeeded

Device = TypeVar("Device")

# Characters of an invalid value in its message.
_SHOWN = 200


def read() -> tuple[list[str], int | None]:
    """Returns the addresses of all workers, the chief first, and this process's index among them.

    There are no addresses if `TF_CONFIG` is unset; the index is None if this process's task is
    none of the workers.

    Raises:
        ConfigError: It is not JSON with a cluster and a task, or an address is invalid.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return [], None
    try:
        config = json.loads(text)
        cluster = config.get("cluster", {})
        chief, others = list(cluster.get("chief", [])), list(cluster.get("worker", []))
        addresses = [*chief, *others]
        if not addresses:
            return [], None
        if not all(isinstance(address, str) for address in addresses):
            raise TypeError("addresses")
        kind, index = str(config["task"]["type"]), int(config["task"]["index"])
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ConfigError(
            "The environment variable TF_CONFIG must be JSON with a cluster of workers and this"
            f" worker's task; received: {text[:_SHOWN]!r}."
        ) from error
    for address in addresses:
        split_address(address)
    places = {
        "chief": range(len(chief)),
        "worker": range(len(chief), len(addresses)),
    }.get(kind, range(0))
    return addresses, places[index] if 0 <= index < len(places) else None


def split_address(address: str) -> tuple[str, int]:
    """Returns the host and the port of a worker's ``host:port``.

    Raises:
        ConfigError: It does not have that form.
    """
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 1 << 16:
        raise ConfigError(
            f"The environment variable TF_CONFIG has {address[:_SHOWN]!r} for a worker, which"
            " is not an address such as 10.0.0.1:2222. Fix it on all hosts."
        )
    return host.strip("[]"), int(port)


def refuse_outsider(addresses: list[str], place: int | None) -> None:
    """Raises a ConfigError if this process is none of the workers."""
    if place is None:
        raise ConfigError(
            f"The environment variable TF_CONFIG names {len(addresses)} workers, and its task is"
            ' none of them: give each host the type "worker" and its own "index", from 0.'
        )


def require(addresses: Sequence[str]) -> None:
    """Raises a ConfigError if there are no workers, which the strategy ``multi_worker`` needs."""
    if not addresses:
        raise ConfigError(
            "The strategy 'multi_worker' requires the environment variable TF_CONFIG, JSON"
            ' such as {"cluster": {"worker": ["host1:2222", "host2:2222"]},'
            ' "task": {"type": "worker", "index": 0}}.'
        )


def sharing(
    devices: Sequence[Device], global_batch: int | None, processes: int = 1
) -> list[Device]:
    """Returns as many devices as can share a batch equally, and prints which number stays idle.

    Args:
        devices: All devices of one process.
        global_batch: Images in the batch; all devices are used if unset.
        processes: Processes with as many devices, which share the batch equally.
    """
    if global_batch is None:
        return list(devices)
    count = _most(len(devices), max(global_batch // processes, 1))
    if count < len(devices):
        total = processes * len(devices)
        idle = total - processes * count
        tqdm.write(f"{idle} of {total} devices stay idle, {_why(total, global_batch)}")
    return list(devices[:count])


def parts(processes: int, global_batch: int) -> int:
    """Returns in how many equal parts processes read a batch if none of them can be left out.

    As many processes read each part and compute the same with it; prints how many repeat others.

    Args:
        processes: Processes of the job.
        global_batch: Images in the batch.
    """
    count = math.gcd(processes, global_batch)
    if count < processes:
        verb = "repeats" if processes - count == 1 else "repeat"
        tqdm.write(
            f"{processes - count} of {processes} processes only {verb} the work of others, "
            f"{_why(processes, global_batch)}"
        )
    return count


def leave_out_surplus(global_batch: int) -> None:
    """Removes the workers that cannot share a batch equally with the others from `TF_CONFIG`.

    Args:
        global_batch: Images in the batch.

    Raises:
        NotNeeded: This process is one of them.
    """
    addresses, place = read()
    total = len(addresses)
    count = _most(total, global_batch) if addresses else 0
    if count == total or place is None:
        return
    surplus = total - count
    verb = "is" if surplus == 1 else "are"
    text = f"{surplus} of {total} workers {verb} not needed, {_why(total, global_batch)}"
    if place >= count:
        raise NotNeeded(f"Exiting: {text}")
    tqdm.write(text)
    config = json.loads(os.environ["TF_CONFIG"])
    chief = list(config["cluster"].get("chief", []))
    config["cluster"]["worker"] = addresses[len(chief) : count]
    os.environ["TF_CONFIG"] = json.dumps(config)


def _most(total: int, global_batch: int) -> int:
    return max(number for number in range(1, total + 1) if global_batch % number == 0)


def _why(total: int, global_batch: int) -> str:
    return (
        f"because {global_batch} images per step (with stages, those that divide every batch)"
        f" are shared equally. A multiple of {total}, such as --global-batch"
        f" {math.ceil(global_batch / total) * total}, would use all {total}, as does --scale-batch."
    )
