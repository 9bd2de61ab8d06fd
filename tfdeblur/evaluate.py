"""Command: evaluates a trained generator on a whole split.

::

    python -m tfdeblur.evaluate --workdir WORKDIR --data DATA
    python -m tfdeblur.evaluate --workdir WORKDIR --data DATA --all-checkpoints
    python -m tfdeblur.evaluate --workdir WORKDIR --data DATA --full
    python -m tfdeblur.evaluate --compare WORKDIR WORKDIR... PICTURES...
    python -m tfdeblur.evaluate --restored PICTURES --sharp PICTURES
    python -m tfdeblur.evaluate --no-reference PHOTOS --niqe FILE --workdir WORKDIR

The first is quick. The second evaluates every checkpoint that a run has kept (`output.keep: all`
keeps all of them) and shows its progress. The third applies every protocol used in papers and
writes one page to send to others; the fourth compares such score cards, and folders of pictures
that other programs made of the same frames; the fifth scores such a folder without a data set; the
sixth scores photos that have no sharp image. `run`, `run_checkpoints`, `run_full`, `run_compare`,
`run_pictures` and `run_no_reference` do the same for a notebook.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfdeblur import cli
from tfdeblur.cli.environment import require_keras
from tfdeblur.errors import UserError
from tfdeblur.evaluation.config import (
    TILING,
    EvaluateConfig,
    EvaluationResult,
    about_run,
    about_tiles,
    batch_size_for,
    default_folder,
    network_path,
    open_data,
    tiling,
)
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder

if TYPE_CHECKING:
    from tfdeblur.data.evaluation import EvaluationData
    from tfdeblur.evaluation.checkpoints import CheckpointTable
    from tfdeblur.evaluation.comparison import Comparison
    from tfdeblur.evaluation.networks import EvaluatedNetwork
    from tfdeblur.evaluation.no_reference import NoReferenceTable
    from tfdeblur.evaluation.scores import Files, ScoreCard
    from tfdeblur.metrics import Metric

__all__ = [
    "EvaluateConfig",
    "default_folder",
    "main",
    "run",
    "run_checkpoints",
    "run_compare",
    "run_full",
    "run_no_reference",
    "run_pictures",
]

# Some checkpoints were evaluated and others were damaged.
EXIT_INCOMPLETE = 1

# Evenly spaced images whose pictures a full evaluation keeps, so that runs share some.
_SHARED_PICTURES = 4


def run(config: EvaluateConfig) -> "EvaluationResult[ScoreCard]":
    """Evaluates a generator on a whole split with the quick metrics.

    Args:
        config: The settings.

    Returns:
        The score card and its files.

    Raises:
        UserError: Neither or both of `workdir` and `model` are given, or one cannot be loaded.
        DataError: The data or the split cannot be read.
    """
    require_keras()
    from tfdeblur.evaluation.networks import open_network
    from tfdeblur.evaluation.scores import QUICK_FILES

    if config.all_checkpoints:
        raise UserError(
            "all_checkpoints: run evaluates one checkpoint; call run_checkpoints for all of them."
        )
    source = network_path(config)
    data = open_data(config.data, config.split, config.limit)
    # As it was trained; --full also evaluates it with its local converter.
    network = open_network(source, config.checkpoint, None, tiling(config))
    return _evaluate(config, network, data, QUICK_FILES)


def run_full(config: EvaluateConfig) -> "EvaluationResult[ScoreCard]":
    """Evaluates a generator under every protocol used in papers.

    Args:
        config: The settings.

    Returns:
        The score card and its files.

    Raises:
        UserError: Neither or both of `workdir` and `model` are given, or one cannot be loaded; the
            files of `lpips_weights` do not match `lpips`, or the images are too small for LPIPS
            or DISTS; `register` needs OpenCV, which is not installed; `targets` cannot be read.
        DataError: The data, the split or a file of weights cannot be read.
    """
    require_keras()
    from tfdeblur.evaluation.networks import open_network
    from tfdeblur.evaluation.scores import FULL_FILES

    source = network_path(config)
    data = open_data(config.data, config.split, config.limit)
    metrics, about = _full_metrics(config)
    smallest = min(data.sizes, key=lambda size: min(size.height, size.width))
    for metric in metrics:
        with_weights = metric.key.startswith(("lpips_", "dists"))
        if with_weights and metric.compute and not metric.fits(smallest.height, smallest.width):
            raise UserError(
                f"{metric.key.split('_')[0]}: {metric.title} needs images of at least "
                f"{metric.min_size}x{metric.min_size} pixels, and the split has some of "
                f"{smallest.width}x{smallest.height}. "
                f"Leave {metric.key} out."
            )
    network = open_network(source, config.checkpoint, config.tlc_window, tiling(config))
    return _evaluate(
        config,
        network,
        data,
        FULL_FILES,
        about=about,
        shared_pictures=_SHARED_PICTURES if config.pictures else 0,
        metrics=metrics,
        values=("float", "uint8"),
        crop=config.crops,
        timed=True,
    )


def _full_metrics(config: EvaluateConfig) -> "tuple[list[Metric], dict[str, Any]]":
    """Returns the metrics of a full evaluation, and what they depend on for a score card."""
    from tfdeblur.evaluation.aligning import ALIGNING, aligning_metrics
    from tfdeblur.evaluation.lpips_weights import open_dists, open_lpips
    from tfdeblur.metrics import METRICS

    lpips, about_lpips = open_lpips(config.lpips, config.lpips_weights)
    dists, about_dists = open_dists(config.dists_weights)
    aligning = {key: value for key in ALIGNING if (value := getattr(config, key))}
    metrics = [*METRICS.values(), *lpips, *dists, *aligning_metrics(aligning)]
    return metrics, {**about_lpips, **about_dists, **aligning}


def _evaluate(
    config: EvaluateConfig,
    network: "EvaluatedNetwork",
    data: "EvaluationData",
    names: "Files",
    *,
    about: dict[str, Any] | None = None,
    shared_pictures: int = 0,
    **options: Any,
) -> "EvaluationResult[ScoreCard]":
    """Evaluates a network and writes the scores and the report; `options` of `SplitEvaluator`."""
    from tfdeblur.data.dataset import read_errors
    from tfdeblur.evaluation.evaluator import SplitEvaluator
    from tfdeblur.evaluation.losses import OMITTED, find_loss
    from tfdeblur.evaluation.page import frame_pictures, write_page
    from tfdeblur.evaluation.pictures import choose_by_gain, spread, write_triplets
    from tfdeblur.ops import devices

    folder = config.out or default_folder(config)
    # An unwritable folder should be reported before the work, not after it.
    OutputFolder.reserve(folder, *names.names())
    batch_size = batch_size_for(data, config.batch_size)
    checkpoint = network.restorer.about.get("folder") if config.loss else None
    if network.tiled:
        loss, about_loss = None, {OMITTED: "it needs the network's outputs for whole images."}
    else:
        loss, about_loss = find_loss(checkpoint, network.generator)
    evaluator = SplitEvaluator(
        network.states,
        data,
        batch_size=batch_size,
        loss=loss,
        frames=config.pictures,
        on_host=network.tiled,
        **options,
    )
    crop = options.get("crop") if evaluator.has_crops else None
    if options.get("crop") and crop is None:
        print(
            f"warning: crops: {config.crops} has no effect, as not all images of the split are "
            "larger; only whole images are evaluated. Set a smaller size, or none.",
            file=sys.stderr,
        )
    with read_errors([config.data], config.split):
        card = evaluator.run(
            about={
                **about_run(config, network.restorer, data.manifest),
                **network.identity,
                "data_fingerprint": data.manifest.fingerprint,
                **about_loss,
                **(about or {}),
                **about_tiles(tiling(config), data.sizes),
                "batch_size": batch_size,
                "device": devices.device_summary(),
                **({"crop": f"{crop[1]}x{crop[0]}"} if crop else {}),
                **({"tlc_window": network.tlc_window} if network.tlc_window is not None else {}),
            }
        )
        chosen = choose_by_gain(card.gains_db(), config.pictures)
        shown = [index for kind in chosen.values() for index in kind]
        wanted = sorted({*shown, *spread(card.images, shared_pictures)})
        triplets = {t.index: t for t in evaluator.pictures(wanted, card.primary.state)}
        frames = evaluator.frames(card.primary)
    # Before the scores: a folder with scores is complete.
    write_triplets(list(triplets.values()), folder, names.pictures)
    write_triplets(frames, folder, frame_pictures(names))
    report = write_page(
        card,
        [triplets[index] for index in shown],
        folder,
        names,
        title=f"{network.restorer.name} on {files.own_name(config.data)}, {config.split}",
        subtitle=network_path(config),
        figures=config.figures,
        frames=frames,
    )
    card.write(folder, names)
    return EvaluationResult(card, folder, report)


def run_checkpoints(config: EvaluateConfig) -> "EvaluationResult[CheckpointTable]":
    """Evaluates every checkpoint of a run on a whole split; writes a table, curves and pictures.

    All share one graph, whose weights are replaced; the blurred input is measured once.

    Args:
        config: The settings; `workdir` is the run.

    Returns:
        The table and its files; damaged checkpoints are listed in `card.skipped`.

    Raises:
        UserError: `model` or `checkpoint` is given, or there is no checkpoint.
        DataError: The data cannot be read, or every checkpoint is damaged.
    """
    require_keras()
    from tfdeblur.evaluation import checkpoints

    if config.model or not config.workdir or config.checkpoint != "best":
        raise UserError(
            "--all-checkpoints evaluates all checkpoints of a run: give --workdir, and neither "
            "--model nor --checkpoint."
        )
    data = open_data(config.data, config.split, config.limit)
    folder = config.out or default_folder(config)
    OutputFolder.reserve(folder, *checkpoints.NAMES)
    table = checkpoints.evaluate(config, data)
    table.write(folder)
    page = checkpoints.write_page(
        table,
        folder,
        title=f"{table.about['model']} on {files.own_name(config.data)}, {config.split}: "
        "all checkpoints",
        subtitle=config.workdir,
        figures=config.figures,
    )
    return EvaluationResult(table, folder, page)


def run_compare(config: EvaluateConfig) -> "EvaluationResult[Comparison]":
    """Compares full score cards.

    Args:
        config: `compare` lists the runs, and folders of pictures that other programs made of the
            same frames; `data` and `split` select one of several evaluations of a run; `out` is
            the output folder, `comparison` beside the first card if unset.

    Returns:
        The comparison and its files.

    Raises:
        UserError: A run has no score card, several to choose from, or one of other images; or a
            picture is missing or has another size.
        DataError: The data, which folders of pictures need, cannot be read.
    """
    require_keras()
    from tfdeblur.evaluation import comparison, given_pictures
    from tfdeblur.evaluation.scores import ScoreCard

    name = f"{files.own_name(config.data)}-{config.split}" if config.data else ""
    others = [path for path in config.compare if given_pictures.holds_pictures(path)]
    folders = [p if p in others else comparison.find_card(p, name) for p in config.compare]
    cards = [folder for folder in folders if folder not in others]
    if not cards:
        raise UserError("compare: name a run that was evaluated with --full beside the pictures.")
    folder = config.out or files.join(cards[0], "comparison")
    OutputFolder.reserve(folder, *comparison.NAMES)
    given = {}
    if others:
        first = ScoreCard.load(cards[0])
        given = given_pictures.measure_beside(others, first, config.data, config.split)
    compared = comparison.Comparison.of(folders, given)
    page = comparison.write(compared, folder, config.figures)
    return EvaluationResult(compared, folder, page)


def run_pictures(config: EvaluateConfig) -> "EvaluationResult[ScoreCard]":
    """Scores pictures that another program restored, without a network or a data set.

    Args:
        config: `restored`, `sharp` and possibly `blurred` are folders of pictures of equal names;
            `full` selects every metric of papers and the settings that depend on it; `out` is the
            output folder, `restored` with the suffix `-evaluation` if unset.

    Returns:
        The score card and its files.

    Raises:
        UserError: A picture is missing, ambiguous or unreadable, or has not the size of the sharp
            one; the message names it. The files of a metric are missing or do not match it.
        DataError: A file of weights cannot be read.
    """
    require_keras()
    from tfdeblur.evaluation import given_pictures
    from tfdeblur.evaluation.page import write_page
    from tfdeblur.evaluation.pictures import choose_by_gain, write_triplets
    from tfdeblur.evaluation.scores import FULL_FILES, QUICK_FILES
    from tfdeblur.metrics import METRICS

    if not (config.restored and config.sharp):
        raise UserError(
            "Give --restored, the pictures to score, with --sharp, the folder of their targets."
        )
    for name in ("workdir", "model", "data", "limit"):
        if getattr(config, name):
            raise UserError(f"{name}: --restored scores pictures. Remove --{name}.")
    names = FULL_FILES if config.full else QUICK_FILES
    folder = config.out or f"{config.restored.rstrip('/')}-evaluation"
    OutputFolder.reserve(folder, *names.names())
    quick = [metric for metric in METRICS.values() if metric.quick]
    metrics, about = _full_metrics(config) if config.full else (quick, {})
    pictures = given_pictures.PictureFolders.find(config.restored, config.sharp, config.blurred)
    origin = {"from": config.restored, "data": config.sharp, "blurred": config.blurred}
    card = given_pictures.score(pictures, metrics, {**origin, **about})
    chosen = choose_by_gain(card.gains_db(), config.pictures) if config.blurred else {}
    shown = [index for kind in chosen.values() for index in kind]
    triplets = pictures.triplets(shown, card.primary)
    write_triplets(triplets, folder, names.pictures)
    report = write_page(
        card,
        triplets,
        folder,
        names,
        title=f"{files.own_name(config.restored)}: pictures of another program",
        subtitle=config.restored,
        figures=config.figures,
    )
    card.write(folder, names)
    return EvaluationResult(card, folder, report)


def run_no_reference(config: EvaluateConfig) -> "EvaluationResult[NoReferenceTable]":
    """Scores photos that have no sharp image, before and after restoration.

    Args:
        config: `no_reference` lists photos and folders of them, `niqe` is the file of NIQE's
            parameters; `model` or `workdir` restores them if given. `out` is the output folder,
            unless there is a `workdir`.

    Returns:
        The scores and their files; the report is the CSV file of all photos.

    Raises:
        UserError: There are no photos, or a setting is missing; photos that cannot be read or are
            too small are listed in `card.skipped`.
        DataError: The file of parameters is damaged, or all photos were skipped.
    """
    require_keras()
    from tfdeblur.evaluation import no_reference

    if not config.niqe:
        raise UserError("niqe: --no-reference requires --niqe, the file of NIQE's parameters.")
    if not (config.out or config.workdir):
        raise UserError("out: --no-reference requires --out or --workdir, a folder for scores.")
    source = network_path(config) if config.workdir or config.model else ""
    folder = config.out or files.join(config.workdir, "evaluation", "no-reference")
    OutputFolder.reserve(folder, *no_reference.NAMES)
    table = no_reference.evaluate(config.no_reference, config.niqe, source, config.checkpoint)
    return EvaluationResult(table, folder, table.write(folder))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        EvaluateConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.evaluate",
        description=(
            "Evaluates a trained generator on a whole split, with the blurred input as baseline, "
            "and writes a table, the scores of every image and a page with pictures; or evaluates "
            "every checkpoint of a run, with curves and pictures of its progress; or applies every "
            "protocol used in papers; or compares such score cards; or scores pictures of other "
            "programs, with or without sharp images."
        ),
    )


_FULL_ONLY = ("lpips", "lpips_weights", "dists_weights", "max_shift", "register", "targets")


def _run_and_report(config: EvaluateConfig) -> int:
    pictures = bool(config.restored or config.sharp or config.blurred)
    modes = (config.all_checkpoints, bool(config.compare), bool(config.no_reference))
    if sum((*modes, config.full)) > 1:
        raise UserError("Give one of --full, --all-checkpoints, --compare and --no-reference.")
    if sum((*modes, pictures)) > 1:
        raise UserError("Give one of --restored, --all-checkpoints, --compare and --no-reference.")
    for name in _FULL_ONLY:
        if getattr(config, name) and not config.full:
            raise UserError(f"{name} is part of the full score card. Give --full as well.")
    without_tiles = config.compare or config.no_reference or config.all_checkpoints or pictures
    for name in TILING:
        if getattr(config, name) is not None and without_tiles:
            raise UserError(f"{name}: only evaluations of one network restore in tiles.")
    if config.no_reference:
        scored = run_no_reference(config)
        print(scored.card.text())
        print(f"\nScores of every photo: {scored.report}")
        for message in scored.card.skipped.values():
            print(f"warning: not scored: {message}", file=sys.stderr)
        return EXIT_INCOMPLETE if scored.card.skipped else 0
    if config.compare:
        compared = run_compare(config)
        print(compared.card.table())
        print(f"\nComparison: {compared.report}")
        return 0
    if config.all_checkpoints:
        evaluated = run_checkpoints(config)
        skipped = evaluated.card.skipped
        print(evaluated.card.table())
        print(f"\nScores, curves and pictures: {evaluated.report}")
        for message in skipped.values():
            print(f"warning: not evaluated: {message}", file=sys.stderr)
        return EXIT_INCOMPLETE if skipped else 0
    run_one = run_pictures if pictures else run_full if config.full else run
    result = run_one(config)
    print(result.card.table())
    print(f"\nScores, charts and pictures: {result.report}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
