"""Checks devices, TPUs and precision; run as a program, it connects to a TPU."""

import glob
import os
import sys
from collections.abc import Mapping
from typing import Any

from tfdeblur.diagnostics.finding import Finding
from tfdeblur.errors import UserError
from tfdeblur.io import subprocesses
from tfdeblur.ops.devices import device_summary
from tfdeblur.training.engines.tensorflow import runtime

# Device files of the chips of a TPU VM, and variables that name a remote TPU.
_TPU_FILES = ("/dev/accel*", "/dev/vfio/[0-9]*")
_TPU_VARIABLES = ("TPU_NAME", "COLAB_TPU_ADDR")

# A TPU is initialized within a minute, a pod within a few.
TPU_SECONDS = 240


def signs_of_tpu() -> list[str]:
    """Returns the device files and environment variables that indicate a TPU."""
    files = sorted(path for pattern in _TPU_FILES for path in glob.glob(pattern))
    return [*files, *(f"${name}" for name in _TPU_VARIABLES if os.environ.get(name))]


def devices() -> Finding:
    """Reports the devices that TensorFlow detects."""
    try:
        summary = device_summary()
    except UserError as error:
        return Finding("devices", "wrong", str(error))
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU") or glob.glob("/dev/nvidia[0-9]*") == []:
        return Finding("devices", "ok", summary)
    built = bool(tf.test.is_built_with_cuda())
    advice = (
        'The CUDA libraries or the driver are missing: pip install "tfdeblur[gpu]", and check '
        "that nvidia-smi works."
        if built
        else 'This TensorFlow was built without CUDA; replace it: pip install "tfdeblur[gpu]".'
    )
    text = f"{summary}; this machine has an NVIDIA GPU that TensorFlow does not detect"
    return Finding("devices", "warning", text, advice)


def precision() -> Finding:
    """Reports the default precision of training, and the GPUs that it depends on."""
    import tensorflow as tf

    policy = runtime.resolve_precision("auto")
    names = []
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", ()))) or "unknown"
        names.append(f"{details.get('device_name', gpu.name)} (compute capability {capability})")
    gpus = ", ".join(names) or "no GPU; TPUs support bfloat16 in hardware"
    return Finding("precision", "ok", f"--precision auto is {policy} here: {gpus}")


def tpu(name: str | None) -> Finding:
    """Connects to a TPU in a subprocess, which may hang and which releases the TPU when it exits.

    Args:
        name: `local`, a name or an address; None connects only if there are signs of a local TPU.
    """
    signs = signs_of_tpu()
    if name is None and not signs:
        return Finding("TPU", "skipped", "none detected; --tpu connects to one anyway")
    reply = subprocesses.call(__name__, {"tpu": name or "local"}, seconds=TPU_SECONDS)
    if not reply.error:
        return Finding("TPU", "ok", reply.values["summary"])
    return Finding("TPU", "wrong", reply.error, _tpu_advice(name, signs, reply.timed_out))


def _tpu_advice(name: str | None, signs: list[str], timed_out: bool) -> str:
    if name not in (None, "local"):
        return (
            f"Check that {name!r} is READY (gcloud compute tpus tpu-vm list --zone ZONE). On the "
            "TPU VM itself use --tpu local."
        )
    if not signs:
        return "This machine has no /dev/accel* or /dev/vfio: run on the TPU VM itself."
    if timed_out:
        return (
            "A single host of a pod cannot be initialized alone: on worker 0 set "
            "TPU_LOAD_LIBRARY=0 and pass the pod's name to --tpu; see docs/tpu.md."
        )
    return (
        "Another process may use it; sudo lsof -w /dev/accel* /dev/vfio/* shows which. Otherwise "
        'pip uninstall other builds of TensorFlow and pip install "tfdeblur[tpu]".'
    )


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    strategy = runtime.make_strategy("tpu", request["tpu"])
    return {"summary": device_summary(strategy)}


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
