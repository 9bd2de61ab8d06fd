"""Claims of the papers on critics, losses and scales, and what results of `gan_bench` say of them.

A claim states how two contestants differ. The difference is taken within a seed, and its mean over
seeds has a 95 % interval (Student's t). The claim is confirmed if the whole interval lies in the
range that it states, refuted if all of it lies outside, and otherwise not confirmed.
"""

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tfdeblur import config
from tfdeblur.errors import DataError
from tfdeblur.io import files

REFERENCE, FFT, PENALTY = "content", "content + fft", "wgan_gp"
ONE_UPDATE, ONE_SCALE = f"{PENALTY}, 1 update", "{}, 1 scale"
CRITICS = tuple(
    name
    for name in config.OBJECTIVES.names()
    if getattr(config.OBJECTIVES.options(name), "needs_critic", False)
)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement on the difference of two contestants.

    Attributes:
        text: The statement.
        pairs: Each contestant that it is about, with the one that it is compared with.
        low: Smallest difference that agrees with the statement.
        high: Largest one.
        measure: `psnr_db`, whose values are subtracted, or `time`, whose values are divided.
    """

    text: str
    pairs: tuple[tuple[str, str], ...]
    low: float = 0.0
    high: float = math.inf
    measure: str = "psnr_db"


# PSNR that MIMO-UNet gains by outputs at several scales (31.16 to 31.33 dB in its ablation): a
# smaller difference is called none.
INDIFFERENT = 0.17

CLAIMS = (
    # Kuspys and Lutchyn.
    Claim(
        "GANs train about three times slower",
        tuple((name, REFERENCE) for name in (*CRITICS, ONE_UPDATE)),
        low=2.5,
        high=3.5,
        measure="time",
    ),
    # The same.
    Claim("The FFT loss is more precise", ((FFT, REFERENCE),)),
    # Orlandi and Pinardi, of WGANs at 32x32; the second pair shows whether it is due to the critic.
    Claim(
        "Several scales make no difference",
        tuple((name, ONE_SCALE.format(name)) for name in (PENALTY, REFERENCE)),
        low=-INDIFFERENT,
        high=INDIFFERENT,
    ),
    # Batwal et al.
    Claim("Five critic updates, not one", ((PENALTY, ONE_UPDATE),)),
)


def read(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the results of all seeds in some files.

    Raises:
        DataError: A file has no results, or those of a seed that came before.
        UserError: A file cannot be read.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for path in paths:
        try:
            for figures in files.read_json(path):
                key = (training_of(figures), figures["seed"])
                if key in found:
                    raise DataError(f"{path} repeats the results of seed {figures['seed']}.")
                found[key] = figures
        except (KeyError, TypeError) as error:
            raise DataError(f"{path} was not written by --out of this benchmark.") from error
    return list(found.values())


def training_of(figures: Mapping[str, Any]) -> str:
    """Returns the arguments of a seed as text."""
    return json.dumps(figures["arguments"], sort_keys=True)


def report(seeds: Sequence[Mapping[str, Any]]) -> str:
    """Returns what the results say about each claim, as Markdown.

    Args:
        seeds: Results of all seeds. Those of equal arguments make up one table.
    """
    trainings: dict[str, list[Mapping[str, Any]]] = {}
    for figures in seeds:
        trainings.setdefault(training_of(figures), []).append(figures)
    parts: list[str] = []
    measured: set[Claim] = set()
    for group in trainings.values():
        lines = []
        for claim in CLAIMS:
            found = [line for pair in claim.pairs if (line := _verdict(claim, pair, group))]
            measured |= {claim} if found else set()
            lines += found
        head = ["| claim | | compared | difference, 95 % interval |", "| --- | --- | --- | --- |"]
        parts += ["\n".join([_about(group), "", *head, *lines]), *_remarks(group)]
    if missing := [claim.text for claim in CLAIMS if claim not in measured]:
        parts.append(f"Not measured: {'; '.join(missing)}.")
    return "\n\n".join(parts)


def _about(group: Sequence[Mapping[str, Any]]) -> str:
    """Returns what was trained and evaluated."""
    first = group[0]
    arguments, size = first["arguments"], "x".join(map(str, first["crop"]))
    rows = [row for figures in group for row in figures["contestants"].values()]
    networks = {name: count for row in rows[::-1] for name, count in row["parameters"].items()}
    blurred = next((row["blurred"]["psnr_db"] for row in rows if "blurred" in row), math.nan)
    return (
        f"{arguments['model']}, seeds {', '.join(str(figures['seed']) for figures in group)}: "
        + ", ".join(f"{name} of {count:,} parameters" for name, count in networks.items())
        + f"; {rows[0]['images_seen']:,} images of {size} in batches of {arguments['batch']}; "
        f"{first['evaluated_images']:,} images of {arguments['split']}, {blurred:.2f} dB blurred."
    )


def _remarks(group: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns which contestants diverged, or are not better than the blurred input, in a seed."""
    found: dict[str, list[str]] = {"Diverged": [], "Not better than the blurred input": []}
    for figures in group:
        for name, row in figures["contestants"].items():
            diverged, worse = found.values()
            if row["diverged"]:
                diverged.append(f"{name} (seed {figures['seed']})")
            elif row["scores"]["psnr_db"] <= row["blurred"]["psnr_db"]:
                worse.append(f"{name} (seed {figures['seed']})")
    return [f"{title}: {'; '.join(names)}." for title, names in found.items() if names]


def _verdict(claim: Claim, pair: tuple[str, str], group: Sequence[Mapping[str, Any]]) -> str | None:
    """Returns a row of the table, None if no seed has both contestants of the pair."""
    found = [rows for figures in group if set(pair) <= (rows := figures["contestants"]).keys()]
    if not found:
        return None
    values = differences(claim.measure, pair, found)
    if claim.measure == "time":
        text = f"{_interval_text(values, 2)} times"
    else:
        ssim = differences("ssim", pair, found)
        text = f"{_interval_text(values, 2, '+')} dB, SSIM {_interval_text(ssim, 4, '+')}"
    compared = " against ".join(_described(name, [rows[name] for rows in found]) for name in pair)
    return f"| {claim.text} | {verdict(claim, values)} | {compared} | {text} |"


def _described(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a contestant's name and mean PSNR."""
    found = [row["scores"]["psnr_db"] for row in rows if not row["diverged"]]
    return f"{name} {statistics.mean(found):.2f} dB" if found else f"{name} -"


def differences(
    measure: str, pair: tuple[str, str], seeds: Sequence[Mapping[str, Any]]
) -> list[float]:
    """Returns how much two contestants differ in each seed in which both have the measure.

    Args:
        measure: A key of the scores, which are subtracted, or `time`, which is divided.
        pair: Both contestants.
        seeds: The contestants of each seed.
    """
    found = []
    for rows in seeds:
        own, other = (
            rows[name]["time"] if measure == "time" else rows[name].get("scores", {}).get(measure)
            for name in pair
        )
        if own is not None and other is not None:
            found.append(own / other if measure == "time" else own - other)
    return found


def verdict(claim: Claim, values: Sequence[float]) -> str:
    """Returns whether the interval of the values lies in the range that the claim states."""
    low, high = interval(values)
    if claim.low < low and high < claim.high:
        return "confirmed"
    return "refuted" if high < claim.low or low > claim.high else "not confirmed"


# Two-sided 95 % quantiles of Student's t, by the number of values; 2.262 for ten.
_STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the 95 % interval of the mean; everything for a single value."""
    if len(values) < 2:
        return -math.inf, math.inf
    mean, error = statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = _STUDENT.get(len(values), 2.262) * error
    return mean - reach, mean + reach


def _interval_text(values: Sequence[float], decimals: int, sign: str = "") -> str:
    if not values:
        return "-"
    mean = statistics.mean(values)
    text = f"{mean:{sign}.{decimals}f}"
    return text if len(values) < 2 else f"{text} ± {interval(values)[1] - mean:.{decimals}f}"
