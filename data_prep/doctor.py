"""Examines a data set: ``python -m data_prep.doctor PATH [--source NAME ...]``.

PATH is a raw data set in the layout of any source, which is recognized if possible (otherwise set
`--source NAME` and the options of that source), or a built one, a folder with a manifest.json. All
problems are listed at once, each with its severity, a stable code, the file, its meaning and a
remedy, followed by the strength of the blur. `--json` and `--html` write the same to files, the
latter with images of the pairs to inspect first.

Exit code 0 without warnings and errors, 3 with warnings, 4 with errors, 2 for wrong usage.

`--repair` remakes shards of a built data set that are missing, truncated or altered, from the
source and the options in the manifest, and writes them if they have the manifest's SHA-256. It
changes nothing else: raw data sets are never modified, and nothing is deleted.
"""

import dataclasses
import os
import sys
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from data_prep.sources import REGISTRY
from tfdeblur import cli
from tfdeblur.config import settings
from tfdeblur.errors import UserError

if TYPE_CHECKING:
    from data_prep.checks.report import Report

PROG = "python -m data_prep.doctor"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Options for any data set."""

    path: Annotated[tuple[str, ...], Field(min_length=1, max_length=1)]
    """the data set; also gs://..., which needs TensorFlow"""
    source: str | None = None
    """source of a raw data set, adds its options; default: recognize it"""
    sample: Annotated[int | None, Field(gt=0)] = None
    """decode at most this many pairs, evenly spaced; default: all"""
    json: str | None = None
    """file for the report as JSON"""
    html: str | None = None
    """file for the report as an HTML page"""
    pictures: Annotated[int, Field(ge=0, le=200)] = 12
    """pairs on the page; about 0.1 MB each"""
    repair: bool = False
    """remake damaged shards of a built data set from its source"""
    raw: str | None = None
    """current location of the raw data set for --repair, if it has moved"""
    workers: Annotated[int | None, Field(gt=0)] = None
    """worker processes; default: one per core"""


def config_class(source: str | None = None) -> type[DoctorConfig]:
    """Returns the configuration class with the options of a source, except for its location."""
    if source is None:
        return DoctorConfig
    options = REGISTRY.options(source)
    hints = typing.get_type_hints(options, include_extras=True)
    own = {field.name for field in dataclasses.fields(DoctorConfig)}
    # The new class has no source, from which docstrings of its fields could be read.
    described = {
        field.name: Annotated[hints[field.name], Field(description=field.description)]
        for field in settings.fields_of(options)
    }
    more = [
        (field.name, described[field.name], dataclasses.field(default=field.default))
        for field in dataclasses.fields(options)
        if field.name not in own
    ]
    return dataclasses.make_dataclass(
        f"Doctor_{source}", more, bases=(DoctorConfig,), frozen=True, kw_only=True
    )


def run(config: DoctorConfig) -> "Report":
    """Examines a data set, prints the report, and writes it to the files that are set.

    Args:
        config: An instance of `config_class(source)`.

    Returns:
        The report with findings, statistics and exit code.

    Raises:
        UserError: The path does not exist, the options do not fit the source, or a file cannot be
            written.
    """
    # Imported here so that --help is fast.
    from data_prep.checks import page, raw, shards
    from tfdeblur.io import files

    (path,) = config.path
    if not files.exists(path):
        raise UserError(f"{path} does not exist. Set it to a raw or a built data set.")
    for file in (config.json, config.html):
        # Reported now, not after a long examination.
        if file and files.is_dir(file):
            raise UserError(f"{file} is a folder. Set it to the name of a file.")
        if file and files.is_local(file) and not files.is_dir(files.parent(file) or "."):
            raise UserError(f"{files.parent(file)} is not a folder. Create it for {file}.")
    workers = config.workers or os.cpu_count() or 1
    if config.source is None and shards.is_built(path):
        result = shards.examine(path, config.sample, workers, config.repair, config.raw)
    else:
        result = raw.examine(path, config.source, _source_options(config), config.sample, workers)
        if config.repair:
            result.notes.append("Nothing was repaired: raw data sets are never modified.")
    print(result.to_text())
    if config.json:
        files.write_json(config.json, result.to_json())
    if config.html:
        files.write_text(config.html, page.render(result, config.pictures))
    return result


def _source_options(config: DoctorConfig) -> dict[str, Any]:
    own = {field.name for field in dataclasses.fields(DoctorConfig)}
    names = [field.name for field in dataclasses.fields(config) if field.name not in own]
    return {name: getattr(config, name) for name in names}


def _named_source(words: Sequence[str]) -> str | None:
    """Returns the value of --source, which is needed to construct the parser."""
    for place, word in enumerate(words):
        if word == "--source" and place + 1 < len(words):
            return words[place + 1]
        if word.startswith("--source="):
            return word.removeprefix("--source=")
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)

    def body() -> int:
        return cli.run_command(
            config_class(_named_source(words)),
            lambda config: run(config).exit_code,
            words,
            prog=PROG,
            description=" ".join((__doc__ or "").split("\n\n", 1)[1].replace("`", "").split()),
            positional="path",
        )

    return cli.guard(body)


if __name__ == "__main__":
    sys.exit(main())
