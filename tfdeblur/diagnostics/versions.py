"""Whether the installed packages go together."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Mapping

from tfdeblur.diagnostics.finding import Finding, Status

# Builds of TensorFlow that put their files into one folder: two of them are none.
BUILDS = ("tensorflow", "tensorflow-cpu", "tensorflow-tpu", "tf-nightly", "tf-nightly-cpu")

# Whose requirements are checked, where they are installed.
_CHECKED = (*BUILDS, "tfdeblur", "keras", "jax", "jaxlib")

# Named in the report, in this order.
_NAMED = (*BUILDS, "keras", "numpy", "protobuf", "h5py", "libtpu", "jax")

# What stands in setup.cfg; the upper end is what was tested.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)


def installed() -> dict[str, str]:
    """Returns the version of every installed package by its normalized name."""
    found: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        name = package.metadata["Name"]
        # The first one on the path is the one that is imported.
        if name:
            found.setdefault(normalized(name), package.version)
    return found


def normalized(name: str) -> str:
    """Returns a package's name as indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def findings(packages: Mapping[str, str] | None = None) -> list[Finding]:
    """Looks at Python, TensorFlow's builds, Keras's backend and what packages ask of others.

    Args:
        packages: Versions by name; what is installed where not given.
    """
    own = installed() if packages is None else dict(packages)
    return [_python(), *_builds(own), *_backend(), *_together(own)]


def _python() -> Finding:
    version = platform.python_version()
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return Finding("Python", "ok", version)
    tested = " to ".join(".".join(map(str, end)) for end in (OLDEST_PYTHON, NEWEST_PYTHON))
    status: Status = "wrong" if sys.version_info[:2] < OLDEST_PYTHON else "warning"
    return Finding("Python", status, f"{version} was not tested", f"Use Python {tested}.")


def _builds(packages: Mapping[str, str]) -> list[Finding]:
    builds = [name for name in BUILDS if name in packages]
    named = ", ".join(f"{name} {packages[name]}" for name in _NAMED if name in packages)
    if not builds:
        advice = 'pip install "tfdeblur[cpu]", "tfdeblur[gpu]" or "tfdeblur[tpu]".'
        return [Finding("TensorFlow", "wrong", "is not installed", advice)]
    found = [Finding("packages", "ok", named)]
    if len(builds) > 1:
        advice = (
            f"pip uninstall -y {' '.join(builds)}, and install one of them again: they share a "
            "folder, and removing one leaves holes in the other."
        )
        text = f"{' and '.join(builds)} are installed beside each other"
        found.append(Finding("TensorFlow", "wrong", text, advice))
    if "tensorflow-addons" in packages:
        text = "tensorflow-addons cannot be imported beside this TensorFlow; nothing here needs it"
        found.append(
            Finding("tensorflow-addons", "warning", text, "pip uninstall tensorflow-addons.")
        )
    return found


def _backend() -> list[Finding]:
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen in (None, "tensorflow"):
        return []
    text = f"the environment variable KERAS_BACKEND says {chosen!r}"
    return [Finding("Keras", "wrong", text, "Set it to tensorflow before Python starts.")]


def _together(packages: Mapping[str, str]) -> list[Finding]:
    """Compares what packages ask of each other with what is there, as `pip check` does."""
    problems = []
    for name in _CHECKED:
        if name not in packages:
            continue
        try:
            wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        problems += [f"{name} {packages[name]} {problem}" for problem in unmet(wanted, packages)]
    if not problems:
        return [Finding("requirements", "ok", "the packages go together")]
    advice = "pip install the versions that are asked for, in one command with what asks for them."
    return [Finding("requirements", "wrong", "; ".join(problems), advice)]


def unmet(wanted: Iterable[str], packages: Mapping[str, str]) -> list[str]:
    """Returns what is asked for and not there.

    Args:
        wanted: Requirements, such as ``numpy>=1.26``; those of extras do not count.
        packages: Versions by normalized name.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    problems = []
    for text in wanted:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = packages.get(normalized(requirement.name))
        if version is None:
            problems.append(f"needs {requirement.name}, which is not installed")
        elif not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"needs {requirement.name}{requirement.specifier}, found {version}")
    return problems
