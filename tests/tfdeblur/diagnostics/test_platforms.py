"""Platforms are recognized by their variables and device files."""

import glob
import importlib.util
import sys

import pytest

from tfdeblur.diagnostics import platforms


@pytest.fixture
def bare(monkeypatch):
    """A machine without signs of anything; returns patterns of device files that exist."""
    present = {}
    monkeypatch.setattr(glob, "glob", lambda pattern: present.get(pattern, []))
    for names in platforms._NOTEBOOKS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    for name in platforms._TPU_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platforms, "is_installed", lambda name: False)
    return present


def test_a_machine_without_accelerators(bare):
    platform = platforms.find()
    assert "neither GPU nor TPU" in platform.name and "[cpu]" in platform.install
    assert platforms.local_tpu() is None


def test_a_machine_with_a_gpu(bare):
    bare["/dev/nvidia[0-9]*"] = ["/dev/nvidia0"]
    platform = platforms.find()
    assert platform.signs == ("/dev/nvidia0",) and "[gpu]" in platform.install


@pytest.mark.parametrize(("minor", "extra"), [(12, "[tpu]"), (13, "[jax-tpu]")])
def test_a_tpu_vm_by_its_device_files(bare, monkeypatch, minor, extra):
    bare["/dev/vfio/[0-9]*"] = ["/dev/vfio/0"]
    monkeypatch.setattr(sys, "version_info", (3, minor, 0))
    platform = platforms.find()
    assert platform.name == "a TPU VM" and platform.signs == ("/dev/vfio/0",)
    assert extra in platform.install


TPU, GPU = "/dev/vfio/[0-9]*", "/dev/nvidia[0-9]*"


@pytest.mark.parametrize(
    ("device", "packages", "extra", "adding"),
    [
        (TPU, {"jax"}, "[jax-tpu]", "[cpu]"),
        (TPU, {"jax", "tensorflow-cpu"}, "[jax-tpu]", "[cpu]"),
        (TPU, {"jax", "tensorflow-tpu"}, "[tpu]", "[tpu]"),
        (TPU, set(), "[tpu]", "[tpu]"),
        (GPU, {"jax", "tensorflow-cpu"}, "[jax-gpu]", "[cpu]"),
        (GPU, {"jax", "tensorflow"}, "[gpu]", "[gpu]"),
        (None, {"jax"}, "[jax]", "[cpu]"),
        (None, {"jax", "tensorflow-cpu"}, "[cpu]", "[cpu]"),
    ],
)
def test_an_installed_engine_is_kept(bare, monkeypatch, device, packages, extra, adding):
    if device:
        bare[device] = [device]
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    monkeypatch.setattr(platforms, "is_installed", packages.__contains__)
    assert extra in platforms.find().install
    assert adding in platforms.adding_tensorflow()


@pytest.mark.parametrize(("vendor", "name"), [("0x1ae0\n", "a TPU VM"), ("0x8086\n", "neither")])
def test_device_files_of_other_vendors_are_no_tpu(bare, tmp_path, vendor, name):
    (tmp_path / "vendor").write_text(vendor)
    bare["/dev/vfio/[0-9]*"] = ["/dev/vfio/7"]
    bare[platforms._VENDORS] = [str(tmp_path / "vendor")]
    assert name in platforms.find().name


@pytest.mark.parametrize("tensorflow", [True, False])
@pytest.mark.parametrize(
    ("name", "variable"), [("Colab", "COLAB_RELEASE_TAG"), ("Kaggle", "KAGGLE_KERNEL_RUN_TYPE")]
)
def test_notebooks_keep_their_packages(bare, monkeypatch, name, variable, tensorflow):
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("TPU_WORKER_ID", "0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if tensorflow else None)
    platform = platforms.find()
    assert platform.name == f"{name} with a TPU"
    assert platform.signs == (f"${variable}", "$TPU_WORKER_ID")
    assert "-c installed.txt" in platform.install
    # Beside the TensorFlow of the platform no other build may be installed.
    assert ("[cpu]" in platform.install) == (not tensorflow)
    assert platforms.local_tpu() == ("local" if tensorflow else None)
