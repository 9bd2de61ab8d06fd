"""The full score card: one split under every protocol that papers use, image by image.

It is written as `card.json` (averages, spreads, intervals, where they come from) and `card.csv`
(every value of every image), and read again from the two to compare runs.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.errors import DataError
from tfdeblur.evaluation.scores import CEILING_DB, aligned_table, csv_text, finite_or_none
from tfdeblur.evaluation.statistics import CONFIDENCE, RESAMPLES, SEED, Gain, Summary, gains
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics.protocols import MEASURES

CARD_JSON = "card.json"
CARD_CSV = "card.csv"
FORMAT_VERSION = 1

BLURRED, RESTORED, CONVERTED = "blurred", "restored", "restored_tlc"
STATE_NAMES = {BLURRED: "blurred", RESTORED: "restored", CONVERTED: "restored with TLC"}
VALUE_NAMES = {"float": "float", "uint8": "rounded uint8"}
_WORST = 10

# What `to_dict` adds to `about`.
_COMPUTED = {"format", "images", "differing", "settings", "worst", "seconds", "ceiling_db"}
_COMPUTED |= {"bootstrap", "protocols"}

STATES = {
    BLURRED: "The input itself, which is uint8 whatever is done with the output.",
    RESTORED: "The network as it was trained.",
    CONVERTED: (
        "The network with the test-time local converter: its pooling is cut to a window, which "
        "changes no weight."
    ),
}
VALUES = {
    "float": "Float32 on [0, 1], clipped to it, not rounded.",
    "uint8": "Rounded to the 256 levels of a file, half to even, then measured in float32.",
}


@dataclasses.dataclass(frozen=True, order=True)
class Setting:
    """Under which circumstances measures are taken.

    Attributes:
        state: `blurred`, `restored`, or `restored_tlc`.
        values: `float` or `uint8`; `uint8` for `blurred`, which is that.
        region: `whole`, `crops` or `center`.
    """

    state: str
    values: str
    region: str

    @property
    def key(self) -> str:
        """Its name in files."""
        return f"{self.state}/{self.values}/{self.region}"

    @property
    def label(self) -> str:
        """Its name in words, without the region."""
        if self.state == BLURRED:
            return STATE_NAMES[self.state]
        return f"{STATE_NAMES[self.state]}, {VALUE_NAMES[self.values]}"

    @property
    def baseline(self) -> "Setting":
        """The input under the same circumstances."""
        return Setting(BLURRED, "uint8", self.region)


@dataclasses.dataclass(frozen=True, eq=False)
class FullCard:
    """Everything that was measured over one split.

    Attributes:
        values: For each setting, each measure's values, float64 [images] in the split's order.
        differs: bool [images]; whether the input differs from the truth at all.
        lost_gradient: float64 [images]; how blurred each input is, see
            `tfdeblur.metrics.protocols.lost_gradient`.
        scenes: Scene of each image.
        frames: Frame of each image within its scene.
        seconds: By state, a network's seconds an image, one number for each batch but the first.
        about: Where the numbers come from: data, checkpoint, their hashes, sizes of crops.
    """

    values: Mapping[Setting, Mapping[str, np.ndarray]]
    differs: np.ndarray
    lost_gradient: np.ndarray
    scenes: Sequence[str]
    frames: Sequence[str]
    seconds: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many images were judged."""
        return len(self.differs)

    @property
    def primary(self) -> Setting:
        """The setting that pictures are chosen by: whole images, float, with TLC if there is."""
        tlc = Setting(CONVERTED, "float", "whole")
        return tlc if tlc in self.values else Setting(RESTORED, "float", "whole")

    @property
    def regions(self) -> list[str]:
        """The regions that were measured, whole images first."""
        return list(dict.fromkeys(setting.region for setting in self.values))

    @property
    def measures(self) -> list[str]:
        """The measures of whole images, in the order of `MEASURES`."""
        return list(self.values[self.primary])

    def measured_in(self, region: str) -> list[str]:
        """Returns those of `measures` that a region has; crops may be too small for some."""
        settings = [setting for setting in self.values if setting.region == region]
        return [m for m in self.measures if any(m in self.values[s] for s in settings)]

    def column(self, setting: Setting, measure: str) -> np.ndarray:
        """Returns a measure's values as they are averaged, float64 [images].

        PSNRs are NaN where the input equals the truth, and `CEILING_DB` at most; all are NaN where
        the setting lacks the measure.
        """
        found = self.values[setting].get(measure)
        if found is None:
            return np.full(self.images, np.nan)
        if measure.startswith("psnr"):
            return np.where(self.differs, np.minimum(found, CEILING_DB), np.nan)
        return found

    def differences(self, setting: Setting) -> np.ndarray:
        """Returns how much better each image is than its input, [images, measures]."""
        before = setting.baseline
        return np.stack(
            [
                better(measure) * (self.column(setting, measure) - self.column(before, measure))
                for measure in self.measures
            ],
            axis=1,
        )

    def gains(self, setting: Setting) -> dict[str, Gain]:
        """Returns by measure the mean gain over the input and its intervals."""
        found = gains(self.differences(setting), self.scenes)
        return dict(zip(self.measures, found, strict=True))

    def primary_gain(self) -> np.ndarray:
        """Returns how many dB each image gained under `primary`, [images]; NaN where nothing."""
        return self.differences(self.primary)[:, self.measures.index("psnr")]

    def worst(self, count: int = _WORST) -> list[int]:
        """Returns the places of the images that gained least in PSNR, the least first."""
        gain = self.primary_gain()
        return [int(i) for i in np.argsort(gain, kind="stable") if not np.isnan(gain[i])][:count]

    def cells(self, region: str) -> tuple[list[str], list[list[str]]]:
        """Returns the header and the rows of one region's averages as texts."""
        settings = [setting for setting in self.values if setting.region == region]
        measures = self.measured_in(region)
        header = ["", *(MEASURES[measure].title for measure in measures)]
        rows = []
        for setting in settings:
            means = [Summary.of(self.column(setting, measure)).mean for measure in measures]
            texts = [number(v, m) for v, m in zip(means, measures, strict=True)]
            rows.append([setting.label, *texts])
        return header, rows

    def region_name(self, region: str) -> str:
        """Returns what is measured, in a few words."""
        size = self.about.get("crop", "")
        return {
            "whole": "whole images",
            "crops": f"crops of {size}, each restored by itself",
            "center": f"the middle {size}, restored by itself",
        }[region]

    def notes(self) -> list[str]:
        """Returns what a reader must know to compare these numbers with others."""
        differing = int(np.count_nonzero(self.differs))
        notes = [
            f"{self.images:,} images; PSNR averages over the {differing:,} whose input is not the "
            f"truth, and an image above {CEILING_DB:.0f} dB counts as that.",
            f"Intervals: {CONFIDENCE:.0%} bootstrap, {RESAMPLES:,} resamples, seed {SEED}.",
        ]
        if "crops" in self.regions:
            notes.append(
                "Crops lie on a grid from the top left corner; what does not fill one is left out. "
                "They are cut before the network, so it does not see what is around them; an "
                "image counts with the mean of its crops."
            )
        if CONVERTED in {setting.state for setting in self.values}:
            notes.append(f"TLC: pooling over windows of {self.about.get('tlc_window')} pixels.")
        notes.extend(self._lpips_notes())
        for state, seconds in self.seconds.items():
            found = Summary.of(np.array(seconds))
            name = STATE_NAMES[state]
            notes.append(
                f"Time, {name}: {found.median:.3g} s an image (median of {found.count} batches "
                f"of {self.about.get('batch_size')}, the first left out), "
                f"{self.about.get('device', '')}."
                if found.count
                else f"Time, {name}: not known, as there was one batch only."
            )
        return notes

    def _lpips_notes(self) -> list[str]:
        notes = lower_is_better(self.measures)
        if notes and len(self.regions) > 1:
            notes.append("LPIPS is measured of whole images only.")
        for measure in self.measures:
            unknown = self.about.get(weights_key(measure), {}).get("not recognized")
            if unknown:
                notes.append(
                    f"{MEASURES[measure].title}: not the published files, by their SHA-256: "
                    f"{unknown}. Compare with other people's figures only if you know that the "
                    "weights are the same."
                )
        return notes

    def table(self) -> str:
        """Returns the card as aligned text for a terminal."""
        parts = []
        for region in self.regions:
            header, rows = self.cells(region)
            parts.append(aligned_table([self.region_name(region), *header[1:]], rows, []))
        lines = []
        for measure, gain in self.gains(self.primary).items():
            if gain.count:
                lines.append(f"Gain in {MEASURES[measure].title}: {gain_text(gain, measure)}")
        return "\n\n".join([*parts, "\n".join([*lines, *self.notes()])])

    def to_dict(self) -> dict[str, Any]:
        """Returns all but the single images' values as plain values; None stands for undefined."""
        settings = []
        for setting in self.values:
            gain = {} if setting.state == BLURRED else self.gains(setting)
            settings.append(
                {
                    **dataclasses.asdict(setting),
                    "averages": {
                        measure: plain(Summary.of(self.column(setting, measure)))
                        for measure in self.values[setting]
                    },
                    "gains": {m: plain(gain[m]) for m in self.values[setting] if m in gain},
                }
            )
        return {
            "format": FORMAT_VERSION,
            **self.about,
            "images": self.images,
            "differing": int(np.count_nonzero(self.differs)),
            "settings": settings,
            "worst": [
                {"index": i, "scene": self.scenes[i], "frame": self.frames[i]} for i in self.worst()
            ],
            "seconds": {state: list(values) for state, values in self.seconds.items()},
            "ceiling_db": CEILING_DB,
            "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "confidence": CONFIDENCE},
            "protocols": {
                "measures": {measure: MEASURES[measure].sentence for measure in self.measures},
                "values": VALUES,
                "states": STATES,
            },
        }

    def write(self, directory: str) -> None:
        """Writes `card.json` and `card.csv`.

        Raises:
            UserError: They cannot be written.
        """
        out = OutputFolder(directory)
        lines = [
            {
                "index": index,
                "scene": self.scenes[index],
                "frame": self.frames[index],
                "differs": int(self.differs[index]),
                "lost_gradient": float(self.lost_gradient[index]),
                **{
                    f"{setting.key}/{measure}": float(values[index])
                    for setting, found in self.values.items()
                    for measure, values in found.items()
                },
            }
            for index in range(self.images)
        ]
        out.write_text(CARD_CSV, csv_text(lines))
        # Last: a folder with it holds both.
        out.write_json(CARD_JSON, self.to_dict())

    @classmethod
    def load(cls, directory: str) -> "FullCard":
        """Reads what `write` wrote.

        Raises:
            UserError: A file is missing.
            DataError: They are of another version, or damaged.
        """
        path = files.join(directory, CARD_JSON)
        stored = files.read_json(path)
        if not isinstance(stored, dict) or stored.get("format") != FORMAT_VERSION:
            raise DataError(f"{path} is not a score card of this version. Judge the run again.")
        lines = list(csv.DictReader(io.StringIO(files.read_text(files.join(directory, CARD_CSV)))))
        try:
            return cls._of(stored, lines)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{directory} holds a damaged score card ({error!r}). Judge the run again."
            ) from error

    @classmethod
    def _of(cls, stored: Mapping[str, Any], lines: Sequence[Mapping[str, str]]) -> "FullCard":
        if len(lines) != stored["images"]:
            raise ValueError(f"{len(lines)} lines for {stored['images']} images")

        def column(name: str) -> np.ndarray:
            return np.array([float(line[name]) for line in lines])

        values = {}
        for part in stored["settings"]:
            setting = Setting(part["state"], part["values"], part["region"])
            values[setting] = {m: column(f"{setting.key}/{m}") for m in part["averages"]}
        return cls(
            values=values,
            differs=column("differs") > 0,
            lost_gradient=column("lost_gradient"),
            scenes=[line["scene"] for line in lines],
            frames=[line["frame"] for line in lines],
            seconds=stored["seconds"],
            about={name: value for name, value in stored.items() if name not in _COMPUTED},
        )


def weights_key(measure: str) -> str:
    """Returns the key of `about` under which the files of a measure's weights are named."""
    return f"{measure}_weights"


def digest_key(measure: str) -> str:
    """Returns the key of `about` that holds the SHA-256 of a measure's weights."""
    return f"{measure}_sha256"


def lower_is_better(measures: Sequence[str]) -> list[str]:
    """Returns a sentence on the measures of which less is better; none where there are none."""
    titles = [MEASURES[m].title for m in measures if not MEASURES[m].higher_is_better]
    if not titles:
        return []
    return [f"Lower is better: {' and '.join(titles)}. Their gains are how far they fell."]


def better(measure: str) -> float:
    """Returns 1 where more is better, else -1."""
    return 1.0 if MEASURES[measure].higher_is_better else -1.0


def number(value: float, measure: str) -> str:
    """Returns an average with the decimals of its measure; a dash where it is undefined."""
    return "-" if math.isnan(value) else f"{value:.{MEASURES[measure].decimals}f}"


def gain_text(gain: Gain, measure: str) -> str:
    """Returns a mean gain with its intervals in words."""
    decimals = MEASURES[measure].decimals

    def interval(found: tuple[float, float] | None) -> str:
        if found is None:
            return "-"
        return f"{found[0]:+.{decimals}f} to {found[1]:+.{decimals}f}"

    return (
        f"{gain.mean:+.{decimals}f} (by image {interval(gain.by_image)}, by scene "
        f"{interval(gain.by_scene)}), better in {gain.share_better:.0%} of {gain.count:,} images"
    )


def plain(found: Summary | Gain) -> dict[str, Any]:
    """Returns a summary or a gain as JSON can hold it."""
    return {
        name: finite_or_none(value) if isinstance(value, float) else value
        for name, value in dataclasses.asdict(found).items()
    }
