"""Command: looks at everything that a training depends on, and says what to do.

::

    python -m tfdeblur.doctor
    python -m tfdeblur.doctor --tpu local --bucket gs://BUCKET --workdir gs://BUCKET/runs/unet16

It leaves with 0 where a training could start, and with 1 where something is wrong.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tfdeblur import cli

if TYPE_CHECKING:
    from tfdeblur.diagnostics.finding import Finding

# Something is wrong: a training would not run.
EXIT_WRONG = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """What is looked at besides what is always looked at."""

    tpu: Annotated[
        str | None,
        Field(description="TPU name or address; `--tpu` alone is the local one"),
    ] = None
    bucket: Annotated[
        str, Field(description="bucket or folder that is to be readable and writable, gs://...")
    ] = ""
    workdir: Annotated[str, Field(description="folder that a run is to be kept in")] = ""
    data: Annotated[
        tuple[str, ...],
        Field(description="folders made by data_prep.build, also for the measured input"),
    ] = ()
    recipe: Annotated[str, Field(description="whose step is measured")] = "unet16_cifar10"
    measure: Annotated[
        bool, Field(description="time a step and its input, for about ten seconds")
    ] = True
    json: Annotated[bool, Field(description="print one JSON object instead of text")] = False


@dataclasses.dataclass(frozen=True)
class DoctorResult:
    """All that was found, in the order in which it was looked at."""

    findings: "tuple[Finding, ...]"

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong; warnings do not count."""
        return all(finding.status != "wrong" for finding in self.findings)

    def text(self) -> str:
        """Returns the findings for people."""
        lines = [line for finding in self.findings for line in finding.lines()]
        wrong = sum(finding.status == "wrong" for finding in self.findings)
        warnings = sum(finding.status == "warning" for finding in self.findings)
        end = f"{wrong} wrong, {warnings} to look at." if wrong or warnings else "All is well."
        return "\n".join([*lines, end])

    def as_json(self) -> str:
        """Returns the findings for programs."""
        values = [dataclasses.asdict(finding) for finding in self.findings]
        return json.dumps({"healthy": self.healthy, "findings": values}, indent=1)


def run(
    config: DoctorConfig, told: "Callable[[Finding], None]" = lambda finding: None
) -> DoctorResult:
    """Looks at versions, folders, data, workers, TPU, devices, precision and speed, in this order.

    Args:
        config: What is looked at.
        told: Called with each finding as soon as it is there.

    Returns:
        The findings; what is wrong is one of them and no exception.

    Raises:
        ConfigError: There is no such recipe.
    """
    from tfdeblur.config import recipes
    from tfdeblur.diagnostics import versions
    from tfdeblur.diagnostics.finding import Finding

    recipes.load(config.recipe)
    found: list[Finding] = []

    def add(*findings: Finding) -> None:
        for finding in findings:
            found.append(finding)
            told(finding)

    add(*versions.findings())
    _look_at_places(config, add)
    if any(finding.name in ("TensorFlow", "Keras") for finding in found):
        # Whatever needs TensorFlow would say the same once more.
        text = "not looked at before TensorFlow and Keras are mended"
        add(Finding("devices, precision, speed", "skipped", text))
        return DoctorResult(tuple(found))
    _look_at_machine(config, found, add)
    return DoctorResult(tuple(found))


def _look_at_places(config: DoctorConfig, add: "Callable[..., None]") -> None:
    from tfdeblur.diagnostics import places

    if config.workdir:
        add(*places.folder("work directory", config.workdir))
    if config.bucket:
        add(*places.folder("bucket", config.bucket))
    add(*(places.data(path) for path in config.data))


def _look_at_machine(
    config: DoctorConfig, found: "Sequence[Finding]", add: "Callable[..., None]"
) -> None:
    from tfdeblur.diagnostics import machine, measuring, workers
    from tfdeblur.diagnostics.finding import Finding

    add(*workers.findings())
    # First, for a TPU belongs to one process at a time.
    tpu = machine.tpu(config.tpu)
    add(tpu, machine.devices())
    add(machine.precision())
    if not config.measure:
        add(Finding("measured step", "skipped", "--no-measure was given"))
    elif any(place.name == "data" and place.status == "wrong" for place in found):
        add(Finding("measured step", "skipped", "the data must be mended first"))
    elif tpu.status == "wrong" and config.tpu is not None:
        add(Finding("measured step", "skipped", "there is no TPU to measure it on"))
    else:
        add(*measuring.findings(config.recipe, config.data, config.tpu))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        DoctorConfig,
        _run_and_report,
        _with_local_tpu(list(sys.argv[1:] if argv is None else argv)),
        prog="python -m tfdeblur.doctor",
        description=(
            "Looks at everything that a training depends on (versions, devices, TPU, buckets, "
            "number formats, folders, speed) and says what to do about what is wrong. Leaves "
            "with 1 where something is."
        ),
    )


def _with_local_tpu(words: list[str]) -> list[str]:
    """Writes ``--tpu`` that stands alone out as ``--tpu local``, as for training."""
    spelled = []
    for place, word in enumerate(words):
        spelled.append(word)
        after = words[place + 1 : place + 2]
        if word == "--tpu" and (not after or after[0].startswith("--")):
            spelled.append("local")
    return spelled


def _run_and_report(config: DoctorConfig) -> int:
    if config.json:
        result = run(config)
        print(result.as_json())
    else:
        result = run(config, lambda finding: print("\n".join(finding.lines()), flush=True))
        print(result.text().splitlines()[-1])
    return 0 if result.healthy else EXIT_WRONG


if __name__ == "__main__":
    raise SystemExit(main())
