"""Compares full score cards: means, paired differences and pictures side by side.

Runs are compared image by image on the same split, so what is hard for all of them cancels: a
paired interval is much narrower than the intervals of two means.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.errors import UserError
from tfdeblur.evaluation import pictures
from tfdeblur.evaluation.given_pictures import GivenPictures
from tfdeblur.evaluation.page import gain_rows, headers
from tfdeblur.evaluation.results import find_evaluation, unique_labels
from tfdeblur.evaluation.scores import (
    BLURRED,
    FULL_FILES,
    RESTORED,
    STATE_NAMES,
    ScoreCard,
    Setting,
    conditions,
    gain_text,
    lower_is_better,
)
from tfdeblur.evaluation.statistics import Gain, Summary, gains
from tfdeblur.evaluation.tables import aligned_table, plain
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics import METRICS
from tfdeblur.reports import pages
from tfdeblur.reports.charts import Chart, FigureFormat
from tfdeblur.reports.pages import PictureRow, Table

COMPARISON_JSON = "comparison.json"
PAGE = "comparison.html"
NAMES = (COMPARISON_JSON, PAGE, pages.figures_folder(PAGE))
_IDENTITY = ("model", "from", "images_seen", "weights_sha256", "configuration_sha256")


def find_card(path: str, name: str = "") -> str:
    """Finds the folder of a run's full score card; see `results.find_evaluation`."""
    return find_evaluation(path, name, (FULL_FILES.json,))


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Several runs on one split.

    Attributes:
        labels: Unique names of the runs.
        cards: Their score cards. The others are compared with the first.
        folders: Folders of the cards, or of pictures that another program made.
        given: Those pictures by folder.
    """

    labels: Sequence[str]
    cards: Sequence[ScoreCard]
    folders: Sequence[str]
    given: Mapping[str, GivenPictures] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls, folders: Sequence[str], given: Mapping[str, GivenPictures] | None = None
    ) -> "Comparison":
        """Reads score cards and checks that they cover the same images.

        Args:
            folders: Folders of score cards, and keys of `given`.
            given: Measured pictures of other programs by folder.

        Raises:
            UserError: There are fewer than two, or they cover different images.
        """
        if len(folders) < 2:
            raise UserError(
                "compare: name at least two runs that were evaluated with --full, or one and a "
                "folder of pictures."
            )
        given = given or {}
        cards = [
            given[folder].card if folder in given else ScoreCard.load(folder) for folder in folders
        ]
        for folder, card in zip(folders[1:], cards[1:], strict=True):
            if _images(card) != _images(cards[0]):
                raise UserError(
                    f"{folder} and {folders[0]} do not cover the same images. Evaluate both with "
                    "the same --data, --split and --limit."
                )
        names = [files.base_name(str(card.about.get("from", ""))) or "run" for card in cards]
        return cls(unique_labels(names), cards, folders, given)

    @property
    def metrics(self) -> list[str]:
        """The metrics that all runs have, computed with the same weights and reach if any."""
        return [metric for metric in self._common() if not self._conditions_differ(metric)]

    def measured_in(self, region: str) -> list[str]:
        """Returns those of `metrics` that a region has."""
        found = self.cards[0].measured_in(region)
        return [metric for metric in self.metrics if metric in found]

    def _common(self) -> list[str]:
        first, *others = self.cards
        return [m for m in first.compared if all(m in other.metrics for other in others)]

    def _conditions_differ(self, metric: str) -> bool:
        keys = conditions(metric)
        return len({tuple(card.about.get(key) for key in keys) for card in self.cards}) > 1

    def notes(self) -> list[str]:
        """Returns the notes printed below the table."""
        return [
            *lower_is_better(self.metrics),
            *(
                f"{METRICS[metric].title} is omitted: the runs were evaluated with other "
                "weights of the metric, another --max-shift or other --targets."
                for metric in self._common()
                if self._conditions_differ(metric)
            ),
            *(
                f"{label}: {note}"
                for label, card in zip(self.labels, self.cards, strict=True)
                if (note := card.tiles_note())
            ),
            *(
                f"{label}: pictures in {folder}, made by another program and measured as they are, "
                "so its rows for float and uint8 are equal."
                for label, folder in zip(self.labels, self.folders, strict=True)
                if folder in self.given
            ),
        ]

    def shared(self) -> list[tuple[str, str]]:
        """Returns the regions and values that all runs were evaluated on."""
        first, *others = [
            list(dict.fromkeys((s.region, s.values) for s in card.values if s.state != BLURRED))
            for card in self.cards
        ]
        crops = len({card.about.get("crop") for card in self.cards}) == 1
        return [
            (region, values)
            for region, values in first
            if all((region, values) in other for other in others) and (region == "whole" or crops)
        ]

    def rows(self, region: str, values: str) -> list[list[str]]:
        """Returns the means of the input and of all runs as texts."""
        found = [["blurred", *self._means(self.cards[0], Setting(BLURRED, "uint8", region))]]
        for label, card in zip(self.labels, self.cards, strict=True):
            for setting in card.settings(region):
                if setting.state != BLURRED and setting.values == values:
                    name = label if setting.state == RESTORED else f"{label}, TLC"
                    found.append([name, *self._means(card, setting)])
        return found

    def _means(self, card: ScoreCard, setting: Setting) -> list[str]:
        means = card.means(setting)
        return [METRICS[metric].text(means[metric]) for metric in self.measured_in(setting.region)]

    def paired(self) -> dict[str, dict[str, Gain]]:
        """Returns by run and metric how much better each run is than the first.

        On whole images, float, with the local converter if the run has one.
        """
        first = self.cards[0]
        found = {}
        for label, card in zip(self.labels[1:], self.cards[1:], strict=True):
            difference = np.stack(
                [
                    METRICS[metric].sign
                    * (card.column(card.primary, metric) - first.column(first.primary, metric))
                    for metric in self.metrics
                ],
                axis=1,
            )
            found[label] = dict(zip(self.metrics, gains(difference, first.scenes), strict=True))
        return found

    def table(self) -> str:
        """Returns everything as aligned text for a terminal."""
        parts = []
        for region, values in self.shared():
            caption = f"{self.cards[0].region_name(region)}, {values}"
            header = headers(self.measured_in(region), caption)
            parts.append(aligned_table(header, self.rows(region, values)))
        lines = [
            f"{label} against {self.labels[0]}, {METRICS[metric].header}: {gain_text(gain, metric)}"
            for label, found in self.paired().items()
            for metric, gain in found.items()
            if gain.count
        ]
        return "\n\n".join([*parts, "\n".join([*lines, *self.notes()])])

    def to_dict(self) -> dict[str, Any]:
        """Returns the runs, their means and their paired differences as plain values."""
        return {
            "runs": [
                {
                    "label": label,
                    "folder": folder,
                    **{name: card.about.get(name) for name in _IDENTITY},
                    "averages": {
                        setting.key: {
                            metric: plain(
                                dataclasses.asdict(Summary.of(card.column(setting, metric)))
                            )
                            for metric in self.metrics
                        }
                        for setting in card.values
                    },
                }
                for label, folder, card in zip(self.labels, self.folders, self.cards, strict=True)
            ],
            "images": self.cards[0].images,
            "against": self.labels[0],
            "differences": {
                label: {metric: plain(dataclasses.asdict(gain)) for metric, gain in found.items()}
                for label, found in self.paired().items()
            },
        }


def write(compared: Comparison, directory: str, figures: FigureFormat | None = None) -> str:
    """Writes `comparison.json` and `comparison.html`.

    Args:
        compared: The comparison.
        directory: The output folder.
        figures: Format in which the chart is also written as a file.

    Returns:
        Path of the page.

    Raises:
        UserError: A file cannot be written.
    """
    OutputFolder(directory).write_json(COMPARISON_JSON, compared.to_dict())
    first = compared.cards[0]
    means = [
        Table(
            headers(compared.measured_in(region)),
            compared.rows(region, values),
            f"Means: {first.region_name(region)}, {values}",
        )
        for region, values in compared.shared()
    ]
    columns = headers(compared.metrics)
    differences = [
        Table(columns, gain_rows(found), f"Gain of {label} over {compared.labels[0]}")
        for label, found in compared.paired().items()
    ]
    return pages.write(
        directory,
        PAGE,
        f"{len(compared.cards)} runs on {first.images:,} images",
        figures=figures,
        charts=[_chart(compared)],
        subtitle=f"Compared with {compared.labels[0]}",
        summary=[
            (label, str(card.about.get("weights_sha256", ""))[:12])
            for label, card in zip(compared.labels, compared.cards, strict=True)
        ],
        tables=[*means, *differences],
        measures=[METRICS[metric] for metric in compared.metrics],
        notes=[
            "Differences are paired, image by image: whole images, float, each run with its "
            "local converter if it has one. An interval that contains 0 shows no difference.",
            *first.notes()[:2],
            *compared.notes(),
            f"Pictures larger than 256 pixels are JPEG of quality {pictures.JPEG_QUALITY}.",
        ],
        pictures=_shown(compared),
        slider=True,
    )


def _chart(compared: Comparison) -> Chart:
    first = compared.cards[0]
    base = first.column(first.primary, "psnr_db")
    known = ~np.isnan(base)
    names = [f"{s} / {f}" for s, f, k in zip(first.scenes, first.frames, known, strict=True) if k]
    series = {}
    for label, card in zip(compared.labels[1:], compared.cards[1:], strict=True):
        found = card.column(card.primary, "psnr_db") - base
        points = zip(base[known], found[known], strict=True)
        series[label] = [(float(x), float(y)) for x, y in points]
    return Chart(
        f"PSNR against {compared.labels[0]}",
        series,
        x_label=f"{compared.labels[0]}, dB",
        y_label="gain in dB",
        levels={"no difference": 0.0},
        kind="dots",
        names=dict.fromkeys(series, names),
    )


def _shown(compared: Comparison) -> list[PictureRow]:
    """Returns the images whose pictures all runs have."""
    given = compared.given
    stored = [pictures.stored(folder) for folder in compared.folders if folder not in given]
    common = set.intersection(*stored)
    runs = list(zip(compared.labels, compared.cards, compared.folders, strict=True))
    _, first, folder = runs[0]
    return [
        (
            f"{first.scenes[index]} / {first.frames[index]}",
            {
                STATE_NAMES[BLURRED]: pictures.read(folder, index, "blurred"),
                **{
                    _picture_label(label, card, index): (
                        pictures.address(given[run].pictures.read(index))
                        if run in given
                        else pictures.read(run, index, "restored")
                    )
                    for label, card, run in runs
                },
                "sharp": pictures.read(folder, index, "sharp"),
            },
        )
        for index in sorted(common)
    ]


def _picture_label(label: str, card: ScoreCard, index: int) -> str:
    psnr = float(card.column(card.primary, "psnr_db")[index])
    return label if np.isnan(psnr) else f"{label} {psnr:.2f} dB"


def _images(card: ScoreCard) -> tuple[Any, ...]:
    about = card.about
    return (
        about.get("data_fingerprint", ""),
        about.get("split", ""),
        tuple(card.scenes),
        tuple(card.frames),
    )
