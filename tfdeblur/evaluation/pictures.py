"""Pictures of single images: files beside a score card, and addresses that hold a picture."""

import base64
import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdeblur.evaluation.evaluator import Triple
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder

FOLDER = "card-pictures"
JPEG_QUALITY = 90

_LOSSLESS_SIDE = 256
"""Larger pictures are put into pages as JPEG, without chroma subsampling: a page of nine frames of
1280x720 in three states would take 40 MB as PNG."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """One image of a page.

    Attributes:
        index: Its place in the split.
        caption: What stands above it.
        states: By label, such as `blurred`, an address that holds the picture.
    """

    index: int
    caption: str
    states: dict[str, str]


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Returns a picture [h, w, 3] as uint8; floating-point ones are in [0, 1]."""
    return image if image.dtype == np.uint8 else np.rint(image * 255).astype(np.uint8)


def address(image: np.ndarray) -> str:
    """Returns an address that holds a picture: PNG if it is small, else JPEG.

    Args:
        image: uint8 [h, w, 3].
    """
    if max(image.shape[:2]) <= _LOSSLESS_SIDE:
        kind, data = "png", tf.io.encode_png(image)
    else:
        kind = "jpeg"
        data = tf.io.encode_jpeg(image, quality=JPEG_QUALITY, chroma_downsampling=False)
    return f"data:image/{kind};base64,{base64.b64encode(data.numpy()).decode()}"


def spread(count: int, wanted: int) -> list[int]:
    """Returns at most `wanted` places out of `count`, evenly spread, the ends among them."""
    wanted = min(wanted, count)
    if wanted < 2:
        return [count // 2][:wanted]
    return [round(place * (count - 1) / (wanted - 1)) for place in range(wanted)]


def choose_by_gain(gains: np.ndarray, each: int = 3) -> dict[str, list[int]]:
    """Picks the images that say most: those that gained most, least, and about the median.

    Args:
        gains: [images]; NaN where there was nothing to gain, which is never picked.
        each: How many of each kind; fewer where there are fewer images. None is picked twice.

    Returns:
        Places by kind, `best`, `median` and `worst`.
    """
    order = [int(i) for i in np.argsort(-gains, kind="stable") if not np.isnan(gains[i])]
    best = order[:each]
    worst = order[max(len(order) - each, len(best)) :]
    rest = order[len(best) : len(order) - len(worst)]
    middle = max((len(rest) - each) // 2, 0)
    return {"best": best, "median": rest[middle : middle + each], "worst": worst}


def write_triples(triples: Sequence[Triple], directory: str) -> None:
    """Writes the three states of some images as PNG, for `--compare` to show beside others'.

    Raises:
        UserError: They cannot be written.
    """
    out = OutputFolder(directory)
    # Pictures of an earlier evaluation would be taken for this one's.
    out.clear(FOLDER)
    for triple in triples:
        for state in ("blurred", "restored", "sharp"):
            image = to_uint8(getattr(triple, state))
            name = f"{FOLDER}/{_name(triple.index, state)}"
            out.write_bytes(name, tf.io.encode_png(image).numpy())


def stored(directory: str) -> set[int]:
    """Returns the places of the images that `write_triples` has written."""
    folder = files.join(directory, FOLDER)
    names = files.list_dir(folder) if files.is_dir(folder) else []
    found = (re.fullmatch(r"(\d{6,})-restored\.png", name) for name in names)
    return {int(match[1]) for match in found if match}


def read(directory: str, index: int, state: str) -> np.ndarray:
    """Reads a picture that `write_triples` wrote: uint8 [h, w, 3]."""
    path = files.join(files.join(directory, FOLDER), _name(index, state))
    image: np.ndarray = tf.io.decode_png(files.read_bytes(path), channels=3).numpy()
    return image


def _name(index: int, state: str) -> str:
    return f"{index:06d}-{state}.png"
