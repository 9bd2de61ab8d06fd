"""Devices, versions and memory of this machine."""

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

# Limits of a container, of both versions of Linux control groups.
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def device_summary(strategy: "tf.distribute.Strategy | None" = None) -> str:
    """Returns one line about the devices of Keras's backend and versions, for logs and reports.

    Args:
        strategy: If set, its class and number of replicas are included; TensorFlow only.

    Example:
        >>> device_summary()  # doctest: +SKIP
        '2 CPU cores; TensorFlow 2.21.0, Keras 3.15.1'
    """
    import keras

    if keras.backend.backend() == "jax":
        import jax

        kinds = [device.device_kind for device in jax.devices()]
        counts = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
        return f"{counts}; JAX {jax.__version__}, Keras {keras.__version__}"
    import tensorflow as tf

    found: dict[str, int] = {}
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        name = details.get("device_name", "GPU")
        found[name] = found.get(name, 0) + 1
    if tpus := tf.config.list_logical_devices("TPU"):
        found["TPU cores"] = len(tpus)
    parts = [f"{count} x {name}" for name, count in found.items()] or [_cpu_text()]
    if strategy is not None:
        replicas = strategy.num_replicas_in_sync
        parts.append(f"{type(strategy).__name__} with {replicas} replica{'s'[: replicas != 1]}")
    parts.append(f"TensorFlow {tf.__version__}, Keras {keras.__version__}")
    return "; ".join(parts)


def _cpu_text() -> str:
    # The cores available to this process, which may be fewer than those of the machine.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU core{'s'[: cores != 1]}"


def host_memory() -> int:
    """Returns the bytes of memory that this process may use.

    The memory of the machine, or the limit of the container that the process runs in.
    """
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            found = min(found, int(file.read()))
    return found
