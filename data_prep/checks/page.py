"""The report as one HTML file that needs nothing else: its pictures are inside."""

import base64
import functools
import io
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from data_prep.checks.findings import CODES
from data_prep.checks.pairs import Measure
from data_prep.checks.report import SHOWN, Report
from tfdeblur.errors import UserError

# The longer side of a picture in the page; small pictures are shown as they are.
_LONGEST = 480
_QUALITY = 82
# Differences are small: shown this many times as large, around gray.
_ENLARGED = 2.0


def render(report: Report, pictures: int) -> str:
    """Returns the page.

    Args:
        report: What to show.
        pictures: Most pairs that are shown, and most pictures that are in two splits. Each takes
            some tens of kilobytes.
    """
    found = report.examination
    return (
        _environment()
        .get_template("doctor.html.j2")
        .render(
            report=report,
            found=found,
            codes=CODES,
            shown=SHOWN,
            bars=_bars(report.decibels),
            pairs=[_pair(report, measure) for measure in report.worst(pictures)],
            twins=[
                _twin(report, twin.first, twin.second, twin.bits) for twin in found.twins[:pictures]
            ],
        )
    )


def _bars(decibels: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Returns for each bar of the histogram its label, its count and its share of the highest."""
    if not decibels:
        return []
    edges, counts = decibels["histogram"]["edges"], decibels["histogram"]["counts"]
    most = max(counts)
    return [
        (f"{first} to {last}", count, count / most)
        for first, last, count in zip(edges, edges[1:], counts, strict=False)
    ]


def _pair(report: Report, measure: Measure) -> dict[str, Any]:
    """Returns the pictures and the numbers of one pair."""
    told = [f"{measure.psnr:.2f} dB"]
    if measure.shift is not None:
        told.append(f"shift {measure.shift[0]:+.2f} down, {measure.shift[1]:+.2f} right")
    if measure.softening is not None:
        told.append(f"sharp half {measure.softening:.2f} times as sharp")
    if measure.brightness is not None:
        told.append(f"brightness {measure.brightness:+.2f}")
    if measure.tone is not None:
        told.append(f"tone {measure.tone:.2f}")
    return {
        "title": f"{measure.split}: {measure.key}",
        "codes": measure.codes,
        "numbers": ", ".join(told),
        "pictures": _halves(report, measure.key),
    }


def _halves(report: Report, key: str) -> dict[str, str]:
    load = report.examination.load
    assert load is not None, "whoever measures pairs can load them"
    try:
        blurred, sharp = load(key)
    except UserError:
        # It could be read a minute ago; the page goes without.
        return {}
    shown = {"sharp": _address(sharp)}
    if blurred is not None:
        gap = (blurred.astype(np.float32) - sharp) * _ENLARGED + 128
        difference = np.clip(gap, 0, 255).astype(np.uint8)
        shown = {
            "blurred": _address(blurred),
            **shown,
            f"difference, {_ENLARGED:g} times": _address(difference),
        }
    return shown


def _twin(report: Report, first: str, second: str, bits: int) -> dict[str, Any]:
    """Returns two pictures that are equal, or nearly so."""
    shown = {}
    for name in (first, second):
        halves = _halves(report, name.split(": ", 1)[1])
        if halves:
            shown[name] = halves["sharp"]
    title = "the same pixels" if bits == 0 else f"{bits} of 64 bits differ"
    return {"title": title, "codes": (), "numbers": "", "pictures": shown}


def _address(image: np.ndarray) -> str:
    """Returns a picture, reduced, as a `data:` address."""
    picture = Image.fromarray(image)
    if max(picture.size) > _LONGEST:
        picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("data_prep"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
