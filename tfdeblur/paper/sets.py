"""Networks across test sets: a row for each network and a column for each set."""

import dataclasses
from typing import Annotated

from pydantic import Field

from tfdeblur.cli.environment import require_keras
from tfdeblur.paper.table import Format, print_table, write_table

POSITIONAL = "runs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetsConfig:
    """Settings of `tfdeblur.paper sets`."""

    runs: Annotated[tuple[str, ...], Field(min_length=1)]
    """work directories, each evaluated on one or several test sets by tfdeblur.evaluate"""
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = ("psnr_db", "ssim")
    """measures, such as ssim"""
    labels: tuple[str, ...] = ()
    """names of the runs"""
    format: Format = None
    out: str = ""
    """file to write; printed if unset"""


def run(config: SetsConfig) -> str:
    """Makes a table of all evaluations of several networks.

    Args:
        config: The settings.

    Returns:
        The table in the chosen format; it is also written to `out` if set.

    Raises:
        UserError: A run has no evaluation, or two evaluations of one name are of different images.
        DataError: A file of an evaluation is damaged.
    """
    require_keras()
    from tfdeblur.evaluation.results import Result, evaluations_of, unique_labels
    from tfdeblur.io import files
    from tfdeblur.paper.score_table import across_sets

    names = [files.base_name(path) for path in config.runs]
    labels = unique_labels(names, config.labels)
    found = {
        label: {name: Result.load(folder) for name, folder in evaluations_of(path).items()}
        for label, path in zip(labels, config.runs, strict=True)
    }
    table = across_sets(found, config.metrics)
    return write_table(table.grid, table.csv, config.format, config.out)


def report(config: SetsConfig) -> int:
    """Prints the table, or the path of its file."""
    print_table(run(config), config.out)
    return 0
