"""Builds a data set: ``python -m data_prep.build SOURCE --out DIR ...``.

Each frame is loaded, resized (``--resize``), blurred if the source has no blurred half, and cut
into tiles. ``--tile`` applies to the train and val splits. Test frames are kept whole, as papers
and other libraries evaluate on them, unless ``--test-tile`` is set; they may differ in size. Tiles
lie on a grid from the top left corner; incomplete tiles at the bottom and right are dropped.
``--stride`` makes training tiles overlap. All sizes are WIDTHxHEIGHT.

Running the same command again resumes an interrupted build, remakes damaged shards, and does
nothing if the data set is complete. With other options it stops with an error. It also removes the
partial shards that a killed build has left (``*.tfrecord.*.partial``), but those that another build
is writing stay. Without file locks (some network file systems, Windows) the two cannot be told
apart: delete them there yourself when no build runs.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from data_prep import faults, images, plan, processes
from data_prep.sources import REGISTRY
from tfdeblur import cli
from tfdeblur.cli.flags import given_plugins
from tfdeblur.cli.printable import printable
from tfdeblur.config import plugins
from tfdeblur.config.settings import to_plain, validate
from tfdeblur.errors import ConfigError, DataError

if TYPE_CHECKING:
    from data_prep.frames import Job
    from data_prep.runners import Runner
    from data_prep.sources.source import Listing, Source
    from tfdeblur.data.schema import Manifest

PROG = "python -m data_prep.build"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildConfig(plan.Settings):
    """Options that every build has, whatever its source."""

    dataset: ClassVar[str] = ""

    out: str
    """folder of the data set; also gs://..., which needs TensorFlow"""
    workers: Annotated[int | None, Field(gt=0)] = None
    """worker processes; default: one per core"""
    runner: Literal["local", "beam"] = "local"
    """make shards in local processes, or with Apache Beam"""
    beam_options: tuple[str, ...] = ()
    """options of Beam, such as runner=DataflowRunner project=NAME"""
    overwrite: bool = False
    """remove the data set in the folder first"""
    verify: bool = False
    """check the SHA-256 of existing shards"""
    skip_bad: bool = False
    """leave out faulty files; the manifest lists them"""


# Options that do not affect the content of a data set, apart from the choice of its frames.
_NOT_RECORDED = ("out", "workers", "runner", "beam_options", "overwrite", "verify", "skip_bad")
_SIZES = ("resize", "tile", "stride", "test_tile")


def config_class(dataset: str) -> type[BuildConfig]:
    """Returns the configuration class of one source: its own options and those of every build."""
    options = REGISTRY.options(dataset)
    return dataclasses.make_dataclass(
        f"Build_{dataset}",
        [("dataset", ClassVar[str], dataset)],
        bases=(options, BuildConfig),
        frozen=True,
        kw_only=True,
    )


def make_job(config: BuildConfig) -> "Job":
    """Returns the job of a build.

    Raises:
        ConfigError: A size is malformed, or `stride` is set without `tile`.
    """
    from data_prep import frames

    def part(part_class: type[Any]) -> dict[str, Any]:
        return {f.name: getattr(config, f.name) for f in dataclasses.fields(part_class)}

    settings = validate(plan.Settings, part(plan.Settings))
    if settings.stride and not settings.tile:
        raise ConfigError("--stride is the distance between tiles and requires --tile.")
    options_class = REGISTRY.options(config.dataset)
    return frames.Job(config.dataset, options_class(**part(options_class)), settings, config.out)


def run(config: BuildConfig) -> "Manifest":
    """Builds a data set, or resumes an interrupted build.

    Args:
        config: An instance of `config_class(dataset)`.

    Returns:
        The manifest of the data set in `config.out`.

    Raises:
        UserError: An option or an input file is invalid; the message names it.
    """
    # Imported here so that --help is fast.
    from data_prep import writer
    from tfdeblur.data import schema

    if not config.dataset:
        raise ConfigError("Create the configuration with config_class(dataset)(...).")
    job = make_job(config)
    runner = _runner(config)
    source = job.build_source()
    listing, skipped = list_frames(job, source, config.skip_bad, config.workers or 0)
    remarks = tuple(map(printable, listing.remarks))
    for remark in remarks:
        print(remark)
    plans = plan.make_plan(listing, job.settings)
    options = {name: v for name, v in to_plain(config).items() if name not in _NOT_RECORDED}
    sizes = {name: getattr(job.settings, name) for name in _SIZES}
    options |= {name: size and plan.size_text(size) for name, size in sizes.items()}
    manifest = schema.Manifest(
        source=config.dataset,
        blur=source.describe_blur(),
        options=options,
        splits={},
        notes=remarks,
        skipped=tuple(printable(str(fault)) for fault in skipped),
        fingerprint=plan.fingerprint(config.dataset, options, plans),
    )
    return writer.write(
        job,
        plans,
        manifest,
        runner=runner,
        overwrite=config.overwrite,
        deep=config.verify,
    )


def list_frames(
    job: "Job", source: "Source", skip_bad: bool, workers: int = 0
) -> tuple["Listing", list[faults.Fault]]:
    """Lists the frames of a source.

    Args:
        job: The job of the build.
        source: Its source.
        skip_bad: Whether to decode all frames and leave out the faulty ones.
        workers: Number of processes that decode frames; 0 for one per core.

    Returns:
        The listing, and the faults of the files that were left out.

    Raises:
        DataError: There are faults that must not be left out; the message has the first few.
    """
    found: dict[tuple[str, str], faults.Fault] = {}
    listing = _list_into(found, source)
    _refuse_undecided(found.values())
    if found and not skip_bad:
        raise faults.summary(list(found.values()), "To leave out faulty files, set --skip-bad.")
    if not skip_bad:
        return listing, []
    items = [item for part in listing.splits.values() for item in part]
    checked = processes.ordered(job.fault_of, items, workers or os.cpu_count() or 1)
    bad = {item.key: fault for item, fault in zip(items, checked, strict=True) if fault is not None}
    _refuse_undecided(bad.values())
    if bad:
        # Splits are drawn again without the faulty files.
        with images.refusing(bad.values()):
            listing = _list_into(found, source)
        found |= {(fault.code, fault.file): fault for fault in bad.values()}
    if not found:
        return listing, []
    skipped = list(found.values())
    splits = {
        split: tuple(item for item in part if item.key not in bad)
        for split, part in listing.splits.items()
    }
    files = ", ".join(fault.file for fault in skipped[: faults.SHOWN])
    more = ", ..." if len(skipped) > faults.SHOWN else ""
    note = f"Left out because of faults (--skip-bad): {len(skipped)} ({files}{more})."
    return dataclasses.replace(listing, splits=splits, notes=(*listing.notes, note)), skipped


def _refuse_undecided(found: Iterable[faults.Fault]) -> None:
    """Raises the faults that no file should be left out for.

    To leave out one of two scenes of one name would be a guess, and a disk or network that fails
    for a moment says nothing about its files.
    """
    undecided = [fault for fault in found if fault.code in ("scene-in-two-splits", "unavailable")]
    if undecided:
        raise faults.summary(undecided)


def _list_into(found: dict[tuple[str, str], faults.Fault], source: "Source") -> "Listing":
    """Lists a source and adds its faults, each once although pairs may share a half."""
    error = None
    with faults.collecting() as reported:
        try:
            return source.listing()
        except ConfigError:
            raise
        except DataError as caught:
            error = caught
        finally:
            found.update(((fault.code, fault.file), fault) for fault in reported)
    if found:
        # The source has nothing else to list.
        raise faults.summary(list(found.values())) from error
    raise error


def _runner(config: BuildConfig) -> "Runner":
    from data_prep.runners import local

    workers = config.workers or os.cpu_count() or 1
    if config.runner == "local":
        if config.beam_options:
            raise ConfigError("--beam-options requires --runner beam.")
        return functools.partial(local.make_shards, workers=workers)
    try:
        from data_prep.runners import beam
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] != "apache_beam":
            raise
        raise ConfigError(
            "--runner beam requires Apache Beam, which is not installed: pip install "
            "'tfdeblur[beam]', or pip install apache-beam."
        ) from error
    # Parsed here so that mistakes are reported before the source is listed.
    options = beam.pipeline_options(config.beam_options, workers)
    return functools.partial(beam.make_shards, options=options)


def _general_help() -> str:
    lines = [f"usage: {PROG} SOURCE --out DIR [options]", "", "sources:"]
    for name in REGISTRY.names():
        summary = (REGISTRY.load(name).__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:10} {summary}")
    lines += ["", f"{PROG} SOURCE --help shows the options of a source."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_general_help())
        return 0 if words else cli.command.EXIT_USER_ERROR

    def body() -> int:
        name, *rest = words
        if name.startswith("-"):
            raise ConfigError(
                f"The first argument is the source, one of {', '.join(REGISTRY.names())}; "
                f"got {name}."
            )
        # A source from outside is known once its module is imported.
        plugins.load(given_plugins(rest))
        description = (REGISTRY.load(name).__doc__ or "").strip()
        return cli.run_command(
            config_class(name),
            run,
            rest,
            prog=f"{PROG} {name}",
            description=description,
        )

    return cli.guard(body)


if __name__ == "__main__":
    sys.exit(main())
