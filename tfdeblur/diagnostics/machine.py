"""Checks the engine, its devices, TPU and precision, in a process of its own.

A TPU can only be used by one process at a time and may hang, and a library that does not fit the
machine may end the process that imports it.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tfdeblur.config.backend import BACKENDS, choose_backend
from tfdeblur.diagnostics import platforms, versions
from tfdeblur.diagnostics.finding import Finding
from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Reply

# An engine starts within seconds, a TPU within a minute, a pod within a few.
SECONDS = 240


def findings(tpu: str | None) -> Iterator[Finding]:
    """Starts the engine as training does, and reports TPU, devices and precision.

    Args:
        tpu: `local`, a name or an address; None connects only if there are signs of a local TPU.
    """
    signs = platforms.signs_of_tpu()
    reply = None
    if tpu is None and not signs:
        yield Finding("TPU", "skipped", "none detected; --tpu connects to one anyway")
    else:
        reply = _start(tpu or "local")
        if reply.error:
            yield Finding("TPU", "wrong", reply.error, _tpu_advice(tpu, signs, reply))
            reply = None
        else:
            yield Finding("TPU", "ok", reply.values["summary"])
    yield from _devices(reply or _start(None))


def _start(tpu: str | None) -> Reply:
    # Without TF_CONFIG, because a worker of a cluster would wait for the others.
    return subprocesses.call(__name__, {"tpu": tpu}, seconds=SECONDS, environment={"TF_CONFIG": ""})


def _devices(reply: Reply) -> Iterator[Finding]:
    packages = versions.installed()
    if reply.error:
        install = versions.replacing(platforms.find().install, packages)
        advice = f"Install the library's packages again: {install}."
        yield Finding("devices", "wrong", reply.error, advice)
        return
    values = reply.values
    if platforms.has_gpu() and not values["gpus"]:
        text = f"{values['summary']}; this machine has an NVIDIA GPU that {values['engine']} lacks"
        extra = {"TensorFlow": "gpu", "JAX": "jax-gpu"}[values["engine"]]
        advice = f'Check that nvidia-smi works, and that pip install "tfdeblur[{extra}]" was run.'
        if values["cuda"] is False and "jax" in packages:
            advice = (
                "This TensorFlow was built without CUDA, and reads the data for JAX: train with "
                "--engine jax. KERAS_BACKEND=jax makes the doctor check JAX."
            )
        elif values["cuda"] is False:
            install = versions.replacing('pip install "tfdeblur[gpu]"', packages)
            advice = f"This TensorFlow was built without CUDA; replace it: {install}."
        yield Finding("devices", "warning", text, advice)
    else:
        yield Finding("devices", "ok", values["summary"])
    yield Finding("precision", "ok", f"--precision auto is {values['policy']} here")


def _tpu_advice(name: str | None, signs: list[str], reply: Reply) -> str:
    packages = versions.installed()
    under_jax = _runs_jax(packages)
    if name not in (None, "local"):
        if under_jax:
            return "Run it on the TPU VM itself, on each of its hosts, with --tpu and no name."
        return (
            f"Check that {name!r} is READY (gcloud compute tpus tpu-vm list --zone ZONE). On the "
            "TPU VM itself use --tpu local."
        )
    if not signs:
        return "This machine has no /dev/accel* or /dev/vfio: run on the TPU VM itself."
    if "libtpu" not in packages:
        return f"There is no libtpu: {versions.replacing(platforms.find().install, packages)}."
    if reply.timed_out and under_jax:
        return (
            "On a TPU of several hosts JAX waits for all: run the doctor on every host at the same "
            "time (gcloud compute tpus tpu-vm ssh --worker=all); see docs/tpu.md."
        )
    if reply.timed_out:
        return (
            "A single host of a pod cannot be initialized alone: on worker 0 set "
            "TPU_LOAD_LIBRARY=0 and pass the pod's name to --tpu; see docs/tpu.md."
        )
    advice = "Another process may use it; sudo lsof -w /dev/accel* /dev/vfio/* shows which."
    others = [name for name in versions.BUILDS if name in packages and name != "tensorflow-tpu"]
    if "tensorflow-tpu" in packages and others:
        advice += f" pip uninstall {' '.join(others)}, then install tensorflow-tpu again."
    return advice


def _runs_jax(packages: Mapping[str, str]) -> bool:
    """Returns whether a TPU is used through JAX; decided as by `choose_backend`."""
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen == "jax"
    if not any(name in packages for name in versions.BUILDS):
        return "jax" in packages
    return {"jax", "libtpu"} <= packages.keys() and "tensorflow-tpu" not in packages


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    choose_backend({"tpu": request["tpu"]})
    import keras

    from tfdeblur.config.train import RuntimeConfig
    from tfdeblur.training import engines

    engine = engines.create()
    engine.start(0, RuntimeConfig(tpu=request["tpu"]))
    backend = keras.backend.backend()
    cuda = None
    if backend == "tensorflow":
        import tensorflow as tf

        cuda = bool(tf.test.is_built_with_cuda())
    return {
        "engine": BACKENDS[backend],
        "summary": engine.summary(),
        "policy": engine.resolve_precision("auto"),
        "gpus": sum(name.startswith("gpu") for name in keras.distribution.list_devices()),
        "cuda": cuda,
    }


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
