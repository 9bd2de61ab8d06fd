"""Distribution strategy, cluster, precision, seeds and devices of a TensorFlow process.

TensorFlow is imported only when a function needs it, so that a missing installation gives one
sentence instead of a traceback.
"""

import functools
import logging
import sys
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from tfdeblur.cli.environment import require_tensorflow
from tfdeblur.config.backend import is_installed
from tfdeblur.errors import ConfigError, UserError, reason_of
from tfdeblur.ops.precision import POLICIES, Precision
from tfdeblur.training.engines import cluster

if TYPE_CHECKING:
    import tensorflow as tf

StrategyKind = Literal["auto", "one", "mirrored", "multi_worker", "tpu"]

# The first NVIDIA GPUs that compute in bfloat16 (Ampere).
BFLOAT16_CAPABILITY = (8, 0)

logger = logging.getLogger(__name__)


# -------------------------------------------------------------------------------------- strategies


def make_strategy(
    kind: StrategyKind = "auto", tpu: str | None = None, global_batch: int | None = None
) -> "tf.distribute.Strategy":
    """Creates the distribution strategy of a run.

    Args:
        kind: `one` is a single device; `mirrored` is one replica per GPU of this machine, or per
            logical CPU if there is no GPU; `multi_worker` is one worker of the cluster that the
            environment variable `TF_CONFIG` describes; `tpu` is a TPU. `auto` selects `tpu` if
            one is attached or named, `multi_worker` if `TF_CONFIG` names several workers,
            `mirrored` if there are several GPUs, and `one` otherwise.
        tpu: `local` for the TPU attached to this machine, or the name or address of another one;
            only for `auto` and `tpu`.
        global_batch: Images in one update; only as many devices are used as can share them equally.

    Returns:
        The strategy. For several workers and for a TPU it must be created before any other
        TensorFlow operation of the process.

    Raises:
        UserError: TensorFlow is not installed, or there is no such TPU.
        ConfigError: `TF_CONFIG` is missing or invalid, or `kind` and `tpu` contradict each other.
    """
    require_tensorflow()
    import tensorflow as tf

    if tpu is not None and kind not in ("auto", "tpu"):
        raise ConfigError(
            f"A TPU was named ({tpu!r}), but the strategy is {kind!r}: choose 'tpu' or remove the"
            " TPU."
        )
    if kind == "auto":
        kind = _choose_kind(tpu)
    if kind == "one":
        gpus = tf.config.list_logical_devices("GPU")
        return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")
    if kind == "mirrored":
        names = [d.name for d in tf.config.list_logical_devices("GPU")]
        names = names or [d.name for d in tf.config.list_logical_devices("CPU")]
        return _mirrored(tuple(cluster.sharing(names, global_batch)))
    if kind == "multi_worker":
        addresses, place = cluster.read()
        cluster.require(addresses)
        cluster.refuse_outsider(addresses, place)
        if gpus := tf.config.list_physical_devices("GPU"):
            used = cluster.sharing(gpus, global_batch, len(addresses))
            tf.config.set_visible_devices(used, "GPU")
        return tf.distribute.MultiWorkerMirroredStrategy()
    return _tpu_strategy(tpu or "local", global_batch)


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> "tf.distribute.MirroredStrategy":
    """Returns a MirroredStrategy, cached per device set.

    TensorFlow numbers the collectives of each strategy from 0 and remembers the shapes of earlier
    ones, so a second strategy in a notebook would fail if its gradients have other shapes.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(list(devices))


def _choose_kind(tpu: str | None) -> StrategyKind:
    import tensorflow as tf

    if tpu is not None or tf.config.list_physical_devices("TPU"):
        return "tpu"
    if len(cluster.read()[0]) > 1:
        return "multi_worker"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one"


def meeting_place(kind: StrategyKind, tpu: str | None) -> tuple[list[str], int]:
    """Returns the addresses of the workers that `make_strategy` connects, and this one's index.

    There are no addresses if the strategy would not span other processes.

    Raises:
        ConfigError: TF_CONFIG is invalid, or this process's task is not one of its workers.
    """
    addresses, place = cluster.read()
    if len(addresses) < 2:
        return [], 0
    if kind == "auto":
        kind = _choose_kind(tpu)
    if kind != "multi_worker":
        return [], 0
    cluster.refuse_outsider(addresses, place)
    return addresses, place or 0


def _tpu_strategy(tpu: str, global_batch: int | None = None) -> "tf.distribute.TPUStrategy":
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        topology = tf.tpu.experimental.initialize_tpu_system(resolver)
        cores = range(topology.num_tasks * topology.num_tpus_per_task)
        count = len(cluster.sharing(cores, global_batch))
        if count == len(cores):
            return tf.distribute.TPUStrategy(resolver)
        chosen = tf.tpu.experimental.DeviceAssignment.build(topology, num_replicas=count)
        return tf.distribute.TPUStrategy(resolver, experimental_device_assignment=chosen)
    except (tf.errors.OpError, ValueError, RuntimeError, OSError) as error:
        where = "This machine has no TPU" if tpu == "local" else f"There is no TPU at {tpu!r}"
        remedy = "python -m tfdeblur.doctor --tpu looks for the cause."
        if not is_installed("tensorflow-tpu"):
            remedy = f"This build of TensorFlow has no support for TPUs: {_remedy_without_tpus()}."
        raise UserError(
            f"{where} that TensorFlow {tf.__version__} can use ({reason_of(error)}). {remedy}"
        ) from error


def _remedy_without_tpus() -> str:
    """Returns what trains on a TPU that the installed build of TensorFlow cannot use."""
    has_jax = is_installed("jax")
    if has_jax and is_installed("libtpu"):
        return "use --engine jax"
    remedy = 'use --engine jax after pip install "tfdeblur[jax-tpu]"'
    # Beside JAX it would bring an old libtpu; for Python 3.13 it has no TensorFlow.
    if has_jax or sys.version_info >= (3, 13):
        return remedy
    return f'{remedy}, or in a new environment pip install "tfdeblur[tpu]"'


def places(strategy: "tf.distribute.Strategy") -> tuple[tuple[str, ...], int]:
    """Returns the names of a strategy's processes, the chief first, and this one's index."""
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return ("this process",), 0
    resolver = strategy.cluster_resolver
    tasks = [
        (job, index)
        for job in ("chief", "worker")
        for index in range(len(resolver.cluster_spec().as_dict().get(job, ())))
    ]
    names = ("the chief", *(f"worker {index}" for _, index in tasks[1:]))
    return names, tasks.index((resolver.task_type, resolver.task_id))


# --------------------------------------------------------------------------------------- precision


def resolve_precision(
    requested: Precision = "auto", strategy: "tf.distribute.Strategy | None" = None
) -> str:
    """Selects the precision in which networks compute.

    Args:
        requested: `auto` is bfloat16 on TPUs and on GPUs that support it in hardware, and float32
            on CPUs and, with a warning, on older GPUs.
        strategy: Where the networks will run; if None, an initialized TPU counts.

    Returns:
        The name of a Keras precision policy, `float32` or `mixed_bfloat16` (weights, outputs and
        losses stay float32).

    Raises:
        ConfigError: `requested` is not one of the three.
    """
    if requested not in ("auto", *POLICIES):
        raise ConfigError(
            f"The precision is 'auto', 'float32' or 'bfloat16'; received: {requested!r}."
        )
    require_tensorflow()
    import tensorflow as tf

    if strategy is None:
        on_tpu = bool(tf.config.list_logical_devices("TPU"))
    else:
        on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    if on_tpu:
        return POLICIES["bfloat16" if requested == "auto" else requested]
    without = _gpus_without_bfloat16()
    if requested == "auto":
        if without:
            logger.warning(
                "%s computes in float32: bfloat16 units require compute capability 8.0.",
                ", ".join(without),
            )
        gpus = tf.config.list_physical_devices("GPU")
        return POLICIES["bfloat16" if gpus and not without else "float32"]
    if requested == "bfloat16" and without:
        logger.warning(
            "%s has no bfloat16 units: bfloat16 will be slower than float32 there.",
            ", ".join(without),
        )
    return POLICIES[requested]


def _gpus_without_bfloat16() -> list[str]:
    import tensorflow as tf

    names = []
    for gpu in tf.config.list_physical_devices("GPU"):
        details: dict[str, Any] = tf.config.experimental.get_device_details(gpu)
        # Only NVIDIA GPUs report a capability; other supported GPUs are recent enough.
        if details.get("compute_capability", BFLOAT16_CAPABILITY) < BFLOAT16_CAPABILITY:
            names.append(details.get("device_name", gpu.name))
    return names


# ------------------------------------------------------------------------------- seeds and devices


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seeds Python, NumPy, TensorFlow and Keras.

    Args:
        seed: Not negative, below 2^32.
        deterministic: Also makes the same program give the same bits, until the process ends
            (see `determinism`). Ops run serially only if TensorFlow has not listed devices yet.

    Raises:
        ConfigError: `seed` is out of range.
    """
    if not 0 <= seed < 2**32:
        raise ConfigError(f"The seed must be from 0 to 2^32 - 1; received: {seed}.")
    require_tensorflow()
    import keras

    keras.utils.set_random_seed(seed)
    if not deterministic:
        return
    from tfdeblur.training.engines.tensorflow.determinism import make_deterministic

    if not make_deterministic():
        tqdm.write(
            "runtime.deterministic: TensorFlow was in use before, so ops run in parallel, which "
            "may occasionally round differently. In a new process they run serially."
        )
