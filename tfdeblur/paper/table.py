"""Networks side by side, or one network by epoch, as a table for a terminal, a page or a paper."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tfdeblur.cli.environment import require_keras
from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder

if TYPE_CHECKING:
    from tfdeblur.evaluation.results import Result
    from tfdeblur.evaluation.tables import Grid
    from tfdeblur.paper.score_table import PaperTable

POSITIONAL = "runs"

SUFFIXES = {
    ".txt": "text",
    ".md": "markdown",
    ".tex": "latex",
    ".csv": "csv",
    ".html": "html",
}

Format = Annotated[
    Literal["text", "markdown", "latex", "csv", "html"] | None,
    Field(description="by the suffix of --out if unset, else text"),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableConfig:
    """Settings of `tfdeblur.paper table`."""

    runs: Annotated[tuple[str, ...], Field(min_length=1)]
    """work directories or folders of evaluations, made by tfdeblur.evaluate on the same images; and
    folders of pictures that other programs made of them"""
    data: str = ""
    """data set, if runs were evaluated on several of them"""
    split: str = "test"
    """split of that data set"""
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "loss",
        "validation_loss",
        "adversarial_loss",
        "ssim",
        "psnr_db",
        "mse",
        "mae",
        "log_cosh",
    )
    """measures; those of papers if unset"""
    labels: tuple[str, ...] = ()
    """names of the runs"""
    paper: bool = True
    """also show the scores that the recipes' papers report"""
    by_epoch: bool = False
    """one run by epoch, evaluated with --all-checkpoints"""
    frames: bool = False
    """scores of whole frames, for a test split of tiles"""
    region: Literal["whole", "crops", "center"] = "whole"
    """scores of whole images, of crops that were restored independently, or of the central one of
    these; crops are measured by tfdeblur.evaluate --full"""
    transpose: bool = False
    """networks in rows, as --by-epoch has its checkpoints"""
    format: Format = None
    out: str = ""
    """file to write; printed if unset"""


def run(config: TableConfig) -> str:
    """Makes a table of evaluations.

    Args:
        config: The settings.

    Returns:
        The table in the chosen format; it is also written to `out` if set.

    Raises:
        UserError: An evaluation or its region is missing, or they are of different images.
        DataError: A file of an evaluation is damaged.
    """
    require_keras()
    from tfdeblur.paper import score_table

    name = f"{files.own_name(config.data)}-{config.split}" if config.data else ""
    if config.region != "whole" and (config.by_epoch or config.frames):
        raise UserError("region: --by-epoch and --frames have whole images only. Remove --region.")
    if config.by_epoch:
        table = _by_epoch(config, name)
    else:
        table = score_table.side_by_side(
            _results(config, name),
            config.metrics,
            labels=config.labels,
            paper=config.paper,
        )
    grid = table.grid()
    if config.transpose != config.by_epoch:
        grid = grid.transposed()
    return write_table(grid, table.to_csv(), config.format, config.out)


def _results(config: TableConfig, name: str) -> "list[Result]":
    """Reads the results of the runs, and measures pictures of other programs."""
    from tfdeblur.evaluation import given_pictures
    from tfdeblur.evaluation.results import CARDS, FRAME_CARDS, Result, find_evaluation
    from tfdeblur.evaluation.scores import FULL_FILES, ScoreCard

    whole = config.region == "whole"
    cards = FRAME_CARDS if config.frames else CARDS if whole else CARDS[:1]
    others = [path for path in config.runs if given_pictures.holds_pictures(path)]
    if others and not whole:
        raise UserError(f"region: {others[0]} holds pictures, which are only measured whole.")
    folders = {p: find_evaluation(p, name, cards) for p in config.runs if p not in others}
    found = {
        path: Result.load(folder, cards) if whole else Result.load_region(folder, config.region)
        for path, folder in folders.items()
    }
    if others:
        full = [r.path for r in found.values() if files.base_name(r.path) == FULL_FILES.json]
        if not full:
            raise UserError(
                f"{others[0]} holds pictures: name a run that was evaluated with --full beside "
                "them, without --frames."
            )
        first = ScoreCard.load(files.parent(full[0]))
        measured = given_pictures.measure_beside(others, first, config.data, config.split)
        for path, given in measured.items():
            card = given.card
            about = {**card.about, "images": card.images, "differing": card.differing}
            found[path] = Result(path, card.rows, about)
    return [found[path] for path in config.runs]


def write_table(grid: "Grid", csv: str, chosen: str | None, out: str) -> str:
    """Returns a table in a format, and writes it to a file if one is named.

    Args:
        grid: The table.
        csv: The same with unrounded values.
        chosen: The format; that of the file's suffix if None, else text.
        out: The file; empty for none.

    Raises:
        UserError: The file is not one of an earlier call, or cannot be written.
    """
    from tfdeblur.reports import pages

    chosen = chosen or SUFFIXES.get(out[out.rfind(".") :], "text")
    if chosen == "html":
        shown = pages.Table(grid.header, grid.rows, best=grid.best)
        text = pages.render(grid.caption, tables=[shown], notes=grid.notes)
    elif chosen == "csv":
        text = csv
    else:
        forms = {"text": grid.to_text, "markdown": grid.to_markdown, "latex": grid.to_latex}
        text = forms[chosen]()
    if out:
        name = files.base_name(out)
        OutputFolder.reserve(files.parent(out) or ".", name).write_text(name, text)
    return text


def print_table(text: str, out: str) -> None:
    """Prints a table, or the path of the file that it was written to."""
    print(f"Table: {out}" if out else text, end="\n" if out else "")


def _by_epoch(config: TableConfig, name: str) -> "PaperTable":
    from tfdeblur.evaluation.checkpoints import CHECKPOINTS_JSON
    from tfdeblur.evaluation.results import Result, find_evaluation
    from tfdeblur.paper import score_table

    if len(config.runs) != 1:
        raise UserError("--by-epoch makes a table of one run. Name one.")
    folder = find_evaluation(config.runs[0], name, (CHECKPOINTS_JSON,))
    stored = files.read_json(files.join(folder, CHECKPOINTS_JSON))
    recipe = Result("", {}, stored).recipe() if config.paper else None
    return score_table.by_epoch(stored, recipe, config.metrics)


def report(config: TableConfig) -> int:
    """Prints the table, or the path of its file."""
    print_table(run(config), config.out)
    return 0
