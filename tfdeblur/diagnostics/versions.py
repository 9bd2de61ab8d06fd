"""Checks the versions of Python and of the installed packages."""

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tfdeblur.diagnostics import platforms
from tfdeblur.diagnostics.finding import Finding, Status

# Builds of TensorFlow, which all write to the same folder.
BUILDS = ("tensorflow", "tensorflow-cpu", "tensorflow-tpu", "tf-nightly", "tf-nightly-cpu")

# Packages whose requirements are checked.
_CHECKED = (*BUILDS, "tfdeblur", "keras", "jax", "jaxlib")

# Packages in the report.
_REPORTED = (*BUILDS, "keras", "numpy", "protobuf", "h5py", "libtpu", "jax")

# Pairs of versions of which each installs beside the other, but that cannot work together; with
# what happens, and what to do.
_IMPOSSIBLE = (
    (
        Requirement("tensorflow-tpu==2.20.0"),
        Requirement("libtpu>=0.0.43"),
        "importing TensorFlow ends the process",
        'pip install "tfdeblur[tpu]" (Python 3.11 and 3.12), which pins a pair that works, or '
        'pip uninstall tensorflow-tpu, then pip install "tfdeblur[jax-tpu]".',
    ),
)

# As in setup.cfg; the newest is the newest tested one.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)


def findings(packages: Mapping[str, str] | None = None) -> list[Finding]:
    """Checks Python, the builds of TensorFlow, Keras's backend and the packages' versions.

    Args:
        packages: Versions by normalized name; those of the installed packages if unset.
    """
    versions = installed() if packages is None else packages
    return [
        _platform(),
        _python(),
        *_builds(versions),
        *_impossible(versions),
        *_backend(),
        _requirements(versions),
    ]


def installed() -> dict[str, str]:
    """Returns the versions of all installed packages by normalized name."""
    found: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        if name := package.metadata["Name"]:
            # Of several on the path, Python imports the first.
            found.setdefault(canonicalize_name(name), package.version)
    return found


def replacing(install: str, packages: Mapping[str, str]) -> str:
    """Returns an install command; if it brings a build of TensorFlow, in place of those there are.

    Args:
        install: The command that installs it. The extras of JAX bring ``tensorflow-cpu``, which is
            kept if it is there.
        packages: Versions of the installed packages.
    """
    brings = re.search(r"\[(cpu|gpu|tpu|jax[-a-z]*)\]", install)
    kept = "tensorflow-cpu" if brings and brings[1] not in ("gpu", "tpu") else None
    builds = [name for name in BUILDS if brings and name in packages and name != kept]
    return f"pip uninstall -y {' '.join(builds)}; {install}" if builds else install


def unmet(requirements: Iterable[str], packages: Mapping[str, str]) -> list[str]:
    """Returns a description of each requirement that is not met.

    Args:
        requirements: Such as ``numpy>=1.26``; those of extras are ignored.
        packages: Versions by normalized name.
    """
    problems = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = packages.get(canonicalize_name(requirement.name))
        if version is None:
            problems.append(f"requires {requirement.name}, which is not installed")
        elif not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"requires {requirement.name}{requirement.specifier}, found {version}")
    return problems


def _platform() -> Finding:
    platform = platforms.find()
    signs = f" ({', '.join(platform.signs)})" if platform.signs else ""
    return Finding("machine", "ok", f"{platform.name}{signs}; to install: {platform.install}")


def _impossible(packages: Mapping[str, str]) -> list[Finding]:
    """Finds pairs of packages that cannot work together although their requirements are met."""
    found = []
    for one, other, effect, advice in _IMPOSSIBLE:
        pair = [(item.name, packages.get(item.name)) for item in (one, other)]
        if all(
            version is not None and item.specifier.contains(version, prereleases=True)
            for item, (_, version) in zip((one, other), pair, strict=True)
        ):
            text = f"{' with '.join(f'{name} {version}' for name, version in pair)}: {effect}"
            found.append(Finding("TensorFlow", "wrong", text, advice))
    return found


def _python() -> Finding:
    version = platform.python_version()
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return Finding("Python", "ok", version)
    tested = " to ".join(".".join(map(str, end)) for end in (OLDEST_PYTHON, NEWEST_PYTHON))
    status: Status = "wrong" if sys.version_info[:2] < OLDEST_PYTHON else "warning"
    return Finding("Python", status, f"{version} is untested", f"Use Python {tested}.")


def _builds(packages: Mapping[str, str]) -> list[Finding]:
    builds = [name for name in BUILDS if name in packages]
    if not builds:
        advice = f"{platforms.adding_tensorflow()}."
        if "jax" not in packages:
            return [Finding("TensorFlow", "wrong", "is not installed", advice)]
        text = (
            "is not installed: JAX trains on data that fit in memory, evaluates and restores; "
            "larger data, synthesis, gs://, photos with 16 bits per channel, export and convert "
            "need it"
        )
        return [Finding("TensorFlow", "warning", text, advice)]
    versions = (f"{name} {packages[name]}" for name in _REPORTED if name in packages)
    found = [Finding("packages", "ok", ", ".join(versions))]
    if len(builds) > 1:
        advice = (
            f"pip uninstall -y {' '.join(builds)}, then install one of them again: they share a "
            "folder, so uninstalling one breaks the other."
        )
        text = f"{' and '.join(builds)} are both installed"
        found.append(Finding("TensorFlow", "wrong", text, advice))
    if "tensorflow-addons" in packages:
        text = "tensorflow-addons is incompatible with this TensorFlow, and nothing here needs it"
        advice = "pip uninstall tensorflow-addons."
        found.append(Finding("tensorflow-addons", "warning", text, advice))
    return found


def _backend() -> list[Finding]:
    backend = os.environ.get("KERAS_BACKEND")
    if backend in (None, "", "tensorflow"):
        return []
    text = f"the environment variable KERAS_BACKEND is {backend!r}"
    if backend == "jax":
        advice = "Exporting and converting need TensorFlow: unset the variable for these."
        return [Finding("Keras", "warning", text, advice)]
    advice = "Set it to tensorflow or jax before Python starts."
    return [Finding("Keras", "wrong", text, advice)]


def _requirements(packages: Mapping[str, str]) -> Finding:
    """Checks the packages' requirements, as `pip check` does."""
    problems = []
    for name in filter(packages.__contains__, _CHECKED):
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        problems += [f"{name} {packages[name]} {text}" for text in unmet(requirements, packages)]
    if not problems:
        return Finding("requirements", "ok", "all package requirements are met")
    advice = "pip install the required versions, in one command with the packages that need them."
    return Finding("requirements", "wrong", "; ".join(problems), advice)
