"""The report of an evaluation: tables, charts and pictures on one page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.evaluation.evaluator import Triplet
from tfdeblur.evaluation.pictures import (
    JPEG_QUALITY,
    address,
    choose_by_gain,
    picture_name,
)
from tfdeblur.evaluation.scores import (
    BLURRED,
    STATE_NAMES,
    VALUE_NAMES,
    VALUES,
    Files,
    ScoreCard,
    Setting,
)
from tfdeblur.evaluation.statistics import Gain, Summary
from tfdeblur.metrics import CEILING_DB, METRICS
from tfdeblur.reports import charts, pages
from tfdeblur.reports.charts import Chart, FigureFormat
from tfdeblur.reports.pages import Table

_SMALL = 200  # below this side pictures are enlarged with sharp pixel edges

# Pages show the beginning of these values; the files hold all of them.
_DIGESTS = ("_sha256", "_fingerprint")

_SPREAD = {
    "mean": "mean",
    "median": "median",
    "standard deviation": "deviation",
    "5th percentile": "low",
    "95th percentile": "high",
    "lowest": "least",
    "highest": "most",
}


def write_page(
    card: ScoreCard,
    triplets: Sequence[Triplet],
    directory: str,
    names: Files,
    *,
    title: str,
    subtitle: str = "",
    figures: FigureFormat | None = None,
    frames: Sequence[Triplet] = (),
) -> str:
    """Writes the report.

    Args:
        card: The score card.
        triplets: The images to show, in order, restored under `card.primary`. If the page links
            to its pictures, `write_triplets` has written them.
        directory: Folder of the evaluation.
        names: Names of the files.
        title: Heading of the page.
        subtitle: Line below the heading.
        figures: Format in which the charts are also written as files.
        frames: Whole frames to show, if the images are tiles; written to `frame_pictures`.

    Returns:
        Path of the page.

    Raises:
        UserError: The page cannot be written.
    """
    chosen = choose_by_gain(card.gains_db()) if card.compared else {}
    kinds = {index: kind for kind, found in chosen.items() for index in found}
    notes = card.notes()
    if names.embedded:
        notes.append(
            f"Pictures larger than 256 pixels are JPEG of quality {JPEG_QUALITY} in this page; "
            "scores are not measured on them."
        )
    return pages.write(
        directory,
        names.page,
        title,
        figures=figures,
        charts=_charts(card),
        subtitle=subtitle,
        summary=[("images", f"{card.images:,}"), *summary_of(card.about)],
        tables=[
            *_mean_tables(card),
            *_frame_tables(card.whole_frames),
            _spread_table(card),
            *([_gain_table(card), _worst_table(card)] if card.compared else []),
        ],
        measures=[METRICS[key] for key in card.measured_in("whole")],
        protocols=_setting_protocols(card),
        notes=notes,
        pictures=[
            *(_shown(card, t, kinds.get(t.index, ""), names, names.pictures) for t in triplets),
            *(
                _shown(card.whole_frames, frame, "whole frame", names, frame_pictures(names))
                for frame in frames
                if card.whole_frames is not None
            ),
        ],
        slider=True,
        pixelated=any(max(triplet.blurred.shape[:2]) < _SMALL for triplet in triplets),
    )


def headers(metrics: Iterable[str], first: str = "") -> list[str]:
    """Returns the header of a table with a column per metric after the first column."""
    return [first, *(METRICS[key].header for key in metrics)]


def gain_rows(found: Mapping[str, Gain]) -> list[list[str]]:
    """Returns the rows of a table of gains: means, ends of the intervals, shares of images."""

    def row(name: str, values: Iterable[float]) -> list[str]:
        texts = zip(found, values, strict=True)
        return [name, *(METRICS[key].text(value, signed=True) for key, value in texts)]

    nothing = (math.nan, math.nan)
    rows = [row("mean", (gain.mean for gain in found.values()))]
    # In two rows: intervals side by side are wider than a page.
    for place, end in enumerate(("from", "to")):
        ends = [(gain.by_image or nothing)[place] for gain in found.values()]
        rows.append(row(f"95% by image, {end}", ends))
    for place, end in enumerate(("from", "to")):
        ends = [(gain.by_scene or nothing)[place] for gain in found.values()]
        rows.append(row(f"95% by scene, {end}", ends))
    shares = [f"{gain.share_better:.0%}" if gain.count else "-" for gain in found.values()]
    return [*rows, ["images better", *shares]]


def summary_of(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the known values of `about` as texts by name."""
    return [
        (name.replace("_", " "), value[:12] if name.endswith(_DIGESTS) else _words(value))
        for name, value in about.items()
        if value is not None and value != "" and name != "omitted_loss"
    ]


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return " to ".join(map(_words, value)) if len(value) == 2 else ", ".join(map(_words, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _mean_tables(card: ScoreCard) -> list[Table]:
    return [
        Table(*card.cells(region), f"Means over the split: {card.region_name(region)}")
        for region in card.regions
    ]


def _spread_table(card: ScoreCard) -> Table:
    found = {key: Summary.of(card.column(card.primary, key)) for key in card.metrics}
    rows = [
        [name, *(METRICS[key].text(getattr(summary, part)) for key, summary in found.items())]
        for name, part in _SPREAD.items()
    ]
    return Table(headers(card.metrics), rows, f"Spread over {_primary(card)}")


def _gain_table(card: ScoreCard) -> Table:
    caption = f"Gain over the input, with 95% intervals: {_primary(card)}"
    found = card.gains(card.primary)
    return Table(headers(found), gain_rows(found), caption)


def _worst_table(card: ScoreCard) -> Table:
    setting, worst, gain = card.primary, card.worst(), card.gains_db()
    rows = [
        [
            f"{card.scenes[i]} / {card.frames[i]} ({gain[i]:+.2f} dB)",
            *(METRICS[key].text(float(card.column(setting, key)[i])) for key in card.metrics),
        ]
        for i in worst
    ]
    caption = f"The {len(worst)} images with the lowest PSNR gain: {card.label(setting)}"
    return Table(headers(card.metrics, "scene / frame"), rows, caption)


def _primary(card: ScoreCard) -> str:
    return f"{card.region_name('whole')}, {card.label(card.primary)}"


def _setting_protocols(card: ScoreCard) -> list[tuple[str, str]]:
    states = {setting.state for setting in card.values}
    values = {setting.values for setting in card.values if setting.state != BLURRED}
    return [
        *((STATE_NAMES[state], text) for state, text in card.states.items() if state in states),
        *((VALUE_NAMES[name], text) for name, text in VALUES.items() if name in values),
        *([("tiles", note)] if (note := card.tiles_note()) else []),
    ]


def _charts(card: ScoreCard) -> list[Chart]:
    histograms = [
        _before_and_after(card, key)
        for key in card.metrics
        if key in ("psnr_db", "ssim", "dists") or key.startswith("lpips_")
    ]
    if not card.compared:
        return histograms
    setting = card.primary
    before, gain = card.column(setting.baseline, "psnr_db"), card.gains_db()
    known = ~np.isnan(gain)
    names = [f"{s} / {f}" for s, f, k in zip(card.scenes, card.frames, known, strict=True) if k]

    def against(title: str, x: np.ndarray, label: str) -> Chart:
        points = [(float(a), float(b)) for a, b in zip(x[known], gain[known], strict=True)]
        return Chart(
            title,
            {"images": points},
            x_label=label,
            y_label="gain in dB",
            levels={"no gain": 0.0},
            kind="dots",
            names={"images": names},
        )

    return [
        *histograms,
        Chart(
            "Gain in PSNR",
            {"images": charts.histogram(list(gain))},
            x_label="gain in dB",
            y_label="images",
            kind="bars",
        ),
        against("Gain against the input's PSNR", before, "input's PSNR, dB"),
        against(
            "Gain against the input's blur",
            card.lost_gradient,
            "share of the target's gradient that the input lost",
        ),
    ]


def _before_and_after(card: ScoreCard, key: str) -> Chart:
    """Returns histograms of a metric for the input, if there is one, and the restored images."""
    setting, metric = card.primary, METRICS[key]
    return Chart(
        f"{metric.title} of the images",
        {
            card.label(part): charts.histogram(list(card.column(part, key)))
            for part in (setting.baseline, setting)
            if part in card.values
        },
        x_label=(metric.unit or metric.title.split()[0])
        + ("" if metric.higher_is_better else ", lower is better"),
        y_label="images",
        kind="bars",
    )


def _frame_tables(card: ScoreCard | None) -> list[Table]:
    if card is None:
        return []
    caption = f"Means over {card.images:,} {card.region_name('whole')}"
    return [Table(*card.cells("whole"), caption)]


def frame_pictures(names: Files) -> str:
    """Returns the folder of the pictures of whole frames."""
    return f"{names.pictures}/frames"


def _shown(
    card: ScoreCard, triplet: Triplet, kind: str, names: Files, folder: str
) -> pages.PictureRow:
    setting, index = card.primary, triplet.index

    def label(name: str, part: Setting) -> str:
        psnr = float(card.values[part]["psnr_db"][index])
        return f"{name} {min(psnr, CEILING_DB):.2f} dB" if math.isfinite(psnr) else name

    def source(state: str) -> str:
        if names.embedded:
            return address(getattr(triplet, state))
        return f"{folder}/{picture_name(index, state)}"

    return (
        f"{kind.capitalize()}: " * bool(kind) + f"{triplet.scene} / {triplet.frame}",
        {
            label("blurred", setting.baseline): source("blurred"),
            label(STATE_NAMES[setting.state], setting): source("restored"),
            "sharp": source("sharp"),
        },
    )
