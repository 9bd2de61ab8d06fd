"""The report as a single self-contained HTML file."""

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
from data_prep.checks.report import SHOWN, Report, Twin
from tfdeblur.cli.printable import printable
from tfdeblur.errors import UserError

# Maximum longer side of an image on the page; smaller images keep their size.
_MAX_SIDE = 480
_QUALITY = 82
# Factor by which differences are amplified, around mid-gray.
_GAIN = 2.0


def render(report: Report, pictures: int) -> str:
    """Returns the page.

    Args:
        report: The report.
        pictures: Maximum number of pairs, and of duplicates across splits, to show. Each adds some
            tens of kilobytes.
    """
    return (
        _environment()
        .get_template("doctor.html.j2")
        .render(
            report=report,
            codes=CODES,
            shown=SHOWN,
            bars=_bars(report.psnr),
            pairs=[_pair(report, measure) for measure in report.worst(pictures)],
            twins=[_twin(report, twin) for twin in report.twins[:pictures]],
        )
    )


def _bars(psnr: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Returns label, count and relative height of each bar of the histogram."""
    if not psnr:
        return []
    edges, counts = psnr["histogram"]["edges"], psnr["histogram"]["counts"]
    return [
        (f"{first} to {last}", count, count / max(counts))
        for first, last, count in zip(edges, edges[1:], counts, strict=False)
    ]


def _pair(report: Report, measure: Measure) -> dict[str, Any]:
    """Returns the images and the measurements of one pair."""
    numbers = [f"{measure.psnr:.2f} dB"]
    if measure.shift is not None:
        numbers.append(f"shift {measure.shift[0]:+.2f} down, {measure.shift[1]:+.2f} right")
    if measure.softening is not None:
        numbers.append(f"sharpness ratio {measure.softening:.2f}")
    if measure.brightness is not None:
        numbers.append(f"brightness {measure.brightness:+.2f}")
    if measure.tone is not None:
        numbers.append(f"tone {measure.tone:.2f}")
    return {
        "title": f"{measure.split}: {measure.key}",
        "codes": measure.codes,
        "numbers": ", ".join(numbers),
        "pictures": _halves(report, measure.key),
    }


def _halves(report: Report, key: str) -> dict[str, str]:
    load = report.load
    assert load is not None, "every examination with pairs can load them"
    try:
        blurred, sharp = load(key)
    except UserError:
        # The file has changed since it was examined; the page omits it.
        return {}
    shown = {"sharp": _data_url(sharp)}
    if blurred is not None:
        amplified = (blurred.astype(np.float32) - sharp) * _GAIN + 128
        difference = np.clip(amplified, 0, 255).astype(np.uint8)
        shown = {
            "blurred": _data_url(blurred),
            **shown,
            f"difference x {_GAIN:g}": _data_url(difference),
        }
    return shown


def _twin(report: Report, twin: Twin) -> dict[str, Any]:
    """Returns two identical or nearly identical images."""
    shown = {}
    for name in (twin.first, twin.second):
        halves = _halves(report, name.split(": ", 1)[1])
        if halves:
            shown[name] = halves["sharp"]
    title = f"{twin.bits} of 64 bits of the hash differ" if twin.bits else "identical pixels"
    return {"title": title, "codes": (), "numbers": "", "pictures": shown}


def _data_url(image: np.ndarray) -> str:
    """Returns a reduced image as a `data:` URL."""
    picture = Image.fromarray(image)
    if max(picture.size) > _MAX_SIDE:
        picture.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.BICUBIC)
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
        # File names may contain characters that reverse the direction of text.
        finalize=lambda value: printable(value) if isinstance(value, str) else value,
    )
