"""Pictures of single images: files beside a score card, and data URLs for pages."""

import base64
import io
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tfdeblur.data.encoding import encode_image
from tfdeblur.evaluation.evaluator import Triplet
from tfdeblur.evaluation.scores import FULL_FILES
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.io.pictures import open_image

JPEG_QUALITY = 90

_LOSSLESS_SIDE = 256
"""Pages embed larger pictures as JPEG without chroma subsampling: nine frames of 1280x720 in three
states would take 40 MB as PNG."""


def address(image: np.ndarray) -> str:
    """Returns a picture as a data URL: PNG if it is small, else JPEG.

    Args:
        image: uint8 [h, w, 3].
    """
    if max(image.shape[:2]) <= _LOSSLESS_SIDE:
        kind, data = "png", encode_image(image, "png")
    else:
        kind, file = "jpeg", io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        data = file.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def spread(count: int, wanted: int) -> list[int]:
    """Returns up to `wanted` evenly spaced indices below `count`, including both ends."""
    wanted = min(wanted, count)
    if wanted < 2:
        return [count // 2][:wanted]
    return [round(place * (count - 1) / (wanted - 1)) for place in range(wanted)]


def choose_by_gain(gains: np.ndarray, each: int = 3) -> dict[str, list[int]]:
    """Selects the images with the highest, the lowest and about the median gain.

    Args:
        gains: [images]; NaN for images that are never selected.
        each: Images of each kind; fewer in small splits. No image is selected twice.

    Returns:
        Indices by kind: `best`, `median` and `worst`.
    """
    order = [int(i) for i in np.argsort(-gains, kind="stable") if not np.isnan(gains[i])]
    best = order[:each]
    worst = order[max(len(order) - each, len(best)) :]
    rest = order[len(best) : len(order) - len(worst)]
    middle = max((len(rest) - each) // 2, 0)
    return {"best": best, "median": rest[middle : middle + each], "worst": worst}


def write_triplets(triplets: Sequence[Triplet], directory: str, folder: str) -> None:
    """Writes the three pictures of some images as PNG.

    Args:
        triplets: The images.
        directory: Folder of the evaluation.
        folder: Folder of the pictures inside it. Pictures of an earlier evaluation are removed.

    Raises:
        UserError: A picture cannot be written.
    """
    out = OutputFolder(directory)
    out.clear(folder)
    for triplet in triplets:
        for state in ("blurred", "restored", "sharp"):
            image = encode_image(getattr(triplet, state), "png")
            out.write_bytes(f"{folder}/{picture_name(triplet.index, state)}", image)


def stored(directory: str) -> set[int]:
    """Returns the indices of the images whose pictures a full evaluation has written."""
    folder = files.join(directory, FULL_FILES.pictures)
    names = files.list_dir(folder) if files.is_dir(folder) else []
    found = (re.fullmatch(r"(\d{6,})-restored\.png", name) for name in names)
    return {int(match[1]) for match in found if match}


def read(directory: str, index: int, state: str) -> str:
    """Returns a picture that a full evaluation has written, as a data URL."""
    path = files.join(directory, FULL_FILES.pictures, picture_name(index, state))
    with open_image(io.BytesIO(files.read_bytes(path)), ["PNG"]) as image:
        return address(np.asarray(image.convert("RGB")))


def picture_name(index: int, state: str) -> str:
    """Returns the file name of a picture."""
    return f"{index:06d}-{state}.png"
