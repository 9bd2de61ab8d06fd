"""What is inside the library's wheel: ``python -m tests.helpers.wheels WHEEL`` checks it."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).parents[2]

PACKAGES = ("tfdeblur", "data_prep")

# Files of the packages beside Python's own; setup.cfg lists them as package data.
_DATA = (".bib", ".html", ".yaml", ".j2", ".typed", ".safetensors", ".md")


def build(folder):
    """Builds the wheel in a folder, from a copy of the sources; returns its path."""
    sources = folder / "sources"
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, sources / package, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(sources)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def expected():
    """Returns the files of the packages in this checkout, relative to it."""
    return {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.name.endswith((".py", *_DATA))
    }


def problems(wheel):
    """Returns the files that a wheel lacks, or has and should not have."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    missing = [f"lacks {name}" for name in sorted(expected() - inside)]
    return missing + [f"has {name}" for name in sorted(inside - expected())]


if __name__ == "__main__":
    found = problems(sys.argv[1])
    print("\n".join(found) or f"{sys.argv[1]} has all {len(expected())} files of the packages.")
    sys.exit(bool(found))
