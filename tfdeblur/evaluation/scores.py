"""The score card of an evaluation: every value of every image, and what follows from them.

It is written as JSON (means, spread, intervals, origin) and CSV (every value of every image), from
which it is read back to compare runs.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.errors import DataError
from tfdeblur.evaluation.statistics import CONFIDENCE, RESAMPLES, SEED, Gain, Summary, gains
from tfdeblur.evaluation.tables import aligned_table, csv_text, plain
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics import CEILING_DB, METRICS
from tfdeblur.reports.pages import figures_folder

FORMAT_VERSION = 2

BLURRED, RESTORED, CONVERTED = "blurred", "restored", "restored_tlc"
STATE_NAMES = {BLURRED: "blurred", RESTORED: "restored", CONVERTED: "restored with TLC"}
STATES = {
    BLURRED: "The input itself, which is uint8 in every row.",
    RESTORED: "The network as it was trained; if it has a pooling window and there is no row with "
    "TLC, with that window.",
    CONVERTED: (
        "The network with the test-time local converter: pooling is limited to a window; no weight "
        "changes."
    ),
}
PICTURES = "pictures"
"""The `model` of a score card of pictures that another program made."""
_GIVEN = "Pictures that another program made, measured as they are."
VALUE_NAMES = {"float": "float", "uint8": "rounded uint8"}
VALUES = {
    "float": "Float32 on [0, 1], clipped, not rounded.",
    "uint8": "Rounded to the 256 levels of a file, half to even, then measured in float32.",
}
REGIONS = ("whole", "crops", "center")
CROPS = (
    "Crops lie on a grid from the top left corner; a remainder that does not fill a crop is "
    "omitted. They are cut before the network, which does not see their surroundings; an image "
    "counts with the mean of its crops."
)
"""How crops are measured, for the notes below a table."""

_WORST = 10

# Up to this number, sizes of images are listed in full.
_NAMED_SIZES = 4

# Keys that `to_dict` adds to `about`.
_COMPUTED = {"format", "images", "differing", "rows", "worse_than_input", "settings", "worst"}
_COMPUTED |= {"seconds", "ceiling_db", "bootstrap", "protocols"}

# Keys of format 1. Its `ssim` was that of `tf.image`, which lost digits to cancellation.
_FORMAT_1 = {"psnr": "psnr_db", "ssim_gaussian": "ssim", "ssim": None}


@dataclasses.dataclass(frozen=True)
class Files:
    """Names of the files of an evaluation.

    Attributes:
        json: Means, spread, intervals and origin.
        csv: Every value of every image.
        column: Format of the names of its columns.
        page: The report.
        pictures: Folder of PNG files.
        embedded: Whether the report contains its pictures, rather than links to them.
        frames: Names of `json` and `csv` of whole frames, without suffix.
        means: CSV of the means; empty for none.
    """

    json: str
    csv: str
    column: str
    page: str
    pictures: str
    embedded: bool
    frames: str
    means: str = ""

    def names(self) -> list[str]:
        """Returns the names of all files and folders."""
        figures = figures_folder(self.page)
        frames = (f"{self.frames}.json", f"{self.frames}.csv")
        names = (self.json, self.csv, *frames, self.means, self.page, self.pictures, figures)
        return [name for name in names if name]


QUICK_FILES = Files(
    json="scores.json",
    csv="images.csv",
    column="{state}_{metric}",
    page="index.html",
    pictures="pictures",
    embedded=False,
    frames="frames",
    means="scores.csv",
)
FULL_FILES = Files(
    json="card.json",
    csv="card.csv",
    column="{state}/{values}/{region}/{metric}",
    page="card.html",
    pictures="card-pictures",
    embedded=True,
    frames="card-frames",
)


@dataclasses.dataclass(frozen=True, order=True)
class Setting:
    """What a value was measured on.

    Attributes:
        state: `blurred`, `restored`, or `restored_tlc`.
        values: `float` or `uint8`; always `uint8` for `blurred`.
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
    def baseline(self) -> "Setting":
        """The input in the same region."""
        return Setting(BLURRED, "uint8", self.region)


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreCard:
    """All scores of one network on one split.

    Attributes:
        values: By setting and metric, float64 [images] in the order of the split.
        differs: bool [images]; whether the input differs from the target; all, if there are no
            inputs.
        lost_gradient: float64 [images]; how blurred each input is, see
            `tfdeblur.evaluation.measuring.lost_gradient`; NaN without inputs.
        scenes: Scene of each image.
        frames: Frame of each image within its scene.
        seconds: By state, seconds per image of each batch.
        about: Origin of the scores, such as data, checkpoint and hashes.
        whole_frames: Scores of whole frames, if the images are tiles of them.
    """

    values: Mapping[Setting, Mapping[str, np.ndarray]]
    differs: np.ndarray
    lost_gradient: np.ndarray
    scenes: Sequence[str]
    frames: Sequence[str]
    seconds: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    whole_frames: "ScoreCard | None" = None

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.differs)

    @property
    def differing(self) -> int:
        """Number of images whose input differs from the target."""
        return int(np.count_nonzero(self.differs))

    @property
    def primary(self) -> Setting:
        """The setting of charts and pictures: whole images, float, with TLC if measured.

        Rounded images for pictures, which have no others.
        """
        kinds = ((CONVERTED, "float"), (RESTORED, "float"), (RESTORED, "uint8"))
        found = (Setting(*kind, "whole") for kind in kinds)
        return next(setting for setting in found if setting in self.values)

    @property
    def regions(self) -> list[str]:
        """The measured regions, whole images first."""
        return list(dict.fromkeys(setting.region for setting in self.values))

    @property
    def metrics(self) -> list[str]:
        """Keys of the metrics of single images, in the order of `METRICS`."""
        return [key for key in METRICS if key in self.values[self.primary]]

    @property
    def compared(self) -> list[str]:
        """Keys of those metrics that compare restored images with their inputs, if any."""
        if self.primary.baseline not in self.values:
            return []
        return [key for key in self.metrics if METRICS[key].comparable]

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """Means over whole images by state, and `exact`, the number of exact restorations.

        A quick metric that was not measured is NaN. A restoration is exact if its input differs
        from the target and its own PSNR exceeds `CEILING_DB`.
        """
        found: dict[str, dict[str, float]] = {}
        for setting, values in self.values.items():
            if setting.region == "whole" and setting.state not in found:
                means = self.means(setting)
                psnr = values.get("psnr_db", np.zeros(self.images))
                found[setting.state] = {
                    **{
                        key: means.get(key, math.nan)
                        for key, metric in METRICS.items()
                        if metric.quick or key in means
                    },
                    "exact": int(np.count_nonzero(psnr[self.differs] > CEILING_DB)),
                }
        return found

    @property
    def states(self) -> dict[str, str]:
        """What each state is."""
        given = self.about.get("model") == PICTURES
        return STATES | ({RESTORED: _GIVEN} if given else {})

    def label(self, setting: Setting) -> str:
        """Returns a setting's name in tables, without the region."""
        name = STATE_NAMES[setting.state]
        kinds = {other.values for other in self.values if other.state != BLURRED}
        if setting.state == BLURRED or len(kinds) < 2:
            return name
        return f"{name}, {VALUE_NAMES[setting.values]}"

    def settings(self, region: str) -> list[Setting]:
        """Returns the settings of a region."""
        return [setting for setting in self.values if setting.region == region]

    def measured_in(self, region: str) -> list[str]:
        """Returns the metrics of a region; crops may be too small for some."""
        found = {key for setting in self.settings(region) for key in self.means(setting)}
        return [key for key in METRICS if key in found]

    def column(self, setting: Setting, metric: str) -> np.ndarray:
        """Returns the values of a metric as they are averaged, float64 [images].

        PSNRs are at most `CEILING_DB`, and NaN if the input equals the target. All are NaN if the
        metric was not measured.
        """
        found = self.values[setting].get(metric)
        if found is None:
            return np.full(self.images, np.nan)
        if METRICS[metric].is_psnr:
            return np.where(self.differs, np.minimum(found, CEILING_DB), np.nan)
        return found

    def means(self, setting: Setting) -> dict[str, float]:
        """Returns the means of a setting by metric, in the order of `METRICS`.

        NaN if any averaged value is NaN, or if all inputs equal their targets for a PSNR.
        """
        found = {}
        for metric in self.values[setting]:
            column = self.column(setting, metric)
            if METRICS[metric].is_psnr:
                column = column[self.differs]
            found[metric] = float(np.mean(column, dtype=np.float64)) if column.size else math.nan
        for key, known in METRICS.items():
            if known.from_means is not None:
                value = known.from_means(found)
                found |= {} if math.isnan(value) else {key: value}
        return {key: found[key] for key in METRICS if key in found}

    def differences(self, setting: Setting) -> np.ndarray:
        """Returns by how much each image is better than its input, [images, compared]."""
        return np.stack(
            [
                METRICS[metric].sign
                * (self.column(setting, metric) - self.column(setting.baseline, metric))
                for metric in self.compared
            ],
            axis=1,
        )

    def gains(self, setting: Setting) -> dict[str, Gain]:
        """Returns the mean gain over the input and its intervals by metric."""
        if not self.compared:
            return {}
        found = gains(self.differences(setting), self.scenes)
        return dict(zip(self.compared, found, strict=True))

    def gains_db(self) -> np.ndarray:
        """Returns the PSNR gain of each image in `primary`, in dB; NaN if its input is exact."""
        return self.differences(self.primary)[:, self.compared.index("psnr_db")]

    def worst(self, count: int = _WORST) -> list[int]:
        """Returns the indices of the images with the lowest PSNR gain, lowest first."""
        if "psnr_db" not in self.compared:
            return []
        gain = self.gains_db()
        return [int(i) for i in np.argsort(gain, kind="stable") if not np.isnan(gain[i])][:count]

    def worse_than_input(self) -> list[str]:
        """Returns the titles of the metrics whose mean in `primary` is worse than the input's."""
        if not self.compared:
            return []
        before, after = self.means(self.primary.baseline), self.means(self.primary)
        return [
            METRICS[key].title
            for key in after
            if METRICS[key].sign * (after[key] - before.get(key, math.nan)) < 0
        ]

    def cells(self, region: str) -> tuple[list[str], list[list[str]]]:
        """Returns the header and the rows of one region's means as texts."""
        metrics = self.measured_in(region)
        rows = []
        for setting in self.settings(region):
            means = self.means(setting)
            texts = [METRICS[key].text(means.get(key, math.nan)) for key in metrics]
            rows.append([self.label(setting), *texts])
        return ["", *(METRICS[key].header for key in metrics)], rows

    def region_name(self, region: str) -> str:
        """Returns a region's name in tables."""
        return region_name(region, self.about)

    def tiles_note(self) -> str:
        """Returns how images were restored in tiles; empty if all were restored whole."""
        about = self.about.get("tiles")
        if not about:
            return ""
        larger = f"of more than {about['max_pixels']:,} pixels"
        if "side" in about:
            larger = f"higher or wider than {about['side']} pixels"
        sizes = f" of {about['sizes']}, sharing {about['overlap']} pixels," * bool(about["sizes"])
        return (
            f"Images and crops {larger} are restored in tiles{sizes} and blended, as in "
            f"tfdeblur.deblur; others whole. {about['divided_images']:,} images were divided."
        )

    def notes(self) -> list[str]:
        """Returns the notes printed below the table: the protocol, and what was left out."""
        which = f" averages over the {self.differing:,} whose input differs from the target, and"
        notes = [
            f"{self.images:,} images; PSNR{which * bool(self.compared)} counts at most "
            f"{CEILING_DB:.0f} dB per image.",
            "Restored images are clipped to [0, 1]; RGB; metrics are computed in float32.",
        ]
        notes += self._size_notes()
        notes += [note for note in [self.tiles_note()] if note]
        if count := self.about.get("incomplete_frames"):
            notes.append(f"{count:,} frames are left out, as not all of their tiles are here.")
        if reason := self.about.get("omitted_loss"):
            notes.append(f"Loss is omitted: {reason}")
        worse = self.worse_than_input()
        if worse:
            notes.append(f"Worse than the blurred input itself in {', '.join(worse)}.")
        exact = self.rows[self.primary.state]["exact"]
        if exact:
            notes.append(f"{exact:,} restored images equal the target but for rounding.")
        if self.compared:
            notes.append(
                f"Intervals: {CONFIDENCE:.0%} bootstrap, {RESAMPLES:,} resamples, seed {SEED}."
            )
        if "crops" in self.regions:
            notes.append(CROPS)
        if CONVERTED in {setting.state for setting in self.values}:
            notes.append(f"TLC: pooling over windows of {self.about.get('tlc_window')} pixels.")
        notes += [*lower_is_better(self.compared), *self._weights_notes(), *self._time_notes()]
        return notes

    def _size_notes(self) -> list[str]:
        sizes = self.about.get("image_sizes", "")
        notes = []
        if sizes:
            notes.append(f"Images of {sizes}; each counts once, whatever its size.")
        for key, reason in self.about.get("omitted_metrics", {}).items():
            if key in METRICS:
                which = "the smallest images are" if sizes else "the images are"
                notes.append(f"{METRICS[key].title} is omitted: it {reason}, and {which} smaller.")
        return notes

    def _weights_notes(self) -> list[str]:
        notes = []
        for key in self.metrics:
            title = METRICS[key].title
            if METRICS[key].whole_images_only and len(self.regions) > 1:
                notes.append(f"{title} is measured on whole images only.")
            unknown = self.about.get(weights_key(key), {}).get("not recognized")
            if unknown:
                notes.append(
                    f"{title}: not the published files, by their SHA-256: {unknown}. Compare with "
                    "published scores only if you know that the weights are the same."
                )
        return notes

    def _time_notes(self) -> list[str]:
        notes = []
        several = "image_sizes" in self.about
        for state, seconds in self.seconds.items():
            found, name = Summary.of(np.array(seconds)), STATE_NAMES[state]
            notes.append(
                f"Time, {name}: {found.median:.3g} s per image (median of {found.count} batches "
                f"of {'up to ' * several}{self.about.get('batch_size')}, without the first"
                f"{' of each size' * several}), "
                f"{self.about.get('device', '')}."
                if found.count
                else f"Time, {name}: unknown, as there was only one batch"
                f"{' of each size' * several}."
            )
        return notes

    def table(self) -> str:
        """Returns the card as aligned text for a terminal."""
        parts = []
        for region in self.regions:
            header, rows = self.cells(region)
            parts.append(aligned_table([self.region_name(region), *header[1:]], rows))
        lines = [
            f"Gain in {METRICS[key].header}: {gain_text(gain, key)}"
            for key, gain in self.gains(self.primary).items()
            if gain.count
        ]
        parts.append("\n".join([*lines, *self.notes()]))
        if self.whole_frames is not None:
            parts.append(self.whole_frames.table())
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but the values of single images; None for undefined values."""
        settings = []
        for setting in self.values:
            gain = {} if setting.state == BLURRED else self.gains(setting)
            settings.append(
                {
                    **dataclasses.asdict(setting),
                    "averages": {
                        key: plain(dataclasses.asdict(Summary.of(self.column(setting, key))))
                        for key in self.values[setting]
                    },
                    "gains": {
                        key: plain(dataclasses.asdict(gain[key]))
                        for key in self.values[setting]
                        if key in gain
                    },
                }
            )
        return {
            "format": FORMAT_VERSION,
            **self.about,
            "images": self.images,
            "differing": self.differing,
            "rows": {state: plain(row) for state, row in self.rows.items()},
            "worse_than_input": self.worse_than_input(),
            "settings": settings,
            "worst": [
                {"index": i, "scene": self.scenes[i], "frame": self.frames[i]} for i in self.worst()
            ],
            "seconds": {state: list(values) for state, values in self.seconds.items()},
            "ceiling_db": CEILING_DB,
            "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "confidence": CONFIDENCE},
            "protocols": {
                "measures": {key: METRICS[key].protocol for key in self.measured_in("whole")},
                "values": VALUES,
                "states": self.states,
                **({"tiles": note} if (note := self.tiles_note()) else {}),
            },
        }

    def write(self, directory: str, names: Files) -> None:
        """Writes the JSON and CSV files.

        Args:
            directory: Folder, created if missing; any scheme that TensorFlow writes.
            names: Names of the files.

        Raises:
            UserError: A file cannot be written.
        """
        out = OutputFolder(directory)
        if self.whole_frames is not None:
            frames = self.whole_frames
            out.write_text(f"{names.frames}.csv", csv_text(frames._lines(names.column)))
            out.write_json(f"{names.frames}.json", frames.to_dict())
        out.write_text(names.csv, csv_text(self._lines(names.column)))
        if names.means:
            counts = {"images": self.images, "differing": self.differing}
            means = [{"row": state, **counts, **row} for state, row in self.rows.items()]
            out.write_text(names.means, csv_text(means))
        # Last, so that a folder with this file is complete.
        out.write_json(names.json, self.to_dict())

    def _lines(self, column: str) -> list[dict[str, Any]]:
        """Returns the values of each image, with names of columns in the given format."""
        return [
            {
                "index": index,
                "scene": self.scenes[index],
                "frame": self.frames[index],
                "differs": int(self.differs[index]),
                "lost_gradient": float(self.lost_gradient[index]),
                **{
                    column.format(**dataclasses.asdict(setting), metric=metric): float(
                        values[index]
                    )
                    for setting, found in self.values.items()
                    for metric, values in found.items()
                },
            }
            for index in range(self.images)
        ]

    @classmethod
    def load(cls, directory: str) -> "ScoreCard":
        """Reads a full score card that `write` wrote, in this or an earlier version.

        Raises:
            UserError: A file is missing.
            DataError: A file is damaged or of a later version.
        """
        path = files.join(directory, FULL_FILES.json)
        stored = files.read_json(path)
        if not isinstance(stored, dict) or stored.get("format") not in (1, FORMAT_VERSION):
            raise DataError(
                f"{path} is not a score card that this version reads. Evaluate the run again."
            )
        text = files.read_text(files.join(directory, FULL_FILES.csv))
        try:
            return cls._of(stored, list(csv.DictReader(io.StringIO(text))))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{directory} holds a damaged score card ({error!r}). Evaluate the run again."
            ) from error

    @classmethod
    def _of(cls, stored: Mapping[str, Any], lines: Sequence[Mapping[str, str]]) -> "ScoreCard":
        if len(lines) != stored["images"]:
            raise ValueError(f"{len(lines)} lines for {stored['images']} images")
        renamed = _FORMAT_1 if stored["format"] == 1 else {}

        def column(name: str) -> np.ndarray:
            return np.array([float(line[name]) for line in lines])

        values: dict[Setting, dict[str, np.ndarray]] = {}
        for part in stored["settings"]:
            setting = Setting(part["state"], part["values"], part["region"])
            keys = {key: renamed.get(key, key) for key in part["averages"]}
            values[setting] = {
                key: column(f"{setting.key}/{name}")
                for name, key in keys.items()
                if key is not None and key in METRICS
            }
        return cls(
            values=values,
            differs=column("differs") > 0,
            lost_gradient=column("lost_gradient"),
            scenes=[line["scene"] for line in lines],
            frames=[line["frame"] for line in lines],
            seconds=stored["seconds"],
            about={name: value for name, value in stored.items() if name not in _COMPUTED},
        )


def region_name(region: str, about: Mapping[str, Any]) -> str:
    """Returns the name of a region in tables, given `about` of a score card."""
    size = about.get("crop", "")
    return {
        "whole": about.get("whole_images", "whole images"),
        "crops": f"crops of {size}, restored independently",
        "center": f"center crop of {size}, restored on its own",
    }[region]


def sizes_text(sizes: Sequence[tuple[int, int]]) -> str:
    """Returns the heights and widths of several sizes as one text, such as for a table."""
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    texts = [f"{width}x{height}" for height, width in ordered]
    if len(texts) <= _NAMED_SIZES:
        return ", ".join(texts)
    return f"{len(texts)} sizes from {texts[0]} to {texts[-1]}"


def weights_key(metric: str) -> str:
    """Returns the key of `about` that names the files of a metric's weights."""
    return f"{metric}_weights"


def digest_key(metric: str) -> str:
    """Returns the key of `about` that holds the SHA-256 of a metric's weights."""
    return f"{metric}_sha256"


def conditions(metric: str) -> tuple[str, ...]:
    """Returns the keys of `about` on which a metric depends: its weights, reach or targets."""
    own = {"psnr_shift_db": "max_shift", "ssim_shift": "max_shift", "psnr_target_db": "targets"}
    return (digest_key(metric), *filter(None, [own.get(metric)]))


def lower_is_better(metrics: Sequence[str]) -> list[str]:
    """Returns a sentence on the metrics of which lower is better, or nothing."""
    titles = [METRICS[key].title for key in metrics if not METRICS[key].higher_is_better]
    if not titles:
        return []
    return [f"Lower is better: {', '.join(titles)}. Their gain is the decrease."]


def gain_text(gain: Gain, metric: str) -> str:
    """Returns a mean gain with its intervals in words."""

    def interval(ends: tuple[float, float] | None) -> str:
        if ends is None:
            return "-"
        return " to ".join(METRICS[metric].text(end, signed=True) for end in ends)

    return (
        f"{METRICS[metric].text(gain.mean, signed=True)} (by image {interval(gain.by_image)}, by "
        f"scene {interval(gain.by_scene)}), better in {gain.share_better:.0%} of "
        f"{gain.count:,} images"
    )
