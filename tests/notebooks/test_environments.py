"""Notebooks install the library into the environments of Colab and Kaggle, and run there."""

import shutil
import subprocess

import pytest
from packaging.requirements import Requirement

from tests.helpers import notebooks, wheels
from tests.notebooks.test_notebooks import RUNS

ENVIRONMENTS = notebooks.FOLDER / "environments"

# Python, backend and number of devices by the name of the file.
PLATFORMS = {
    "colab-cpu-gpu": ("3.13", "tensorflow", 1),
    "colab-tpu": ("3.13", "jax", 1),
    "kaggle-tpu": ("3.12", "jax", 8),
}


def test_every_environment_has_a_python_and_valid_requirements():
    assert PLATFORMS.keys() == {path.stem for path in ENVIRONMENTS.iterdir()}
    for name in PLATFORMS:
        lines = (ENVIRONMENTS / f"{name}.txt").read_text("utf-8").splitlines()
        assert lines[0].startswith("# ")
        assert [Requirement(line) for line in lines if not line.startswith("#")]


def interpreter(version):
    """A Python of this version: of the path, or of pyenv."""
    found = shutil.which(f"python{version}")
    if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
        found = None  # pyenv's, of a version that is not chosen
    if not found and shutil.which("pyenv"):
        listed = ["pyenv", "prefix", version]
        done = subprocess.run(listed, capture_output=True, text=True, check=False)
        found = f"{done.stdout.strip()}/bin/python" if not done.returncode else None
    return found or pytest.skip(f"there is no Python {version} here")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return wheels.build(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_wheel_has_the_files_of_the_packages(wheel):
    assert wheels.problems(wheel) == []


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", PLATFORMS)
def test_notebooks_run_in_the_environment_of_a_platform(name, wheel, tmp_path):
    """The first notebook installs the wheel; it fails if that changes a package."""
    version, backend, devices = PLATFORMS[name]
    environment = tmp_path / "environment"
    subprocess.run([interpreter(version), "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin/python")
    file = str(ENVIRONMENTS / f"{name}.txt")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", file], check=True)
    for notebook, prepare in RUNS.items():
        folder = tmp_path / notebook
        folder.mkdir()
        settings = {**prepare(folder), "LIBRARY": str(wheel)}
        where = {"backend": backend, "devices": devices, "python": python, "path": None}
        notebooks.run(notebook, settings, folder, **where)
    packages = [python, "-m", "pip", "check"]
    done = subprocess.run(packages, capture_output=True, text=True, check=False)
    assert "tfdeblur" not in done.stdout, done.stdout
