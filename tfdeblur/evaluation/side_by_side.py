"""The same images restored by several networks, and the regions in which they differ."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tfdeblur.data.dataset import read_errors
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.errors import UserError
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.given_pictures import find_pictures, holds_pictures, image_places
from tfdeblur.evaluation.networks import open_network
from tfdeblur.evaluation.pictures import spread
from tfdeblur.evaluation.results import unique_labels
from tfdeblur.evaluation.scores import CONVERTED, RESTORED
from tfdeblur.evaluation.stitching import Stitcher
from tfdeblur.io import files
from tfdeblur.ops.tiling import Box

_SHOWN = 3
_REGION_SHARE = 6  # the shorter side of an image in sides of a found region
_MIN_REGION = 12
_BATCH_PIXELS = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class Strip:
    """One image in all its versions.

    Attributes:
        title: Its scene and frame.
        blurred: The input, uint8 [h, w, 3].
        restored: What each network made of it, by the network's name, of the same form.
        sharp: The target, of the same form.
    """

    title: str
    blurred: np.ndarray
    restored: Mapping[str, np.ndarray]
    sharp: np.ndarray

    def captioned(self) -> dict[str, np.ndarray]:
        """Returns the versions by name, with their PSNR as files (rounded to 8 bits)."""
        versions = {"blurred": self.blurred, **self.restored}
        named = {f"{n}\n{_decibels(image, self.sharp)}": image for n, image in versions.items()}
        return {**named, "sharp\n": self.sharp}


def _decibels(image: np.ndarray, sharp: np.ndarray) -> str:
    error = np.mean((image.astype(np.float64) - sharp) ** 2) / 255**2
    return "exact" if error == 0 else f"{-10 * math.log10(error):.2f} dB"


def restore(
    paths: Sequence[str],
    data: EvaluationData,
    *,
    checkpoint: Literal["best", "last"] = "best",
    indices: Sequence[int] = (),
    frames: bool = False,
    labels: Sequence[str] = (),
) -> list[Strip]:
    """Restores images of a split with several networks.

    Args:
        paths: Networks, and folders of pictures that other programs made of the frames.
        data: The split.
        checkpoint: Which checkpoint of work directories.
        indices: Which images, or whole frames; three spread over the split if empty.
        frames: Whether to put whole frames together from tiles.
        labels: Names of the networks; those of their folders if empty.

    Raises:
        UserError: A network or a picture is missing, or an index is out of range.
        DataError: The data cannot be read.
    """
    bases = [files.base_name(path.rstrip("/")) for path in paths]
    names = unique_labels(bases, labels)
    with read_errors([data.path], data.split):
        places = image_places(data)
        # The images of each strip: one, or all tiles of a frame.
        groups: dict[Any, list[int]] = {}
        for index, place in enumerate(places):
            groups.setdefault((place.scene, place.frame) if frames else index, []).append(index)
        chosen = list(indices) or spread(len(groups), _SHOWN)
        if chosen and not 0 <= min(chosen) <= max(chosen) < len(groups):
            raise UserError(
                f"indices: {max(chosen) if min(chosen) >= 0 else min(chosen)} is not among the "
                f"{len(groups)} {'frames' if frames else 'images'} of {data.path}, {data.split}."
            )
        keys = [list(groups)[index] for index in chosen]
        wanted = [index for key in keys for index in groups[key]]
        images: dict[int, dict[str, np.ndarray]] = {index: {} for index in wanted}
        pixels = max(size.height * size.width for size in data.sizes)
        batch = max(1, min(_BATCH_PIXELS // pixels, 64))
        for name, path in zip(names, paths, strict=True):
            if holds_pictures(path):
                pictures = find_pictures(path, places)
                for index in wanted:
                    images[index][name] = pictures.read(index)
                continue
            network = open_network(path, checkpoint)
            state = CONVERTED if CONVERTED in network.states else RESTORED
            evaluator = SplitEvaluator({state: network.states[state]}, data, batch_size=batch)
            for triplet in evaluator.pictures(wanted, state):
                images[triplet.index][name] = triplet.restored
                images[triplet.index][""] = triplet.blurred
                images[triplet.index]["="] = triplet.sharp
        if not all("=" in image for image in images.values()):
            evaluator = SplitEvaluator({RESTORED: lambda x: x}, data, batch_size=batch)
            for triplet in evaluator.pictures(wanted):
                images[triplet.index] |= {"": triplet.blurred, "=": triplet.sharp}
    strips = []
    for key in keys:
        place = places[groups[key][0]]
        versions = images[groups[key][0]]
        if frames:
            versions = _stitched([(places[index], images[index]) for index in groups[key]])
        blurred, sharp = versions.pop(""), versions.pop("=")
        ordered = {name: versions[name] for name in names}
        strips.append(Strip(f"{place.scene} / {place.frame}", blurred, ordered, sharp))
    return strips


def _stitched(tiles: Sequence[tuple[Any, dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    stitcher = Stitcher()
    for place, images in tiles:
        where = np.array([place.box.top, place.box.left, *place.frame_size])
        frame = stitcher.add(place.scene, place.frame, where, images)
        if frame is not None:
            return dict(frame.images)
    place, images = tiles[0]
    if next(iter(images.values())).shape[:2] == place.frame_size:
        return images
    raise UserError(f"{place.scene} / {place.frame} lacks tiles, so it cannot be put together.")


def parse_region(text: str) -> Box:
    """Returns a region from its text, such as ``100,40,64x48``: left, top, width x height.

    Raises:
        UserError: It has another form.
    """
    found = re.fullmatch(r"(\d+),(\d+),(\d+)x(\d+)", text.replace(" ", ""))
    if found is None or "0" in (found[3], found[4]):
        raise UserError(f"regions: {text!r} is not LEFT,TOP,WIDTHxHEIGHT, such as 100,40,64x48.")
    left, top, width, height = map(int, found.groups())
    return Box(top, left, height, width)


def differing_regions(strip: Strip, count: int) -> list[Box]:
    """Returns the square regions in which the networks differ most, none overlapping another.

    A single network is compared with its input.
    """
    versions = list(strip.restored.values())
    if len(versions) < 2:
        versions.append(strip.blurred)
    gray = np.stack([version.mean(axis=2) for version in versions])
    spread_of = gray.max(axis=0) - gray.min(axis=0)
    height, width = spread_of.shape
    side = min(max(min(height, width) // _REGION_SHARE, _MIN_REGION), height, width)
    # Sums over all squares from sums over all rectangles that start at the corner.
    table = np.pad(spread_of.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    found: list[Box] = []
    while len(found) < count and np.isfinite(sums).any() and sums.max() > -np.inf:
        top, left = (int(i) for i in np.unravel_index(np.argmax(sums), sums.shape))
        found.append(Box(top, left, side, side))
        sums[max(top - side + 1, 0) : top + side, max(left - side + 1, 0) : left + side] = -np.inf
    return found
