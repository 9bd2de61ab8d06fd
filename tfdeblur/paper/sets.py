"""Networks across test sets: a row for each network and a column for each set."""

import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tfdeblur import presets
from tfdeblur.cli.environment import require_keras
from tfdeblur.errors import UserError
from tfdeblur.evaluation.config import EvaluateConfig, default_folder, open_data
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.paper.table import Format, print_table, write_table

if TYPE_CHECKING:
    from tfdeblur.data.evaluation import EvaluationData

POSITIONAL = "runs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetsConfig:
    """Settings of `tfdeblur.paper sets`."""

    runs: Annotated[tuple[str, ...], Field(min_length=1)]
    """work directories, each evaluated on one or several test sets by tfdeblur.evaluate; with
    --data also checkpoints; and names of presets"""
    data: tuple[str, ...] = ()
    """folders made by data_prep.build; each run is first evaluated on the test split of each, as by
    tfdeblur.evaluate --full, unless it has been"""
    scores: str = "scores"
    """folder with the evaluations of presets, which have no work directory"""
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = ("psnr_db", "ssim")
    """measures, such as ssim"""
    labels: tuple[str, ...] = ()
    """names of the runs"""
    format: Format = None
    out: str = ""
    """file to write; printed if unset"""


def run(config: SetsConfig) -> str:
    """Makes a table of all evaluations of several networks, after those that `data` asks for.

    Args:
        config: The settings.

    Returns:
        The table in the chosen format; it is also written to `out` if set.

    Raises:
        UserError: A run has no evaluation, or two evaluations of one name are of different images;
            with `data`, a run has no checkpoint, no preset has its name, or two data sets have the
            same name.
        DataError: A data set or a file of an evaluation cannot be read.
    """
    require_keras()
    from tfdeblur.evaluation.results import Result, check_metrics, evaluations_of, unique_labels
    from tfdeblur.paper.score_table import across_sets

    names = [files.base_name(path) for path in config.runs]
    labels = unique_labels(names, config.labels)
    check_metrics(config.metrics)
    if config.data:
        if config.out:
            OutputFolder.reserve(files.parent(config.out) or ".", files.base_name(config.out))
        _evaluate_missing(config)
    places = [_preset_folder(config, run) or run for run in config.runs]
    found = {
        label: {name: Result.load(folder) for name, folder in evaluations_of(path).items()}
        for label, path in zip(labels, places, strict=True)
    }
    table = across_sets(found, config.metrics)
    return write_table(table.grid, table.csv, config.format, config.out)


def _preset_folder(config: SetsConfig, run: str) -> str:
    """Returns the folder with the evaluations of a preset; empty for other runs."""
    is_preset = run in presets.names() and not files.exists(run)
    return files.join(config.scores, run) if is_preset else ""


def _evaluate_missing(config: SetsConfig) -> None:
    """Evaluates each run on each data set that it has no full evaluation of."""
    from tfdeblur import evaluate
    from tfdeblur.checkpoints.weights import checkpoint_folder

    named: dict[str, str] = {}
    for path in config.data:
        first = named.setdefault(files.own_name(path), path)
        if first.rstrip("/") != path.rstrip("/"):
            raise UserError(
                f"data: {first} and {path} have the same name, by which evaluations are stored. "
                "Rename one of them."
            )
    # Everything is checked before the first evaluation, which may take long.
    for run in config.runs:
        folder = presets.find(run)
        if not files.is_dir(folder):
            raise UserError(
                f"{run} is not a folder. --data evaluates work directories of tfdeblur.train, "
                "checkpoints, and presets."
            )
        checkpoint_folder(folder)
    opened = {path: open_data(path, EvaluateConfig.split) for path in named.values()}
    for run in config.runs:
        for path, data in opened.items():
            wanted = EvaluateConfig(workdir=run, data=path, full=True)
            if place := _preset_folder(config, run):
                out = files.join(place, files.base_name(default_folder(wanted)))
                wanted = dataclasses.replace(wanted, workdir="", model=run, out=out)
            if not _is_evaluated(wanted, data):
                print(f"Evaluating {run} on {path}.", file=sys.stderr)
                evaluate.run_full(wanted)


def _is_evaluated(wanted: EvaluateConfig, data: "EvaluationData") -> bool:
    """Returns whether a full evaluation exists, which is not of other data of the same name."""
    from tfdeblur.evaluation.results import Result
    from tfdeblur.evaluation.scores import FULL_FILES

    folder = wanted.out or default_folder(wanted)
    if not files.exists(files.join(folder, FULL_FILES.json)):
        return False
    # Earlier versions did not record it.
    known = Result.load(folder, (FULL_FILES.json,)).about.get("data_fingerprint")
    return known is None or known == data.manifest.fingerprint


def report(config: SetsConfig) -> int:
    """Prints the table, or the path of its file."""
    print_table(run(config), config.out)
    return 0
