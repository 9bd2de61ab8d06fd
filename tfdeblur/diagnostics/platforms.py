"""Recognizes Colab, Kaggle, TPU VMs and GPUs, and knows how to install the library there."""

import dataclasses
import glob
import importlib.util
import os
import pathlib
import re
import sys

from tfdeblur.config.backend import is_installed

# Variables that Colab and Kaggle set in every session.
_NOTEBOOKS = {
    "Colab": ("COLAB_RELEASE_TAG", "COLAB_GPU"),
    "Kaggle": ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE"),
}

# Device files of the chips of a TPU VM, and variables that name a TPU.
_TPU_FILES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
# Other accelerators and virtual machines have such files, too; the vendor of a TPU is Google.
_VENDORS, _GOOGLE = "/sys/bus/pci/devices/*/vendor", "0x1ae0"
_TPU_VARIABLES = ("TPU_NAME", "TPU_ACCELERATOR_TYPE", "TPU_WORKER_ID", "COLAB_TPU_ADDR")
_GPU_FILES = "/dev/nvidia[0-9]*"

# The builds of TensorFlow that the extras `tpu`, `gpu` and `cpu` bring.
_BUILDS = {"tpu": "tensorflow-tpu", "gpu": "tensorflow", "cpu": "tensorflow-cpu"}


@dataclasses.dataclass(frozen=True)
class Platform:
    """Where Python runs.

    Attributes:
        name: Such as ``Colab with a TPU`` or ``a machine without GPU and TPU``.
        signs: Device files and variables (``$NAME``) that show it.
        install: The command that installs the library here.
    """

    name: str
    signs: tuple[str, ...]
    install: str


def signs_of_tpu() -> list[str]:
    """Returns the device files and environment variables that indicate a TPU."""
    found = sorted(path for pattern in _TPU_FILES for path in glob.glob(pattern))
    return [*(found if found and _may_be_google() else ()), *_set(*_TPU_VARIABLES)]


def _may_be_google() -> bool:
    """Returns whether a PCI device is of Google, or their vendors are hidden."""
    vendors = glob.glob(_VENDORS)
    try:
        return not vendors or any(pathlib.Path(v).read_text().strip() == _GOOGLE for v in vendors)
    except OSError:
        return True


def has_gpu() -> bool:
    """Returns whether there are device files of NVIDIA GPUs."""
    return bool(glob.glob(_GPU_FILES))


def local_tpu() -> str | None:
    """Returns ``local``, for `runtime.tpu`, if there are signs of a TPU and its library; else None.

    Nothing is connected: only one process at a time can use a TPU.
    """
    return "local" if signs_of_tpu() and importlib.util.find_spec("libtpu") else None


def find() -> Platform:
    """Returns the platform of this process."""
    tpu = signs_of_tpu()
    device = "a TPU" if tpu else "an NVIDIA GPU" if has_gpu() else ""
    for name, variables in _NOTEBOOKS.items():
        if signs := _set(*variables):
            has_tensorflow = importlib.util.find_spec("tensorflow") is not None
            # Its own packages fit its devices and each other: none of them may change.
            install = (
                "pip list --format=freeze > installed.txt; "
                f'pip install -c installed.txt "tfdeblur{"" if has_tensorflow else "[cpu]"}"'
            )
            return Platform(f"{name} with {device or 'CPUs only'}", (*signs, *tpu), install)
    extra = _extra("tpu" if tpu else "gpu" if device else "cpu")
    install = f'pip install "tfdeblur[{extra}]"'
    if tpu:
        return Platform("a TPU VM", tuple(tpu), install)
    name = f"a machine with {device or 'neither GPU nor TPU'}"
    return Platform(name, tuple(sorted(glob.glob(_GPU_FILES))), install)


def adding_tensorflow() -> str:
    """Returns the command that adds TensorFlow here; beside JAX that is its CPU build."""
    return re.sub(r"\[jax[-a-z]*\]", "[cpu]", find().install)


def _extra(device: str) -> str:
    """Returns the extra for ``tpu``, ``gpu`` or ``cpu`` that keeps an installed engine."""
    if device == "tpu" and sys.version_info >= (3, 13):
        return "jax-tpu"
    # Beside JAX, the libtpu or CUDA libraries of TensorFlow's extras would replace those of JAX.
    if is_installed("jax") and not is_installed(_BUILDS[device]):
        return "jax" if device == "cpu" else f"jax-{device}"
    return device


def _set(*names: str) -> list[str]:
    return [f"${name}" for name in names if os.environ.get(name)]
