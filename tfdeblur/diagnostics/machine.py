"""Devices, TPUs and number formats. As a program it reaches for a TPU."""

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

# Where Linux shows the chips of a TPU VM, and what names a TPU that is elsewhere.
_TPU_FILES = ("/dev/accel*", "/dev/vfio/[0-9]*")
_TPU_VARIABLES = ("TPU_NAME", "COLAB_TPU_ADDR")

# A TPU that is there answers within a minute, a pod within a few.
TPU_SECONDS = 240


def signs_of_tpu() -> list[str]:
    """Returns what on this machine points to a TPU."""
    files = sorted(path for pattern in _TPU_FILES for path in glob.glob(pattern))
    return [*files, *(f"${name}" for name in _TPU_VARIABLES if os.environ.get(name))]


def devices() -> Finding:
    """Says what devices TensorFlow sees."""
    try:
        summary = device_summary()
    except UserError as error:
        return Finding("devices", "wrong", str(error))
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU") or glob.glob("/dev/nvidia[0-9]*") == []:
        return Finding("devices", "ok", summary)
    built = bool(tf.test.is_built_with_cuda())
    advice = (
        'Its CUDA libraries or the driver are missing: pip install "tfdeblur[gpu]", and see '
        "whether nvidia-smi works."
        if built
        else 'This TensorFlow was built without CUDA: replace it by pip install "tfdeblur[gpu]".'
    )
    text = f"{summary}; this machine has an NVIDIA GPU that TensorFlow does not see"
    return Finding("devices", "warning", text, advice)


def precision() -> Finding:
    """Says what training computes in by default, and why."""
    import tensorflow as tf

    policy = runtime.resolve_precision("auto")
    names = []
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", ()))) or "unknown"
        names.append(f"{details.get('device_name', gpu.name)} (compute capability {capability})")
    declared = ", ".join(names) or "no GPU; TPUs have bfloat16 in hardware"
    return Finding("precision", "ok", f"--precision auto means {policy} here: {declared}")


def tpu(name: str | None) -> Finding:
    """Reaches for a TPU in a program of its own, so that nothing here hangs or keeps it.

    Args:
        name: `local`, a name or an address; None looks for one only where there are signs of one.
    """
    signs = signs_of_tpu()
    if name is None and not signs:
        return Finding("TPU", "skipped", "no sign of one here; --tpu looks for one all the same")
    answer = subprocesses.ask(__name__, {"tpu": name or "local"}, seconds=TPU_SECONDS)
    if not answer.error:
        return Finding("TPU", "ok", answer.values["summary"])
    return Finding("TPU", "wrong", answer.error, _tpu_advice(name, signs, answer.timed_out))


def _tpu_advice(name: str | None, signs: list[str], timed_out: bool) -> str:
    if name not in (None, "local"):
        return (
            f"Look whether {name!r} is READY (gcloud compute tpus tpu-vm list --zone ZONE). On the "
            "TPU VM itself say --tpu local."
        )
    if not signs:
        return "This machine has no /dev/accel* or /dev/vfio: run on the TPU VM itself."
    if timed_out:
        return (
            "One host of a pod does not answer alone: on worker 0 set TPU_LOAD_LIBRARY=0 and give "
            "--tpu with the pod's name; see docs/tpu.md."
        )
    return (
        "Another process may hold it: sudo lsof -w /dev/accel* /dev/vfio/* names it. Else "
        'pip uninstall other builds of TensorFlow and pip install "tfdeblur[tpu]".'
    )


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    strategy = runtime.make_strategy("tpu", request["tpu"])
    return {"summary": device_summary(strategy)}


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
