"""Command: judges a trained generator on a whole split.

::

    python -m tfdeblur.evaluate --workdir WORKDIR --data DATA
    python -m tfdeblur.evaluate --workdir WORKDIR --data DATA --all-checkpoints
    python -m tfdeblur.evaluate --workdir WORKDIR --data DATA --full
    python -m tfdeblur.evaluate --compare WORKDIR WORKDIR...

The first is quick. The second judges every checkpoint that a run has kept (`output.keep: all` keeps
them all) and tells how the network came about. The third gives every protocol that papers use, and
one page to send to somebody; the fourth puts such score cards side by side. `run`,
`run_checkpoints`, `run_full` and `run_compare` do the same for a notebook.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfdeblur import cli
from tfdeblur.cli.environment import require_tensorflow
from tfdeblur.errors import UserError
from tfdeblur.evaluation.config import (
    EvaluateConfig,
    about_run,
    batch_size_for,
    data_name,
    default_folder,
    network_path,
    open_data,
)

if TYPE_CHECKING:
    from tfdeblur.evaluation import CheckpointTable, ScoreCard
    from tfdeblur.evaluation.comparison import Comparison
    from tfdeblur.evaluation.full_card import FullCard

__all__ = [
    "EvaluateConfig",
    "default_folder",
    "main",
    "run",
    "run_checkpoints",
    "run_compare",
    "run_full",
]

# Some checkpoints were judged and others were damaged.
EXIT_INCOMPLETE = 1


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


@dataclasses.dataclass(frozen=True)
class FullResult:
    """The full score card, and where it was written.

    Attributes:
        card: All numbers.
        folder: Holds `card.json`, `card.csv`, the page and some pictures.
        report: Path of the page.
    """

    card: "FullCard"
    folder: str
    report: str


@dataclasses.dataclass(frozen=True)
class CheckpointsResult:
    """The table of all checkpoints, and where it was written.

    Attributes:
        table: All numbers.
        folder: Holds `checkpoints.json`, `checkpoints.csv` and the page.
        report: Path of the page.
    """

    table: "CheckpointTable"
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
    require_tensorflow()
    from tfdeblur.data.dataset import READ_ERRORS, explain_read_error
    from tfdeblur.evaluation import SplitEvaluator
    from tfdeblur.evaluation.report import PAGE, PICTURES, choose, write_report
    from tfdeblur.evaluation.scores import IMAGES_CSV, SCORES_CSV, SCORES_JSON
    from tfdeblur.inference.restorer import load_restorer
    from tfdeblur.io.outputs import OutputFolder

    if config.all_checkpoints:
        raise UserError("all_checkpoints: run judges one checkpoint; run_checkpoints all of them.")
    source = network_path(config)
    data = open_data(config)
    # As it was trained: --full judges it with its local converter as well.
    restorer = load_restorer(source, config.checkpoint, pooling=None)
    about = about_run(config, restorer, data.manifest)
    folder = config.out or default_folder(config)
    # A folder that cannot be written should be known before the work, not after it.
    OutputFolder.reserve(folder, SCORES_JSON, SCORES_CSV, IMAGES_CSV, PAGE, PICTURES)

    evaluator = SplitEvaluator(restorer.restore, data, batch_size=batch_size_for(config, data))
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
        title=f"{restorer.name} on {data_name(config.data)}, {config.split}",
        subtitle=source,
    )
    return EvaluateResult(card, folder, report)


def run_checkpoints(config: EvaluateConfig) -> CheckpointsResult:
    """Judges every checkpoint of a run on a whole split; writes a table, curves and pictures.

    All go through one graph, whose weights are exchanged; the blurred input is measured once.

    Args:
        config: What is judged; `workdir` names the run.

    Returns:
        The table and where it lies; what is damaged is named in `table.skipped`.

    Raises:
        UserError: `model` or another choice of a checkpoint is given, or there is no checkpoint.
        DataError: The data cannot be read, or every checkpoint is damaged.
    """
    require_tensorflow()
    from tfdeblur.evaluation import CheckpointTable
    from tfdeblur.evaluation.checkpoint_evaluator import CheckpointJudge
    from tfdeblur.evaluation.checkpoints import (
        CHECKPOINTS_CSV,
        CHECKPOINTS_JSON,
        PAGE,
        write_page,
    )
    from tfdeblur.io.outputs import OutputFolder

    if config.model or not config.workdir or config.checkpoint != "best":
        raise UserError(
            "--all-checkpoints judges all checkpoints of a run: give --workdir, and neither "
            "--model nor --checkpoint."
        )
    data = open_data(config)
    folder = config.out or default_folder(config)
    OutputFolder.reserve(folder, CHECKPOINTS_JSON, CHECKPOINTS_CSV, PAGE)
    judge = CheckpointJudge(
        config.workdir, data, batch_size=batch_size_for(config, data), pictures=config.pictures
    )
    judge.judge_all()
    assert judge.restorer is not None
    name = judge.restorer.name
    about = about_run(config, judge.restorer, data.manifest)
    # They are those of one checkpoint.
    del about["checkpoint"], about["images_seen"]
    table = CheckpointTable.of(judge.cards, judge.skipped, about)
    table.write(folder)
    page = write_page(
        table,
        judge.strips,
        folder,
        title=f"{name} on {data_name(config.data)}, {config.split}: all checkpoints",
        subtitle=config.workdir,
    )
    return CheckpointsResult(table, folder, page)


def run_full(config: EvaluateConfig) -> FullResult:
    """Judges a generator under every protocol that papers use.

    Args:
        config: What is judged.

    Returns:
        The score card and where it lies.

    Raises:
        UserError: Neither or both of `workdir` and `model` are given, or one cannot be loaded; or
            the files of `lpips_weights` do not go with `lpips`.
        DataError: The data, the split or a file of weights cannot be read.
    """
    require_tensorflow()
    from tfdeblur.evaluation.card_page import PAGE
    from tfdeblur.evaluation.full import judge
    from tfdeblur.evaluation.full_card import CARD_CSV, CARD_JSON
    from tfdeblur.evaluation.lpips_weights import open_lpips
    from tfdeblur.evaluation.networks import open_network
    from tfdeblur.evaluation.pictures import FOLDER
    from tfdeblur.io.outputs import OutputFolder

    source = network_path(config)
    data = open_data(config)
    lpips, about_lpips = open_lpips(config.lpips, config.lpips_weights)
    judged = open_network(source, config.checkpoint, config.tlc_window)
    folder = config.out or default_folder(config)
    OutputFolder.reserve(folder, CARD_JSON, CARD_CSV, PAGE, FOLDER)
    about = {**about_run(config, judged.restorer, data.manifest), **judged.identity}
    card, page = judge(
        judged,
        data,
        folder,
        crop=config.crops,
        batch_size=batch_size_for(config, data),
        about={**about, "data_fingerprint": data.manifest.fingerprint, **about_lpips},
        pictures=config.pictures,
        title=f"{judged.restorer.name} on {data_name(config.data)}, {config.split}",
        lpips=lpips,
    )
    return FullResult(card, folder, page)


def run_compare(config: EvaluateConfig) -> tuple["Comparison", str]:
    """Puts full score cards side by side.

    Args:
        config: `compare` names the runs; `data` and `split` choose where a run was judged on
            several; `out` is the folder, `comparison` beside the first run's card if not given.

    Returns:
        The comparison and its page's path.

    Raises:
        UserError: A run has no score card, or several to choose from, or other images.
    """
    require_tensorflow()
    from tfdeblur.evaluation import comparison
    from tfdeblur.io import files
    from tfdeblur.io.outputs import OutputFolder

    name = f"{data_name(config.data)}-{config.split}" if config.data else ""
    folders = [comparison.find_card(path, name) for path in config.compare]
    compared = comparison.Comparison.of(folders)
    out = config.out or files.join(folders[0], "comparison")
    OutputFolder.reserve(out, comparison.COMPARISON_JSON, comparison.PAGE)
    return compared, comparison.write(compared, out)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        EvaluateConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.evaluate",
        description=(
            "Judges a trained generator on a whole split, with the blurred input as the baseline, "
            "and writes a table, every image's numbers and a page with pictures; or every "
            "checkpoint of a run, with curves and pictures of how the network came about; or "
            "under every protocol that papers use; or puts such score cards side by side."
        ),
    )


def _run_and_report(config: EvaluateConfig) -> int:
    if sum((config.all_checkpoints, config.full, bool(config.compare))) > 1:
        raise UserError("Give one of --full, --all-checkpoints and --compare.")
    if not config.full and (config.lpips or config.lpips_weights):
        raise UserError("lpips: it stands in the full score card. Give --full as well.")
    if config.all_checkpoints:
        return _run_and_report_checkpoints(config)
    if config.full:
        full = run_full(config)
        print(full.card.table())
        print(f"\nNumbers, charts and pictures: {full.report}")
        return 0
    if config.compare:
        compared, page = run_compare(config)
        print(compared.table())
        print(f"\nSide by side: {page}")
        return 0
    result = run(config)
    print(result.card.table())
    print(f"\nNumbers and pictures: {result.report}")
    return 0


def _run_and_report_checkpoints(config: EvaluateConfig) -> int:
    result = run_checkpoints(config)
    print(result.table.table())
    print(f"\nNumbers, curves and pictures: {result.report}")
    for message in result.table.skipped.values():
        print(f"warning: not judged: {message}", file=sys.stderr)
    return EXIT_INCOMPLETE if result.table.skipped else 0


if __name__ == "__main__":
    raise SystemExit(main())
