"""Every extra resolves on every supported Python, to packages that work together."""

import json
import subprocess

import pytest
from packaging.utils import canonicalize_name

from tests.helpers import wheels
from tests.notebooks.test_environments import interpreter
from tests.test_repository import setup_cfg
from tfdeblur.diagnostics import versions

EXTRAS = sorted(setup_cfg(wheels.ROOT)["options.extras_require"])
# Those that bring a build of TensorFlow.
WITH_TENSORFLOW = {"cpu", "gpu", "jax", "jax-gpu", "jax-tpu", "tpu"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return wheels.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=["3.11", "3.12", "3.13"])
def installed(request, tmp_path_factory):
    """A Python with pip alone, and its version."""
    folder = tmp_path_factory.mktemp(f"python{request.param}")
    subprocess.run([interpreter(request.param), "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True)
    return python, request.param


@pytest.mark.long
@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_resolves_to_packages_that_work_together(extra, installed, wheel, tmp_path):
    """Reads an index of packages, from which nothing but metadata is downloaded."""
    python, version = installed
    report = tmp_path / "report.json"
    command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--report", str(report)]
    command += ["--only-binary", ":all:", "--use-feature", "fast-deps", f"{wheel}[{extra}]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [one["metadata"] for one in json.loads(report.read_text("utf-8"))["install"]]
    packages = {canonicalize_name(one["name"]): one["version"] for one in found}
    builds = set(packages).intersection(versions.BUILDS)
    # TensorFlow for TPUs ended before Python 3.13.
    brings = extra in WITH_TENSORFLOW and (extra, version) != ("tpu", "3.13")
    assert len(builds) == brings
    assert not versions._impossible(packages)
    assert ("jax" in packages) == (extra.startswith("jax") or extra == "preflight")
    assert ("libtpu" in packages) == (
        extra in {"jax-tpu", "preflight"} or "tensorflow-tpu" in builds
    )
