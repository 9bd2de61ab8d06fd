import json
import os
import random
import re
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.errors import ConfigError, UserError
from tfdeblur.ops import devices
from tfdeblur.ops.precision import precision_scope
from tfdeblur.training.engines import cluster
from tfdeblur.training.engines.tensorflow import runtime


def python(code: str, **environment: str | None) -> subprocess.CompletedProcess:
    """Runs code in a new process, in which TensorFlow has not started."""
    env = {**os.environ, **{k: v for k, v in environment.items() if v is not None}}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


def pretend_gpus(monkeypatch, *details):
    """Makes TensorFlow list simulated GPUs."""
    gpus = [
        tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(len(details))
    ]
    real = tf.config.list_physical_devices
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind=None: gpus if kind == "GPU" else real(kind)
    )
    by_name = {gpu.name: detail for gpu, detail in zip(gpus, details, strict=True)}
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda device: by_name[device.name]
    )


T4 = {"device_name": "Tesla T4", "compute_capability": (7, 5)}
A100 = {"device_name": "NVIDIA A100", "compute_capability": (8, 0)}


def test_import_of_runtime_does_not_load_tensorflow():
    result = python("""
        import sys
        import tfdeblur.training.engines.tensorflow.runtime
        print("tensorflow" in sys.modules, "keras" in sys.modules)
    """)
    assert result.stdout.split() == ["False", "False"], result.stderr


# -------------------------------------------------------------------------------------- strategies


def test_strategy_one_has_one_replica():
    strategy = runtime.make_strategy("one")
    assert strategy.num_replicas_in_sync == 1
    with strategy.scope():
        assert "CPU:0" in tf.Variable(1.0).device


def test_strategy_auto_without_accelerators_is_one(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert isinstance(runtime.make_strategy(), tf.distribute.OneDeviceStrategy)


def test_strategy_mirrored_without_gpus_uses_logical_cpus():
    strategy = runtime.make_strategy("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == 2


def test_strategy_auto_with_gpus_uses_all(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    pretend_gpus(monkeypatch, A100, A100)
    assert runtime._choose_kind(None) == "mirrored"
    pretend_gpus(monkeypatch, A100)
    assert runtime._choose_kind(None) == "one"


def test_strategy_auto_with_several_workers_is_multi_worker(monkeypatch):
    task = {"type": "worker", "index": 0}
    for workers, kind in ((["a:1", "b:1"], "multi_worker"), (["a:1"], "one")):
        config = {"cluster": {"worker": workers}, "task": task}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        assert runtime._choose_kind(None) == kind


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"cluster": {"worker": ["a:1", "b:1"]}}', '{"cluster": 3}'],
)
def test_invalid_tf_config_raises_config_error(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        runtime.make_strategy("multi_worker")


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "says"),
    [
        ({"worker": ["hosta", "b:1"]}, "worker", 1, "'hosta'"),
        ({"worker": ["a:1", "127.0.0.1:2222x"]}, "worker", 0, "TF_CONFIG"),
        ({"worker": ["a:222222", "b:1"]}, "worker", 0, "TF_CONFIG"),
        ({"worker": ["a:1", "b:1"]}, "worker", 2, "its task"),
        ({"worker": ["a:1", "b:1"]}, "worker", -1, "its task"),
        ({"worker": ["a:1", "b:1"]}, "master", 0, "its task"),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "worker", 1, "its task"),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "chief", 1, "its task"),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "worker", -1, "its task"),
    ],
)
def test_wrong_task_or_address_raises_before_workers_connect(
    monkeypatch, cluster, kind, index, says
):
    config = {"cluster": cluster, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    for strategy in ("multi_worker", "auto"):
        with pytest.raises(ConfigError, match=says):
            runtime.meeting_place(strategy, None)
        with pytest.raises(ConfigError, match=says):
            runtime.make_strategy(strategy)


@pytest.mark.parametrize(("kind", "index", "place"), [("chief", 0, 0), ("worker", 1, 2)])
def test_worker_index_by_task(monkeypatch, kind, index, place):
    workers = {"chief": ["a:1"], "worker": ["b:1", "[::1]:65535"]}
    config = {"cluster": workers, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert runtime.meeting_place("auto", None) == (["a:1", "b:1", "[::1]:65535"], place)
    assert runtime.meeting_place("one", None) == ([], 0)
    assert cluster.read()[1] == place


def test_strategy_multi_worker_without_tf_config_raises_config_error(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        runtime.make_strategy("multi_worker")


@pytest.mark.slow
def test_two_workers_reduce_over_both():
    import socket

    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{s.getsockname()[1]}" for s in (first, second)]
    code = """
        from tfdeblur.training.engines.tensorflow import runtime
        strategy = runtime.make_strategy()
        import tensorflow as tf

        @tf.function
        def total():
            def replica():
                context = tf.distribute.get_replica_context()
                mine = tf.cast(context.replica_id_in_sync_group, tf.float32) + 1.0
                return context.all_reduce("sum", mine)
            return strategy.run(replica)
        print(strategy.num_replicas_in_sync, float(total()))
    """
    started = []
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(task)}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for process in started:
            output, errors = process.communicate(timeout=300)
            assert output.split() == ["2", "3.0"], errors
    finally:
        for process in started:
            process.kill()


@pytest.mark.parametrize(("kind", "tpu"), [("tpu", None), ("auto", "local")])
def test_strategy_tpu_without_tpu_raises_user_error(kind, tpu):
    with pytest.raises(UserError, match="This machine has no TPU") as caught:
        runtime.make_strategy(kind, tpu)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("Please provide a TPU Name to connect to."),
        tf.errors.NotFoundError(None, None, "No chip answers.\n\t [[node]] [Op:_Configure]"),
        RuntimeError("TPUs not found in the cluster."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_without_tpu_keeps_the_words_of_tensorflow(monkeypatch, error, installed):
    def fail(tpu):
        raise error

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", fail)
    monkeypatch.setattr(
        runtime, "is_installed", lambda name: installed and name == "tensorflow-tpu"
    )
    with pytest.raises(UserError) as caught:
        runtime.make_strategy("tpu", "local")
    words, message = str(error).splitlines()[0].rstrip("."), str(caught.value)
    assert f"({words})" in message and "\n" not in message
    assert caught.value.__cause__ is error
    # Its wheel is there: another one would not help.
    assert ("pip install" in message) == (not installed)
    assert ("tfdeblur.doctor" in message) == installed


@pytest.mark.parametrize(
    ("packages", "minor", "extras"),
    [
        ({"jax", "libtpu"}, 12, []),
        ({"jax", "libtpu"}, 13, []),
        ({"jax"}, 12, ["jax-tpu"]),
        (set(), 12, ["jax-tpu", "tpu"]),
        (set(), 13, ["jax-tpu"]),
    ],
)
def test_remedy_without_tpus_installs_only_what_is_missing(monkeypatch, packages, minor, extras):
    monkeypatch.setattr(runtime, "is_installed", packages.__contains__)
    monkeypatch.setattr(sys, "version_info", (3, minor, 0))
    remedy = runtime._remedy_without_tpus()
    assert "--engine jax" in remedy
    assert re.findall(r"tfdeblur\[(.*?)\]", remedy) == extras


@pytest.mark.parametrize(("batch", "cores"), [(16, None), (4, 4), (None, None)])
def test_tpu_uses_the_cores_that_can_share_the_batch(monkeypatch, batch, cores):
    topology = SimpleNamespace(num_tasks=2, num_tpus_per_task=4)
    tpus, resolvers = tf.tpu.experimental, tf.distribute.cluster_resolver
    monkeypatch.setattr(resolvers, "TPUClusterResolver", lambda tpu: tpu)
    monkeypatch.setattr(tpus, "initialize_tpu_system", lambda resolver: topology)
    monkeypatch.setattr(tpus.DeviceAssignment, "build", lambda topology, num_replicas: num_replicas)
    monkeypatch.setattr(
        tf.distribute,
        "TPUStrategy",
        lambda resolver, experimental_device_assignment=None: experimental_device_assignment,
    )
    assert runtime.make_strategy("tpu", "local", batch) == cores


def test_tpu_with_another_strategy_raises_config_error():
    with pytest.raises(ConfigError, match="'mirrored'"):
        runtime.make_strategy("mirrored", "local")


# --------------------------------------------------------------------------------------- precision


def test_precision_auto_on_cpu_is_float32():
    assert runtime.resolve_precision() == "float32"
    assert runtime.resolve_precision("float32") == "float32"
    assert runtime.resolve_precision("bfloat16") == "mixed_bfloat16"


def test_unknown_precision_raises_config_error():
    with pytest.raises(ConfigError, match="'float8'"):
        runtime.resolve_precision("float8")


def test_precision_on_old_gpu_warns(monkeypatch, caplog):
    pretend_gpus(monkeypatch, A100, T4)
    assert runtime.resolve_precision() == "float32"
    assert "Tesla T4 computes in float32" in caplog.text
    caplog.clear()
    assert runtime.resolve_precision("bfloat16") == "mixed_bfloat16"
    assert "slower" in caplog.text


def test_precision_on_new_gpu_is_bfloat16(monkeypatch, caplog):
    pretend_gpus(monkeypatch, A100)
    assert runtime.resolve_precision() == "mixed_bfloat16"
    assert runtime.resolve_precision("float32") == "float32"
    assert not caplog.text


def test_precision_on_tpu_is_bfloat16():
    # There is no TPU here, and only the class of the strategy matters.
    strategy = object.__new__(tf.distribute.TPUStrategy)
    assert runtime.resolve_precision("auto", strategy) == "mixed_bfloat16"
    assert runtime.resolve_precision("float32", strategy) == "float32"


def test_precision_scope_restores_the_policy():
    before = keras.mixed_precision.dtype_policy()
    with precision_scope("mixed_bfloat16"):
        layer = keras.layers.Dense(1)
    assert layer.compute_dtype == "bfloat16"
    assert layer.variable_dtype == "float32"
    assert keras.mixed_precision.dtype_policy() == before
    with pytest.raises(RuntimeError), precision_scope("mixed_bfloat16"):
        raise RuntimeError
    assert keras.mixed_precision.dtype_policy() == before


# ------------------------------------------------------------------------------- seeds and devices


def test_seed_repeats_every_draw():
    def draws():
        runtime.seed_everything(7)
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
        return (
            random.random(),
            np.random.random(),
            float(tf.random.normal(())),
            *layer.kernel.numpy().flat,
        )

    first = draws()
    assert draws() == first
    runtime.seed_everything(8)
    assert random.random() != first[0]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range_raises_config_error(seed):
    with pytest.raises(ConfigError, match=str(seed)):
        runtime.seed_everything(seed)


@pytest.mark.slow
def test_deterministic_in_a_new_process():
    result = python("""
        from tfdeblur.training.engines.tensorflow import runtime
        runtime.seed_everything(1, deterministic=True)
        from tensorflow.python.framework import config
        print(config.is_op_determinism_enabled())
    """)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["True"]


def test_device_summary(monkeypatch):
    text = devices.device_summary(runtime.make_strategy("mirrored"))
    assert "CPU core" in text
    assert "MirroredStrategy with 2 replicas" in text
    assert tf.__version__ in text
    assert keras.__version__ in text
    pretend_gpus(monkeypatch, A100, A100)
    assert devices.device_summary().startswith("2 x NVIDIA A100; ")
