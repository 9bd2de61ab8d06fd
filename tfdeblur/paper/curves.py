"""Curves of one or several runs: training and validation loss, PSNR and SSIM."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tfdeblur.cli.environment import require_keras
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder

if TYPE_CHECKING:
    from tfdeblur.reports.charts import Chart

POSITIONAL = "runs"
PAGE = "curves.html"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurvesConfig:
    """Settings of `tfdeblur.paper curves`."""

    runs: Annotated[tuple[str, ...], Field(min_length=1)]
    """work directories of tfdeblur.train, finished or not"""
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = ("loss", "psnr_db", "ssim")
    """a chart for each, such as ssim"""
    x: Literal["epochs", "images"] = "epochs"
    """unit of the x axis"""
    labels: tuple[str, ...] = ()
    """names of the runs"""
    figures: Literal["png", "pdf", "svg"] = "png"
    """format of the charts beside the page"""
    out: str = ""
    """output folder; figures in the first run if unset"""


@dataclasses.dataclass(frozen=True)
class CurvesResult:
    """Charts and their files.

    Attributes:
        charts: The charts; `tfdeblur.reports.figures.draw` returns one as a matplotlib figure.
        page: Path of the page that shows them.
        files: Paths of the figures.
    """

    charts: "list[Chart]"
    page: str
    files: list[str]


def run(config: CurvesConfig) -> CurvesResult:
    """Draws the curves of runs.

    Args:
        config: The settings.

    Returns:
        The charts, and the files that they were written to.

    Raises:
        UserError: A run has no history, or lacks a metric.
        DataError: A history cannot be read.
    """
    require_keras()
    from tfdeblur.evaluation.results import unique_labels
    from tfdeblur.paper.curve_charts import curves
    from tfdeblur.reports import histories, pages

    runs = [path.rstrip("/") for path in config.runs]
    labels = unique_labels([files.base_name(path) for path in runs], config.labels)
    folder = config.out or files.join(runs[0], "figures")
    read = {label: histories.read(path) for label, path in zip(labels, runs, strict=True)}
    charts = curves(read, config.metrics, config.x)
    OutputFolder.reserve(folder, PAGE, pages.figures_folder(PAGE))
    page = pages.write(
        folder,
        PAGE,
        ", ".join(labels),
        charts=charts,
        figures=config.figures,
        notes=[
            "Solid: the validation split, with the averaged weights of a run that keeps some. "
            "Dashed: the mean over the training samples since the point before, as the network "
            "restored them for its updates.",
            *(f"{label}: {path}" for label, path in zip(labels, runs, strict=True)),
        ],
    )
    written = files.list_dir(files.join(folder, pages.figures_folder(PAGE)))
    inside = [files.join(folder, pages.figures_folder(PAGE), name) for name in sorted(written)]
    return CurvesResult(charts, page, inside)


def report(config: CurvesConfig) -> int:
    """Prints the paths of the page and of the figures."""
    result = run(config)
    print("\n".join([f"Curves: {result.page}", *result.files]))
    return 0
