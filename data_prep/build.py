"""The command that builds a data set: ``python -m data_prep.build SOURCE --out DIR ...``.

A frame is loaded, resized (``--resize``), blurred where the source has no blurred half, and cut
into tiles. ``--tile`` cuts the train and val splits: training wants many small pictures, and
watching it wants a quick validation. The test split keeps whole frames, as the papers and other
libraries measure, unless ``--test-tile`` cuts it too. Tiles lie on a grid from the top left corner;
what does not fill a tile at the bottom and the right is left out. ``--stride`` makes training
tiles overlap. Sizes are WIDTHxHEIGHT throughout.

The same command resumes a build that was stopped, makes damaged shards again, and finds a finished
one built; with other options it refuses.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from data_prep.sources import REGISTRY
from tfdeblur import cli
from tfdeblur.cli.environment import require_file_layer
from tfdeblur.config.settings import to_plain
from tfdeblur.errors import ConfigError

if TYPE_CHECKING:
    from data_prep.runners import Runner
    from tfdeblur.data.schema import Manifest

PROG = "python -m data_prep.build"


def _check_size(text: str) -> str:
    from data_prep.plan import Size

    return str(Size.parse(text))


SizeText = Annotated[str, AfterValidator(_check_size)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What every build takes, whatever its source; sizes are written WIDTHxHEIGHT."""

    dataset: ClassVar[str] = ""

    out: Annotated[str, Field(description="folder of the data set; any tf.io.gfile path")]
    encoding: Annotated[
        Literal["png", "raw"], Field(description="how pixels are stored: raw is larger and faster")
    ] = "png"
    resize: Annotated[
        SizeText | None, Field(description="reduce frames to this size first, such as 512x288")
    ] = None
    tile: Annotated[
        SizeText | None,
        Field(description="cut train and val into tiles of this size, such as 128x96"),
    ] = None
    stride: Annotated[
        SizeText | None, Field(description="distance between training tiles; default: the tile")
    ] = None
    test_tile: Annotated[
        SizeText | None, Field(description="cut test too; by default its frames are kept whole")
    ] = None
    fraction: Annotated[
        float, Field(gt=0, le=1, description="share of the training frames to use, evenly spread")
    ] = 1.0
    limit: Annotated[
        int | None, Field(gt=0, description="most frames of any split, evenly spread")
    ] = None
    seed: Annotated[
        int, Field(ge=0, description="seeds the blur of each picture and the order of training")
    ] = 0
    workers: Annotated[
        int | None, Field(gt=0, description="processes; default: one for each core")
    ] = None
    runner: Annotated[
        Literal["local", "beam"],
        Field(description="where shards are made: processes of this machine, or Apache Beam"),
    ] = "local"
    beam_options: Annotated[
        tuple[str, ...],
        Field(description="Beam's own options, such as runner=DataflowRunner project=NAME"),
    ] = ()
    overwrite: Annotated[bool, Field(description="remove the data set that the folder holds")] = (
        False
    )
    verify: Annotated[
        bool, Field(description="compare the checksums of shards that are there already")
    ] = False


# They say how a build is run, not what comes out of it.
_NOT_RECORDED = ("out", "workers", "runner", "beam_options", "overwrite", "verify")


def config_class(dataset: str) -> type[BuildConfig]:
    """Returns the configuration of one source: its own options and those of every build."""
    options = REGISTRY.options(dataset)
    return dataclasses.make_dataclass(
        f"Build_{dataset}",
        [("dataset", ClassVar[str], dataset)],
        bases=(options, BuildConfig),
        frozen=True,
        kw_only=True,
    )


def run(config: BuildConfig) -> "Manifest":
    """Builds a data set, or finishes one that was begun, or finds it built.

    Args:
        config: An instance of `config_class(dataset)`.

    Returns:
        The manifest of the data set in `config.out`.

    Raises:
        UserError: Bad options or bad input; the message names the file or option.
    """
    require_file_layer()
    # TensorFlow is imported here: the command's help does not wait for it.
    from data_prep import frames, plan, writer
    from tfdeblur.data import schema

    if not config.dataset:
        raise ConfigError("Make the configuration with config_class(dataset)(...).")
    options_class = REGISTRY.options(config.dataset)
    source_options = options_class(
        **{field.name: getattr(config, field.name) for field in dataclasses.fields(options_class)}
    )

    def size(name: str) -> plan.Size | None:
        text = getattr(config, name)
        try:
            return None if text is None else plan.Size.parse(text)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}.") from error

    settings = plan.Settings(
        encoding=config.encoding,
        seed=config.seed,
        resize=size("resize"),
        tile=size("tile"),
        stride=size("stride"),
        test_tile=size("test_tile"),
        fraction=config.fraction,
        limit=config.limit,
    )
    if settings.stride and not settings.tile:
        raise ConfigError("--stride is the distance between tiles and needs --tile.")
    runner = _runner(config)
    job = frames.Job(config.dataset, source_options, settings)
    source = job.build_source()
    listing = source.listing()
    for remark in listing.remarks:
        print(remark)
    plans = plan.make_plan(listing, settings)
    recorded: dict[str, Any] = {
        name: value for name, value in to_plain(config).items() if name not in _NOT_RECORDED
    }
    manifest = schema.Manifest(
        source=config.dataset,
        blur=source.describe_blur(),
        options=recorded,
        splits={},
        notes=listing.remarks,
        fingerprint=plan.fingerprint(config.dataset, recorded, plans),
    )
    return writer.write(
        job,
        config.out,
        plans,
        manifest,
        runner=runner,
        overwrite=config.overwrite,
        deep=config.verify,
    )


def _runner(config: BuildConfig) -> "Runner":
    from data_prep.runners import local

    workers = config.workers or os.cpu_count() or 1
    if config.runner == "local":
        if config.beam_options:
            raise ConfigError("--beam-options are for --runner beam.")
        return functools.partial(local.make_shards, workers=workers)
    try:
        from data_prep.runners import beam
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] != "apache_beam":
            raise
        raise ConfigError(
            "--runner beam needs Apache Beam, which is not installed: pip install "
            "'tfdeblur[beam]', or pip install apache-beam."
        ) from error
    # Read here, so that a mistake in them is told before the source is listed.
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
                f"The first word names the source, one of {', '.join(REGISTRY.names())}; "
                f"got {name}."
            )
        description = (REGISTRY.load(name).__doc__ or "").strip()
        return cli.run_command(
            config_class(name), run, rest, prog=f"{PROG} {name}", description=description
        )

    return cli.guard(body)


if __name__ == "__main__":
    sys.exit(main())
