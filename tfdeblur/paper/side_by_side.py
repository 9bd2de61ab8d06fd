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
from tfdeblur.evaluation.config import batch_size_for
from tfdeblur.evaluation.detection import psnr_of_files
from tfdeblur.evaluation.evaluator import SplitEvaluator, Triplet
from tfdeblur.evaluation.given_pictures import (
    ImagePlace,
    find_pictures,
    holds_pictures,
    image_places,
)
from tfdeblur.evaluation.measuring import Restore
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


@dataclasses.dataclass(frozen=True, eq=False)
class Strip:
    """One image in all its versions.

    Attributes:
        place: What it shows.
        blurred: The input, uint8 [h, w, 3].
        sharp: The target, of the same form.
        restored: What each network made of it, by the network's name, of the same form.
    """

    place: ImagePlace
    blurred: np.ndarray
    sharp: np.ndarray
    restored: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its scene and frame."""
        return f"{self.place.scene} / {self.place.frame}"

    def versions(self) -> dict[str, np.ndarray]:
        """Returns the input and what the networks made of it, by name."""
        return {"blurred": self.blurred, **self.restored}

    def captioned(self) -> dict[str, np.ndarray]:
        """Returns all versions with their PSNR as files (rounded to 8 bits), and the target."""
        named = {
            f"{name}\n{decibels(image, self.sharp)}": image
            for name, image in self.versions().items()
        }
        return {**named, "sharp\n": self.sharp}


def decibels(image: np.ndarray, sharp: np.ndarray) -> str:
    """Returns the PSNR of an image against another in words, both uint8 of one shape."""
    psnr = psnr_of_files(image, sharp)
    return f"{psnr:.2f} dB" if math.isfinite(psnr) else "exact"


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
    names = unique_labels([files.base_name(path) for path in paths], labels)
    with read_errors([data.path], data.split):
        places = image_places(data)
        # The images of each strip: one, or all tiles of a frame.
        groups: dict[Any, list[int]] = {}
        for index, place in enumerate(places):
            groups.setdefault((place.scene, place.frame) if frames else index, []).append(index)
        kind = "frames" if frames else "images"
        chosen = _checked(indices or spread(len(groups), _SHOWN), len(groups), kind, data)
        parts = [list(groups.values())[index] for index in chosen]
        wanted = [index for part in parts for index in part]
        strips = {index: _strip(triplet, places) for index, triplet in _stored(data, wanted)}
        restored: dict[int, dict[str, np.ndarray]] = {index: {} for index in wanted}
        # All of them are looked for before a network runs.
        given = {path: find_pictures(path, places) for path in paths if holds_pictures(path)}
        for name, path in zip(names, paths, strict=True):
            if path in given:
                for index in wanted:
                    restored[index][name] = given[path].read(index)
                continue
            network = open_network(path, checkpoint)
            state = CONVERTED if CONVERTED in network.states else RESTORED
            evaluator = _evaluator({state: network.states[state]}, data)
            for triplet in evaluator.pictures(wanted, state):
                restored[triplet.index][name] = triplet.restored
    whole = {i: dataclasses.replace(s, restored=restored[i]) for i, s in strips.items()}
    if not frames:
        return [whole[index] for index in wanted]
    return [_joined([whole[index] for index in part]) for part in parts]


def stored_images(data: EvaluationData, indices: Sequence[int]) -> list[Strip]:
    """Returns images of a split as they are stored.

    Raises:
        UserError: An index is out of range.
        DataError: The data cannot be read.
    """
    with read_errors([data.path], data.split):
        places = image_places(data)
        chosen = _checked(indices, len(places), "images", data)
        found = {index: _strip(triplet, places) for index, triplet in _stored(data, chosen)}
    return [found[index] for index in chosen]


def stored_frame(data: EvaluationData, tile: Strip) -> Strip | None:
    """Returns the frame of a tile, put together; None if tiles of it are missing."""
    place = tile.place
    places = image_places(data)
    own = [i for i, p in enumerate(places) if (p.scene, p.frame) == (place.scene, place.frame)]
    try:
        return _joined(stored_images(data, own))
    except UserError:
        return None


def _checked(indices: Sequence[int], count: int, kind: str, data: EvaluationData) -> Sequence[int]:
    for index in indices:
        if not 0 <= index < count:
            raise UserError(
                f"indices: {index} is not among the {count:,} {kind} of {data.path}, {data.split}."
            )
    return indices


def _evaluator(networks: Mapping[str, Restore], data: EvaluationData) -> SplitEvaluator:
    return SplitEvaluator(networks, data, batch_size=batch_size_for(data))


def _stored(data: EvaluationData, indices: Sequence[int]) -> list[tuple[int, Triplet]]:
    found = _evaluator({RESTORED: lambda images: images}, data).pictures(indices)
    return [(triplet.index, triplet) for triplet in found]


def _strip(triplet: Triplet, places: Sequence[ImagePlace]) -> Strip:
    return Strip(places[triplet.index], triplet.blurred, triplet.sharp)


def _joined(tiles: Sequence[Strip]) -> Strip:
    """Puts a frame together from its tiles; an image that is no tile is returned as it is."""
    first = tiles[0]
    if first.sharp.shape[:2] == first.place.frame_size:
        return first
    stitcher = Stitcher()
    for tile in tiles:
        place = tile.place
        where = np.array([place.box.top, place.box.left, *place.frame_size])
        versions = {(n, ""): getattr(tile, n) for n in ("blurred", "sharp")}
        versions |= {("restored", name): image for name, image in tile.restored.items()}
        frame = stitcher.add(place.scene, place.frame, where, versions)
        if frame is not None:
            return Strip(
                dataclasses.replace(place, box=Box(0, 0, *place.frame_size)),
                frame.images["blurred", ""],
                frame.images["sharp", ""],
                {name: frame.images["restored", name] for name in tile.restored},
            )
    raise UserError(f"{first.title} lacks tiles, so it cannot be put together.")


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
