"""The report of an evaluation: the score card and the pictures that explain it, on one page."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdeblur.evaluation.evaluator import Triple
from tfdeblur.evaluation.pictures import choose_by_gain
from tfdeblur.evaluation.scores import CEILING_DB, ScoreCard
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics.basic import PROTOCOLS
from tfdeblur.reports import pages

PAGE = "index.html"
PICTURES = "pictures"

# Pages show their beginning; the files have them whole.
_DIGESTS = ("_sha256", "_fingerprint")

# Below this width a picture is enlarged with sharp pixel edges.
_SMALL = 200


def choose(card: ScoreCard, each: int = 3) -> dict[str, list[int]]:
    """Picks the images that say most: those that gained most, least, and about the median.

    Args:
        card: A score card.
        each: How many of each kind; fewer where the split has fewer. No image is picked twice.

    Returns:
        Places in the split by kind, `best`, `median` and `worst`. Images whose input already
        equals the truth are never picked.
    """
    return choose_by_gain(card.gains_db(), each)


def write_report(
    card: ScoreCard, triples: Sequence[Triple], directory: str, *, title: str, subtitle: str = ""
) -> str:
    """Writes `index.html` and its pictures into `directory`.

    Args:
        card: The score card.
        triples: The images to show, in their order, as `SplitEvaluator.pictures` returns them.
        directory: Folder of the evaluation.
        title: Heading of the page.
        subtitle: One line under it.

    Returns:
        The page's path.

    Raises:
        UserError: Something cannot be written.
    """
    out = OutputFolder(directory)
    # Pictures of an earlier evaluation would remain there, unnamed by the page.
    out.clear(PICTURES)
    kinds = {index: kind for kind, found in choose(card).items() for index in found}
    rows: list[pages.PictureRow] = []
    for triple in triples:
        name = re.sub(r"[^\w.-]+", "-", f"{triple.index:06d}-{triple.scene}-{triple.frame}")
        states = {
            "blurred": triple.blurred,
            "restored": np.rint(triple.restored * 255).astype(np.uint8),
            "truth": triple.sharp,
        }
        links = {}
        for state, image in states.items():
            file = f"{name}-{state}.png"
            out.write_bytes(f"{PICTURES}/{file}", tf.io.encode_png(image).numpy())
            links[_label(card, state, triple.index)] = f"{PICTURES}/{file}"
        kind = f"{kinds[triple.index].capitalize()}: " if triple.index in kinds else ""
        rows.append((f"{kind}{triple.scene} / {triple.frame}", links))

    header, body = card.cells()
    page = pages.render_gallery(
        title,
        summary=[("images", f"{card.images:,}"), *summary_of(card.about)],
        pictures=rows,
        subtitle=subtitle,
        tables=[pages.Table(header, body)],
        notes=[*card.notes(), *PROTOCOLS.values()],
        pixelated=any(triple.blurred.shape[1] < _SMALL for triple in triples),
    )
    out.write_text(PAGE, page)
    return files.join(directory, PAGE)


def summary_of(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns what a card is about, in words; what is not known is left out."""
    return [
        (name.replace("_", " "), value[:12] if name.endswith(_DIGESTS) else _words(value))
        for name, value in about.items()
        if value is not None and value != ""
    ]


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return " to ".join(map(_words, value)) if len(value) == 2 else ", ".join(map(_words, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _label(card: ScoreCard, state: str, index: int) -> str:
    psnr = card.per_image.get(state, {}).get("psnr_db")
    return state if psnr is None else f"{state} {min(float(psnr[index]), CEILING_DB):.2f} dB"
