"""The command that examines a data set: ``python -m data_prep.doctor PATH [--source NAME ...]``.

PATH is a raw data set in any layout that a source reads, which is found by itself where possible
(else `--source NAME` and the options of that source), or a built one, a folder with a
manifest.json. Everything that is wrong is told, each thing with its severity, a code that stays
the same, the file, what it means and what to do; then how strong the blur is. `--json` and
`--html` write the same to files, the latter with pictures of the pairs to look at first.

The exit code is 0 where there is nothing or nothing but remarks, 3 where there are warnings, and 4
where there are errors; 2 means that the command itself was used wrongly.

`--repair` makes shards of a built set again that are missing, cut off or altered, from the source
and the options in the manifest, and puts them into their place if they have the manifest's
checksum. It changes nothing else: raw sets are never touched, and nothing is ever deleted.
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
from tfdeblur.cli.environment import require_file_layer
from tfdeblur.errors import UserError

if TYPE_CHECKING:
    from data_prep.checks.report import Report

PROG = "python -m data_prep.doctor"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """What the doctor takes, whatever it examines."""

    path: Annotated[
        tuple[str, ...],
        Field(min_length=1, max_length=1, description="the data set; any tf.io.gfile path"),
    ]
    source: Annotated[
        str | None,
        Field(description="source that reads a raw set, whose options are flags then; else found"),
    ] = None
    sample: Annotated[
        int | None,
        Field(gt=0, description="decode at most so many pairs, evenly spread; default: all"),
    ] = None
    json: Annotated[str | None, Field(description="file to write everything found into")] = None
    html: Annotated[str | None, Field(description="file to write a page with pictures into")] = None
    pictures: Annotated[
        int, Field(ge=0, le=200, description="pairs that the page shows; about 0.1 MB each")
    ] = 12
    repair: Annotated[
        bool, Field(description="make broken shards of a built set again from its source")
    ] = False
    raw: Annotated[
        str | None,
        Field(description="where the raw set of a built one lies now, for --repair, if it moved"),
    ] = None
    workers: Annotated[
        int | None, Field(gt=0, description="processes; default: one for each core")
    ] = None


def config_class(source: str | None = None) -> type[DoctorConfig]:
    """Returns the configuration with the options of a source, all but the place of the set."""
    if source is None:
        return DoctorConfig
    options = REGISTRY.options(source)
    hints = typing.get_type_hints(options, include_extras=True)
    own = {field.name for field in dataclasses.fields(DoctorConfig)}
    more = [
        (field.name, hints[field.name], dataclasses.field(default=field.default))
        for field in dataclasses.fields(options)
        if field.name not in own
    ]
    return dataclasses.make_dataclass(
        f"Doctor_{source}", more, bases=(DoctorConfig,), frozen=True, kw_only=True
    )


def run(config: DoctorConfig) -> "Report":
    """Examines a data set, prints what is found, and writes the files that were asked for.

    Args:
        config: An instance of `config_class(source)`.

    Returns:
        The report, with the findings, the numbers and the exit code.

    Raises:
        UserError: There is no such path, the options do not fit, or a file cannot be written.
    """
    require_file_layer()
    # TensorFlow is imported here: the command's help does not wait for it.
    from data_prep.checks import page, raw, report, shards
    from tfdeblur.io import files

    (path,) = config.path
    if not files.exists(path):
        raise UserError(f"{path} does not exist. Give the folder of a raw or of a built data set.")
    for wanted in (config.json, config.html):
        # To be told now, and not when hours of looking are over.
        if wanted and files.is_dir(wanted):
            raise UserError(f"{wanted} is a folder: give the name of a file to write.")
    workers = config.workers or os.cpu_count() or 1
    if config.source is None and shards.is_built(path):
        found = shards.examine(path, config.sample, workers, config.repair, config.raw)
    else:
        found = raw.examine(path, config.source, _source_options(config), config.sample, workers)
        if config.repair:
            found.notes.append("Nothing was repaired: raw data sets are never touched.")
    told = report.Report(path, found)
    print(told.to_text())
    if config.json:
        files.write_json(config.json, told.to_json())
    if config.html:
        files.write_text(config.html, page.render(told, config.pictures))
    return told


def _source_options(config: DoctorConfig) -> dict[str, Any]:
    own = {field.name for field in dataclasses.fields(DoctorConfig)}
    names = [field.name for field in dataclasses.fields(config) if field.name not in own]
    return {name: getattr(config, name) for name in names}


def _named_source(words: Sequence[str]) -> str | None:
    """Returns the source that the words name: its options are flags, so it is wanted first."""
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
