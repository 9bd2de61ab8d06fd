"""Command: writes the generator of a run as a SavedModel.

::

    python -m tfdeblur.export --workdir WORKDIR

`run` does the same for a notebook.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from tfdeblur import cli

DEFAULT_NAME = "saved_model"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What is exported, and where to."""

    workdir: Annotated[
        str, Field(description="work directory of tfdeblur.train, or a checkpoint", min_length=1)
    ]
    out: Annotated[
        str, Field(description="folder to write; WORKDIR/saved_model where not given")
    ] = ""
    checkpoint: Annotated[
        Literal["best", "last"], Field(description="which checkpoint of the work directory")
    ] = "best"
    overwrite: Annotated[
        bool, Field(description="write into a folder that holds other things than an export")
    ] = False


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """Where the SavedModel lies and what its `tfdeblur.json` says."""

    path: str
    description: Mapping[str, Any]


def run(config: ExportConfig) -> ExportResult:
    """Writes a SavedModel with float, uint8 and bytes signatures.

    Args:
        config: What is exported.

    Raises:
        UserError: There is no checkpoint, or the folder cannot be written.
    """
    from tfdeblur import files, saving
    from tfdeblur.training import checkpoint

    out = config.out or files.join(config.workdir, DEFAULT_NAME)
    generator, meta = checkpoint.load_generator(config.workdir, config.checkpoint)
    about: dict[str, Any] = {
        name: meta[name] for name in ("images", "averaged", "metrics") if name in meta
    }
    description = saving.export_saved_model(generator, out, about=about, overwrite=config.overwrite)
    return ExportResult(out, description)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        ExportConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.export",
        description=(
            "Writes the generator of a run as a SavedModel that takes images of any size and "
            "runs without tfdeblur."
        ),
    )


def _run_and_report(config: ExportConfig) -> int:
    result = run(config)
    model = result.description["model"]
    print(f"{model['name']} written to {result.path}; its signatures:")
    for name, meaning in result.description["signatures"].items():
        print(f"  {name:<16} {meaning}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
