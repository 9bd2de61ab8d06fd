"""Command: judges a trained generator on a whole split.

::

    python -m tfdeblur.evaluate --workdir WORKDIR --data DATA

`run` does the same for a notebook.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tfdeblur import cli
from tfdeblur.errors import UserError

if TYPE_CHECKING:
    from tfdeblur.data.schema import Manifest
    from tfdeblur.evaluation import ScoreCard

# Pixels in a batch that is chosen by itself, and its most images.
_BATCH_PIXELS = 2**20
_MOST_IMAGES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What is judged, and on what."""

    workdir: Annotated[
        str, Field(description="work directory of tfdeblur.train; or give --model")
    ] = ""
    model: Annotated[str, Field(description="checkpoint or SavedModel, instead of --workdir")] = ""
    data: Annotated[str, Field(description="folder made by data_prep.build", min_length=1)]
    split: Annotated[str, Field(description="which part of the data is judged")] = "test"
    checkpoint: Annotated[
        Literal["best", "last"], Field(description="which checkpoint of the work directory")
    ] = "best"
    batch_size: Annotated[
        int | None,
        Field(description="images at a time; chosen by their size where not given", ge=1),
    ] = None
    limit: Annotated[
        int | None, Field(description="judge only the first images of the split", ge=1)
    ] = None
    pictures: Annotated[
        int, Field(description="best, median and worst pictures in the report, of each", ge=0)
    ] = 3
    out: Annotated[
        str, Field(description="folder to write; WORKDIR/evaluation/DATA-SPLIT where not given")
    ] = ""


@dataclasses.dataclass(frozen=True)
class EvaluateResult:
    """The score card, and where it was written.

    Attributes:
        card: All numbers.
        folder: Holds `scores.json`, `scores.csv`, `images.csv` and the report.
        report: Path of the report's page.
    """

    card: "ScoreCard"
    folder: str
    report: str


def run(config: EvaluateConfig) -> EvaluateResult:
    """Judges a generator on a whole split and writes numbers and a report.

    Args:
        config: What is judged.

    Returns:
        The score card and where it lies.

    Raises:
        UserError: Neither or both of `workdir` and `model` are given, or one cannot be loaded.
        DataError: The data or the split cannot be read.
    """
    from tfdeblur import files, restoration
    from tfdeblur.data.evaluation import EvaluationData
    from tfdeblur.data.opening import READ_ERRORS, explain_read_error
    from tfdeblur.evaluation import SplitEvaluator
    from tfdeblur.evaluation.report import choose, write_report

    if bool(config.workdir) == bool(config.model):
        raise UserError("Give one of --workdir (a run) and --model (a checkpoint or SavedModel).")
    data = EvaluationData(config.data, config.split, config.limit)
    source = (config.workdir or config.model).rstrip("/")
    restorer = restoration.load(source, config.checkpoint)
    batch_size = config.batch_size or max(
        1, min(_BATCH_PIXELS // (data.height * data.width), _MOST_IMAGES)
    )
    about = _about(config, restorer, data.manifest)
    folder = config.out or default_folder(config)
    # A folder that cannot be written should be known before the work, not after it.
    files.make_dirs(folder)

    evaluator = SplitEvaluator(restorer.restore, data, batch_size=batch_size)
    try:
        card = evaluator.run(about=about)
    except READ_ERRORS as error:
        # TensorFlow names no file; a fault of the network's own is raised as it is.
        raise explain_read_error(error, [config.data], config.split) or error from error
    card.write(folder)
    chosen = choose(card, config.pictures)
    triples = evaluator.pictures([index for kind in chosen.values() for index in kind])
    report = write_report(
        card,
        triples,
        folder,
        title=f"{restorer.name} on {_data_name(config.data)}, {config.split}",
        subtitle=source,
    )
    return EvaluateResult(card, folder, report)


def default_folder(config: EvaluateConfig) -> str:
    """Returns where an evaluation is written by itself; settings that matter have their own."""
    from tfdeblur import files

    name = f"{_data_name(config.data)}-{config.split}"
    if config.checkpoint != "best":
        name += f"-{config.checkpoint}"
    if config.limit:
        name += f"-first-{config.limit}"
    if config.workdir:
        return files.join(config.workdir, "evaluation", name)
    # A SavedModel is somebody's to ship: the numbers go beside it, not into it.
    return f"{config.model.rstrip('/')}-evaluation/{name}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        EvaluateConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.evaluate",
        description=(
            "Judges a trained generator on a whole split, with the blurred input as the baseline, "
            "and writes a table, every image's numbers and a page with pictures."
        ),
    )


def _run_and_report(config: EvaluateConfig) -> int:
    result = run(config)
    print(result.card.table())
    print(f"\nNumbers and pictures: {result.report}")
    return 0


def _data_name(path: str) -> str:
    from tfdeblur import files

    return files.base_name(path if "://" in path else os.path.abspath(path))


def _about(config: EvaluateConfig, restorer: Any, manifest: "Manifest") -> dict[str, Any]:
    known = restorer.about
    return {
        "model": restorer.name,
        "from": config.workdir or config.model,
        "checkpoint": known.get("folder", ""),
        "images_seen": known.get("images"),
        "data": config.data,
        "split": config.split,
        "limit": config.limit,
        "source": manifest.source,
        "blur": manifest.blur,
    }


if __name__ == "__main__":
    raise SystemExit(main())
