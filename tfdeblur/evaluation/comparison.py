"""Full score cards side by side: one table, paired differences, the same images beside each other.

Runs are compared image by image on the same split, so what is hard for all of them cancels: a
paired interval is much narrower than the intervals of two means.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdeblur.errors import UserError
from tfdeblur.evaluation import pictures
from tfdeblur.evaluation.full_card import (
    BLURRED,
    CARD_JSON,
    STATE_NAMES,
    FullCard,
    Setting,
    better,
    digest_key,
    gain_text,
    lower_is_better,
    number,
    plain,
)
from tfdeblur.evaluation.scores import aligned_table
from tfdeblur.evaluation.statistics import Gain, Summary, gains
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics.protocols import MEASURES
from tfdeblur.reports import charts, pages
from tfdeblur.reports.charts import Chart

COMPARISON_JSON = "comparison.json"
PAGE = "comparison.html"
_ENDS = ("by image, from", "by image, to", "by scene, from", "by scene, to")
_IDENTITY = ("model", "from", "images_seen", "weights_sha256", "configuration_sha256")


def find_card(path: str, name: str = "") -> str:
    """Finds the folder of a run's full score card.

    Args:
        path: A work directory, a folder of an evaluation, or a `card.json`.
        name: Folder inside the work directory's `evaluation`, such as `gopro-test`; wanted where
            there are several.

    Raises:
        UserError: There is none, or several.
    """
    path = path.rstrip("/")
    if files.base_name(path) == CARD_JSON:
        path = files.parent(path)
    if files.exists(files.join(path, CARD_JSON)):
        return path
    root = files.join(path, "evaluation")
    inside = files.list_dir(root) if files.is_dir(root) else []
    found = [part for part in inside if files.exists(files.join(root, part, CARD_JSON))]
    chosen = [part for part in found if part == name] if name else found
    if len(chosen) == 1:
        return files.join(root, chosen[0])
    if not chosen:
        have = f" It was judged on {', '.join(found)}." if found else ""
        raise UserError(
            f"{path} holds no full score card{f' of {name}' if name else ''}.{have} Judge it with "
            "`python -m tfdeblur.evaluate --full` first."
        )
    raise UserError(
        f"{path} was judged on {', '.join(chosen)}. Choose with --data and --split, or name the "
        "folder itself."
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Several runs on one split.

    Attributes:
        labels: What the runs are called; no two alike.
        cards: Their score cards. The others are compared with the first.
        folders: Where those lie.
    """

    labels: Sequence[str]
    cards: Sequence[FullCard]
    folders: Sequence[str]

    @classmethod
    def of(cls, folders: Sequence[str]) -> "Comparison":
        """Reads score cards and checks that they are of the same images.

        Raises:
            UserError: Fewer than two, or of different images.
        """
        if len(folders) < 2:
            raise UserError("compare: name at least two runs that were judged with --full.")
        cards = [FullCard.load(folder) for folder in folders]
        for folder, card in zip(folders[1:], cards[1:], strict=True):
            if _images(card) != _images(cards[0]):
                raise UserError(
                    f"{folder} and {folders[0]} are not of the same images. Judge both with the "
                    "same --data, --split and --limit."
                )
        return cls(_labels(cards), cards, folders)

    @property
    def measures(self) -> list[str]:
        """The measures that all runs have, with one set of weights where they need some."""
        return [measure for measure in self._common() if not self._differ(measure)]

    def measured_in(self, region: str) -> list[str]:
        """Returns those of `measures` that a region has."""
        found = self.cards[0].measured_in(region)
        return [measure for measure in self.measures if measure in found]

    def _common(self) -> list[str]:
        first, *others = self.cards
        return [m for m in first.measures if all(m in other.measures for other in others)]

    def _differ(self, measure: str) -> bool:
        return len({card.about.get(digest_key(measure)) for card in self.cards}) > 1

    def notes(self) -> list[str]:
        """Returns what a reader must know of the measures."""
        return [
            *lower_is_better(self.measures),
            *(
                f"{MEASURES[measure].title} is left out: the runs were judged with other weights "
                "of it."
                for measure in self._common()
                if self._differ(measure)
            ),
        ]

    def shared(self) -> list[tuple[str, str]]:
        """Returns the regions and values that all runs were judged under."""
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
        """Returns the averages of all runs, the input first, as texts."""
        found = [["blurred", *self._means(self.cards[0], Setting(BLURRED, "uint8", region))]]
        for label, card in zip(self.labels, self.cards, strict=True):
            for setting in card.values:
                if setting.state == BLURRED or (setting.region, setting.values) != (region, values):
                    continue
                converted = setting.state != "restored"
                name = f"{label}, TLC" if converted else label
                found.append([name, *self._means(card, setting)])
        return found

    def _means(self, card: FullCard, setting: Setting) -> list[str]:
        measures = self.measured_in(setting.region)
        return [number(Summary.of(card.column(setting, m)).mean, m) for m in measures]

    def paired(self) -> dict[str, dict[str, Gain]]:
        """Returns by run, but for the first, how much better it is than the first, by measure.

        Whole images, float, each run with its local converter where it has one.
        """
        first = self.cards[0]
        found = {}
        for label, card in zip(self.labels[1:], self.cards[1:], strict=True):
            difference = np.stack(
                [
                    better(m) * (card.column(card.primary, m) - first.column(first.primary, m))
                    for m in self.measures
                ],
                axis=1,
            )
            found[label] = dict(zip(self.measures, gains(difference, first.scenes), strict=True))
        return found

    def table(self) -> str:
        """Returns everything as aligned text for a terminal."""
        parts = []
        for region, values in self.shared():
            titles = [MEASURES[measure].title for measure in self.measured_in(region)]
            header = [f"{self.cards[0].region_name(region)}, {values}", *titles]
            parts.append(aligned_table(header, self.rows(region, values), []))
        lines = [
            f"{label} against {self.labels[0]}, {MEASURES[m].title}: {gain_text(gain, m)}"
            for label, found in self.paired().items()
            for m, gain in found.items()
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
                            m: plain(Summary.of(card.column(setting, m))) for m in self.measures
                        }
                        for setting in card.values
                    },
                }
                for label, folder, card in zip(self.labels, self.folders, self.cards, strict=True)
            ],
            "images": self.cards[0].images,
            "against": self.labels[0],
            "differences": {
                label: {m: plain(gain) for m, gain in found.items()}
                for label, found in self.paired().items()
            },
        }


def write(compared: Comparison, directory: str) -> str:
    """Writes `comparison.json` and `comparison.html`; returns the page's path.

    Raises:
        UserError: They cannot be written.
    """
    OutputFolder(directory).write_json(COMPARISON_JSON, compared.to_dict())
    first = compared.cards[0]
    tables = [
        {
            "caption": f"Means: {first.region_name(region)}, {values}",
            "columns": compared.measured_in(region),
            "rows": compared.rows(region, values),
            "head": "",
        }
        for region, values in compared.shared()
    ]
    page = pages.render(
        "card.html.j2",
        title=f"{len(compared.cards)} runs on {first.images:,} images",
        subtitle=f"Compared with {compared.labels[0]}",
        summary=[
            (label, str(card.about.get("weights_sha256", ""))[:12])
            for label, card in zip(compared.labels, compared.cards, strict=True)
        ],
        tables=[*tables, *_difference_tables(compared)],
        measures={name: MEASURES[name] for name in compared.measures},
        settings=[],
        notes=[
            "Differences are paired, image by image: whole images, float, each run with its "
            "local converter where it has one. An interval that holds 0 tells no difference.",
            *first.notes()[:2],
            *compared.notes(),
            f"Pictures larger than 256 pixels are JPEG of quality {pictures.JPEG_QUALITY}.",
        ],
        charts=[charts.lay_out(chart) for chart in _charts(compared)],
        pictures=_shown(compared),
        pixelated=False,
    )
    OutputFolder(directory).write_text(PAGE, page)
    return files.join(directory, PAGE)


def _difference_tables(compared: Comparison) -> list[dict[str, Any]]:
    tables = []
    for label, found in compared.paired().items():
        rows = [["mean"], *([f"95% {name}"] for name in _ENDS), ["images better"]]
        for measure, gain in found.items():
            decimals = MEASURES[measure].decimals
            rows[0].append(f"{gain.mean:+.{decimals}f}" if gain.count else "-")
            ends = [*(gain.by_image or (None, None)), *(gain.by_scene or (None, None))]
            for row, end in zip(rows[1:-1], ends, strict=True):
                row.append("-" if end is None else f"{end:+.{decimals}f}")
            rows[-1].append(f"{gain.share_better:.0%}" if gain.count else "-")
        tables.append(
            {
                "caption": f"How much better {label} is than {compared.labels[0]}",
                "columns": compared.measures,
                "rows": rows,
                "head": "",
            }
        )
    return tables


def _charts(compared: Comparison) -> list[Chart]:
    first = compared.cards[0]
    base = first.column(first.primary, "psnr")
    there = ~np.isnan(base)
    names = [f"{s} / {f}" for s, f, t in zip(first.scenes, first.frames, there, strict=True) if t]
    series = {}
    for label, card in zip(compared.labels[1:], compared.cards[1:], strict=True):
        found = card.column(card.primary, "psnr") - base
        series[label] = [
            (float(x), float(y)) for x, y in zip(base[there], found[there], strict=True)
        ]
    return [
        Chart(
            f"PSNR against {compared.labels[0]}",
            series,
            x_label=f"{compared.labels[0]}, dB",
            y_label="dB more",
            levels={"no difference": 0.0},
            kind="dots",
            names=dict.fromkeys(series, names),
        )
    ]


def _shown(compared: Comparison) -> list[pictures.Shown]:
    """Returns the images whose pictures all runs have kept."""
    common = set.intersection(*(pictures.stored(folder) for folder in compared.folders))
    first = compared.cards[0]
    found = []
    for index in sorted(common):
        states = {
            STATE_NAMES[BLURRED]: pictures.address(
                pictures.read(compared.folders[0], index, "blurred")
            )
        }
        for label, card, folder in zip(
            compared.labels, compared.cards, compared.folders, strict=True
        ):
            psnr = float(card.column(card.primary, "psnr")[index])
            name = label if np.isnan(psnr) else f"{label} {psnr:.2f} dB"
            states[name] = pictures.address(pictures.read(folder, index, "restored"))
        states["truth"] = pictures.address(pictures.read(compared.folders[0], index, "sharp"))
        caption = f"{first.scenes[index]} / {first.frames[index]}"
        found.append(pictures.Shown(index, caption, states))
    return found


def _images(card: FullCard) -> tuple[Any, ...]:
    about = card.about
    return (
        about.get("data_fingerprint", ""),
        about.get("split", ""),
        tuple(card.scenes),
        tuple(card.frames),
    )


def _labels(cards: Sequence[FullCard]) -> list[str]:
    """Returns a short name for each run: its folder's, and a number where two are alike."""
    names = [files.base_name(str(card.about.get("from", ""))) or "run" for card in cards]
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]
