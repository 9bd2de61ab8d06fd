"""Command: checks everything that training depends on, and prints how to fix what is wrong.

::

    python -m tfdeblur.doctor
    python -m tfdeblur.doctor --tpu local --bucket gs://BUCKET --workdir gs://BUCKET/runs/unet16

Exit code 0 if training can start, 1 if something is wrong.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tfdeblur import cli

if TYPE_CHECKING:
    from tfdeblur.diagnostics.finding import Finding

# Something is wrong: training would fail.
EXIT_WRONG = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Optional checks, in addition to those of the installation and the machine."""

    tpu: str | None = None
    """TPU name or address; `--tpu` alone is the local one"""
    bucket: str = ""
    """bucket or folder that must be readable and writable, gs://..."""
    workdir: str = ""
    """work directory of a future run"""
    data: tuple[str, ...] = ()
    """folders written by data_prep.build, also used to measure the input"""
    recipe: str = "unet16_cifar10"
    """recipe whose step is measured"""
    measure: bool = True
    """measure a step and its input, for about ten seconds"""
    json: bool = False
    """print one JSON object instead of text"""


@dataclasses.dataclass(frozen=True)
class DoctorResult:
    """All findings, in the order of the checks."""

    findings: "tuple[Finding, ...]"

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong; warnings are allowed."""
        return all(finding.status != "wrong" for finding in self.findings)

    def summary(self) -> str:
        """Returns one line with the number of problems."""
        wrong = sum(finding.status == "wrong" for finding in self.findings)
        warnings = sum(finding.status == "warning" for finding in self.findings)
        return f"{wrong} wrong, {warnings} warnings." if wrong or warnings else "No problems found."

    def as_json(self) -> str:
        """Returns the findings as a JSON object."""
        values = [dataclasses.asdict(finding) for finding in self.findings]
        return json.dumps({"healthy": self.healthy, "findings": values}, indent=1)


def run(config: DoctorConfig) -> DoctorResult:
    """Runs all checks; see `checks`.

    Args:
        config: The optional checks.

    Returns:
        The findings. Problems are findings, not exceptions.

    Raises:
        ConfigError: The recipe does not exist.
    """
    return DoctorResult(tuple(checks(config)))


def checks(config: DoctorConfig) -> "Iterator[Finding]":
    """Yields findings on versions, folders, data, workers, TPU, devices, precision and speed.

    Args:
        config: The optional checks.

    Raises:
        ConfigError: The recipe does not exist.
    """
    from tfdeblur.config import recipes
    from tfdeblur.diagnostics import versions
    from tfdeblur.diagnostics.finding import Finding

    recipes.load(config.recipe)
    installation = versions.findings()
    yield from installation
    places = list(_check_places(config))
    yield from places
    if any(
        finding.name in ("TensorFlow", "Keras") and finding.status == "wrong"
        for finding in installation
    ):
        # Every check that needs TensorFlow would report the same problem.
        text = "fix TensorFlow and Keras first"
        yield Finding("devices, precision, speed", "skipped", text)
        return
    data_is_wrong = any(place.name == "data" and place.status == "wrong" for place in places)
    yield from _check_machine(config, data_is_wrong)


def _check_places(config: DoctorConfig) -> "Iterator[Finding]":
    from tfdeblur.diagnostics import places

    if config.workdir:
        yield from places.folder("work directory", config.workdir)
    if config.bucket:
        yield from places.folder("bucket", config.bucket)
    yield from (places.data(path) for path in config.data)


def _check_machine(config: DoctorConfig, data_is_wrong: bool) -> "Iterator[Finding]":
    from tfdeblur.diagnostics import machine, measuring, workers
    from tfdeblur.diagnostics.finding import Finding

    yield from workers.findings()
    found = []
    for finding in machine.findings(config.tpu):
        found.append(finding)
        yield finding
    wrong = {finding.name for finding in found if finding.status == "wrong"}
    if not config.measure:
        yield Finding("measured step", "skipped", "--no-measure is set")
    elif data_is_wrong:
        yield Finding("measured step", "skipped", "fix the data first")
    elif "devices" in wrong:
        yield Finding("measured step", "skipped", "the engine does not start")
    elif "TPU" in wrong and config.tpu is not None:
        yield Finding("measured step", "skipped", "there is no TPU to measure it on")
    else:
        yield from measuring.findings(config.recipe, config.data, config.tpu)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        DoctorConfig,
        _run_and_report,
        _with_local_tpu(list(sys.argv[1:] if argv is None else argv)),
        prog="python -m tfdeblur.doctor",
        description=(
            "Checks everything that training depends on (versions, devices, TPU, buckets, "
            "precision, folders, speed) and prints how to fix what is wrong. Exit code 1 if "
            "something is wrong."
        ),
    )


def _with_local_tpu(arguments: list[str]) -> list[str]:
    """Expands ``--tpu`` without a value to ``--tpu local``, as training does."""
    expanded = []
    for index, argument in enumerate(arguments):
        expanded.append(argument)
        following = arguments[index + 1 : index + 2]
        if argument == "--tpu" and (not following or following[0].startswith("--")):
            expanded.append("local")
    return expanded


def _run_and_report(config: DoctorConfig) -> int:
    found = []
    for finding in checks(config):
        found.append(finding)
        if not config.json:
            print("\n".join(finding.lines()), flush=True)
    result = DoctorResult(tuple(found))
    print(result.as_json() if config.json else result.summary())
    return 0 if result.healthy else EXIT_WRONG


if __name__ == "__main__":
    raise SystemExit(main())
