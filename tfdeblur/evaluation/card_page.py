"""The page of a full score card: one file with everything in it, to send to somebody."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdeblur.evaluation.evaluator import Triple
from tfdeblur.evaluation.full_card import (
    BLURRED,
    STATE_NAMES,
    STATES,
    VALUES,
    FullCard,
    number,
)
from tfdeblur.evaluation.pictures import JPEG_QUALITY, Shown, address, choose_by_gain, to_uint8
from tfdeblur.evaluation.report import summary_of
from tfdeblur.evaluation.scores import CEILING_DB
from tfdeblur.evaluation.statistics import Summary
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics.protocols import LPIPS, MEASURES
from tfdeblur.reports import charts, pages
from tfdeblur.reports.charts import Chart

PAGE = "card.html"
_SMALL = 200  # below this side pictures are enlarged with sharp pixel edges


def write_card_page(
    card: FullCard, triples: Sequence[Triple], directory: str, *, title: str, subtitle: str = ""
) -> str:
    """Writes `card.html`: tables, charts and pictures in one file without links.

    Args:
        card: The score card.
        triples: The images to show, in their order, restored under `card.primary`.
        directory: Folder of the evaluation.
        title: Heading of the page.
        subtitle: One line under it.

    Returns:
        The page's path.

    Raises:
        UserError: It cannot be written.
    """
    kinds = {index: kind for kind, found in choose(card).items() for index in found}
    page = pages.render(
        "card.html.j2",
        title=title,
        subtitle=subtitle,
        summary=[("images", f"{card.images:,}"), *summary_of(card.about)],
        tables=[*_average_tables(card), _spread_table(card), _gain_table(card), _worst_table(card)],
        measures={name: MEASURES[name] for name in card.measures},
        settings=_setting_sentences(card),
        notes=[
            *card.notes(),
            f"Pictures larger than 256 pixels are JPEG of quality {JPEG_QUALITY} in this page; "
            "numbers are not measured on them.",
        ],
        charts=[charts.lay_out(chart) for chart in _charts(card)],
        pictures=[_shown(card, triple, kinds.get(triple.index, "")) for triple in triples],
        pixelated=any(max(triple.blurred.shape[:2]) < _SMALL for triple in triples),
    )
    OutputFolder(directory).write_text(PAGE, page)
    return files.join(directory, PAGE)


def choose(card: FullCard, each: int = 3) -> dict[str, list[int]]:
    """Picks the images that gained most, least, and about the median, under `card.primary`.

    Returns:
        Places in the split by kind, `best`, `median` and `worst`; none is picked twice.
    """
    return choose_by_gain(card.primary_gain(), each)


def _average_tables(card: FullCard) -> list[dict[str, Any]]:
    tables = []
    for region in card.regions:
        _, rows = card.cells(region)
        caption = f"Means over the split: {card.region_name(region)}"
        columns = card.measured_in(region)
        tables.append({"caption": caption, "columns": columns, "rows": rows, "head": ""})
    return tables


def _spread_table(card: FullCard) -> dict[str, Any]:
    """Returns the spread of the primary setting's values over the images."""
    found = {m: Summary.of(card.column(card.primary, m)) for m in card.measures}
    parts = {
        "mean": "mean",
        "median": "median",
        "standard deviation": "deviation",
        "5% are below": "low",
        "5% are above": "high",
        "lowest": "least",
        "highest": "most",
    }
    rows = [
        [name, *(number(getattr(found[m], part), m) for m in card.measures)]
        for name, part in parts.items()
    ]
    caption = f"Spread over the images: {card.primary.label}, whole images"
    return {"caption": caption, "columns": card.measures, "rows": rows, "head": ""}


def _gain_table(card: FullCard) -> dict[str, Any]:
    gain = card.gains(card.primary)
    rows = []
    for name, field in (("by image", "by_image"), ("by scene", "by_scene")):
        # In two rows: intervals side by side are wider than a page.
        for place, end in enumerate(("from", "to")):
            cells = [f"95% {name}, {end}"]
            for measure, found in gain.items():
                ends = getattr(found, field)
                decimals = MEASURES[measure].decimals
                cells.append("-" if ends is None else f"{ends[place]:+.{decimals}f}")
            rows.append(cells)
    means = [
        f"{found.mean:+.{MEASURES[m].decimals}f}" if found.count else "-"
        for m, found in gain.items()
    ]
    shares = [f"{f.share_better:.0%}" if f.count else "-" for f in gain.values()]
    rows = [["mean gain", *means], *rows, ["images better than their input", *shares]]
    caption = f"Gain over the input, with 95% intervals: {card.primary.label}, whole images"
    return {"caption": caption, "columns": card.measures, "rows": rows, "head": ""}


def _worst_table(card: FullCard) -> dict[str, Any]:
    setting, worst = card.primary, card.worst()
    gain = card.primary_gain()
    rows = [
        [
            f"{card.scenes[i]} / {card.frames[i]} ({gain[i]:+.2f} dB)",
            *(number(float(card.column(setting, m)[i]), m) for m in card.measures),
        ]
        for i in worst
    ]
    caption = f"The {len(worst)} images that gained least PSNR: {setting.label}"
    return {"caption": caption, "columns": card.measures, "rows": rows, "head": "scene / frame"}


def _setting_sentences(card: FullCard) -> list[tuple[str, str]]:
    states = {setting.state for setting in card.values}
    found = [(STATE_NAMES[state], text) for state, text in STATES.items() if state in states]
    return [*found, *((name, text) for name, text in VALUES.items())]


def _charts(card: FullCard) -> list[Chart]:
    setting = card.primary
    before = card.column(setting.baseline, "psnr")
    gain = card.primary_gain()
    there = ~np.isnan(gain)
    names = [f"{s} / {f}" for s, f, t in zip(card.scenes, card.frames, there, strict=True) if t]

    def against(title: str, x: np.ndarray, label: str) -> Chart:
        points = [(float(a), float(b)) for a, b in zip(x[there], gain[there], strict=True)]
        return Chart(
            title,
            {"images": points},
            x_label=label,
            y_label="dB gained",
            levels={"no gain": 0.0},
            kind="dots",
            names={"images": names},
        )

    found = [
        Chart(
            "PSNR of the images",
            {
                STATE_NAMES[BLURRED]: charts.histogram(list(before)),
                setting.label: charts.histogram(list(card.column(setting, "psnr"))),
            },
            x_label="dB",
            y_label="images",
            kind="bars",
        ),
        Chart(
            "Gain in PSNR",
            {"images": charts.histogram(list(gain))},
            x_label="dB gained",
            y_label="images",
            kind="bars",
        ),
        against("Gain against the input's PSNR", before, "input's PSNR, dB"),
        against(
            "Gain against the input's blur",
            card.lost_gradient,
            "share of the truth's gradient that the input lost",
        ),
    ]
    found[1:1] = [
        _before_and_after(card, measure)
        for measure in card.measures
        if measure == "ssim_gaussian" or measure.startswith(LPIPS)
    ]
    return found


def _before_and_after(card: FullCard, measure: str) -> Chart:
    """Returns how a measure's values lie before and after restoration."""
    setting, about = card.primary, MEASURES[measure]
    return Chart(
        f"{about.title} of the images",
        {
            name: charts.histogram(list(card.column(part, measure)))
            for name, part in ((STATE_NAMES[BLURRED], setting.baseline), (setting.label, setting))
        },
        x_label=about.title.split()[0] + ("" if about.higher_is_better else ", lower is better"),
        y_label="images",
        kind="bars",
    )


def _shown(card: FullCard, triple: Triple, kind: str) -> Shown:
    setting, index = card.primary, triple.index

    def label(name: str, part: Any) -> str:
        psnr = float(card.values[part]["psnr"][index])
        return f"{name} {min(psnr, CEILING_DB):.2f} dB" if math.isfinite(psnr) else name

    return Shown(
        index,
        f"{kind.capitalize()}: " * bool(kind) + f"{triple.scene} / {triple.frame}",
        {
            label("blurred", setting.baseline): address(triple.blurred),
            label(STATE_NAMES[setting.state], setting): address(to_uint8(triple.restored)),
            "truth": address(triple.sharp),
        },
    )
