"""Scores pictures that another program restored as if a network here had restored them.

A picture belongs to the image whose scene and frame its path ends with, whatever separates them:
``SCENE/FRAME.png`` and ``SCENE_FRAME.jpg`` are the same. If the frames of a split have unique
names, the name of the frame is enough. For a split of tiles, give whole frames.

`score` needs no split: the sharp images are pictures of a folder, too.
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from tfdeblur.config import CONFIG_FILE
from tfdeblur.data.dataset import read_errors
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.errors import UserError
from tfdeblur.evaluation.aligning import ALIGNING, aligning_metrics
from tfdeblur.evaluation.config import batch_size_for
from tfdeblur.evaluation.evaluator import Triplet
from tfdeblur.evaluation.frames import BASELINE, SHARP, FrameScores, versions
from tfdeblur.evaluation.measuring import Scorer, shared_batch
from tfdeblur.evaluation.picture_files import pictures_in, read_pixels
from tfdeblur.evaluation.results import CARDS, EVALUATIONS
from tfdeblur.evaluation.scores import (
    BLURRED,
    PICTURES,
    RESTORED,
    ScoreCard,
    Setting,
    sizes_text,
)
from tfdeblur.evaluation.stitching import Frame
from tfdeblur.execution import default_executor
from tfdeblur.inference.photo_files import suffix
from tfdeblur.io import files
from tfdeblur.metrics import METRICS, Metric
from tfdeblur.ops import tiling


def holds_pictures(path: str) -> bool:
    """Returns whether a path is a folder of pictures, and not a run or an evaluation."""
    if not files.is_dir(path):
        return False
    inside = files.list_dir(path)
    ours = {CONFIG_FILE, EVALUATIONS, *CARDS}
    return not ours & set(inside) and bool(pictures_in(path))


@dataclasses.dataclass(frozen=True)
class ImagePlace:
    """What an image of a split shows.

    Attributes:
        scene: Name of its scene.
        frame: Name of its frame.
        box: Its place in the frame.
        frame_size: Height and width of the frame.
    """

    scene: str
    frame: str
    box: tiling.Box
    frame_size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The picture of each image of a split, in one folder.

    Attributes:
        paths: Path of the picture.
        places: What the image shows.
    """

    paths: Sequence[str]
    places: Sequence[ImagePlace]

    def read(self, index: int) -> np.ndarray:
        """Returns an image, uint8 [h, w, 3].

        Raises:
            UserError: Its picture cannot be read, or has not the size of the frame.
        """
        place = self.places[index]
        return read_pixels(self.paths[index], place.frame_size)[place.box.slices]


@dataclasses.dataclass(frozen=True)
class GivenPictures:
    """Pictures with their scores.

    Attributes:
        folder: Their folder.
        card: Their scores, under the settings `float` and `uint8` of `restored`.
        pictures: The pictures.
    """

    folder: str
    card: ScoreCard
    pictures: Pictures


def measure_beside(
    folders: Sequence[str], first: ScoreCard, data: str = "", split: str = ""
) -> dict[str, GivenPictures]:
    """Measures folders of pictures on the images of a score card; see `measure`.

    Args:
        folders: The folders.
        first: The card.
        data: The data set, if it has moved since the evaluation.
        split: Its split.
    """
    about = first.about
    opened = EvaluationData(
        data or str(about.get("data")),
        split if data else str(about.get("split")),
        about.get("limit"),
    )
    return {folder: measure(folder, opened, first) for folder in folders}


def measure(folder: str, data: EvaluationData, first: ScoreCard) -> GivenPictures:
    """Measures pictures on whole images under every protocol.

    All pictures are looked for before the first is measured.

    Args:
        folder: Folder of the pictures.
        data: The split.
        first: The score card of a network on the same split; its input stands for theirs.

    Raises:
        UserError: A picture is missing, ambiguous, unreadable or of another size than its frame;
            the message names it.
        DataError: The data cannot be read.
    """
    with read_errors([data.path], data.split):
        places = image_places(data)
        known = list(zip(first.scenes, first.frames, strict=True))
        if [(place.scene, place.frame) for place in places] != known:
            raise UserError(
                f"{data.path} does not hold the images of {first.about.get('from')}. Evaluate it "
                "again, or give its --data and --split."
            )
        pictures = find_pictures(folder, places)
        metrics = [*METRICS.values(), *aligning_metrics(first.about)]
        values = _scores(data, pictures, metrics, files.base_name(folder))
    baseline = Setting(BLURRED, "uint8", "whole")
    card = dataclasses.replace(
        first,
        values={
            baseline: first.values[baseline],
            Setting(RESTORED, "float", "whole"): values,
            Setting(RESTORED, "uint8", "whole"): values,
        },
        seconds={},
        about={
            "from": folder,
            "model": PICTURES,
            **{
                key: first.about[key]
                for key in ("data_fingerprint", "split", "data", *ALIGNING)
                if key in first.about
            },
        },
    )
    return GivenPictures(folder, card, pictures)


def _scores(
    data: EvaluationData, pictures: Pictures, metrics: Sequence[Metric], name: str
) -> dict[str, np.ndarray]:
    """Returns the values of every metric by key, float64 [images]."""
    smallest = min(data.sizes, key=lambda size: min(size.height, size.width))
    metrics = [m for m in metrics if m.fits(smallest.height, smallest.width)]
    executor = default_executor()
    columns: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    index = 0
    with tqdm.tqdm(total=data.records, desc=name, leave=False, disable=None) as bar:
        for part in data.by_size():
            scorer = Scorer(metrics, executor)
            size = shared_batch(batch_size_for(part), part.records, executor.devices)
            for batch in part.dataset(size):
                count = int(np.count_nonzero(batch["valid"]))
                images = np.zeros_like(np.asarray(batch["sharp"]))
                for row in range(count):
                    images[row] = pictures.read(index + row)
                sharp = executor.place(batch["sharp"])
                scores = scorer.score(sharp, scorer.prepare(sharp), executor.place(images))
                for key, column in scorer.columns(scores, limited=False).items():
                    columns[key].append(column[:count])
                index += count
                bar.update(count)
    return {key: np.concatenate(parts) for key, parts in columns.items()}


@dataclasses.dataclass(frozen=True)
class PictureFolders:
    """Pictures of the same frames in several folders.

    Attributes:
        names: Scene and frame of each: folder and name of the sharp picture.
        paths: Paths of the pictures by what they show: `frames.SHARP`, a setting of restored
            pictures, and `frames.BASELINE` if there are blurred ones.
    """

    names: Sequence[tuple[str, str]]
    paths: Mapping[Any, Sequence[str]]

    @classmethod
    def find(cls, restored: str, sharp: str, blurred: str = "") -> "PictureFolders":
        """Finds the restored, and the blurred, picture of each sharp one by its name.

        Raises:
            UserError: There are no sharp pictures, or a picture is missing, ambiguous, or the one
                of several sharp pictures.
        """
        found = sorted(pictures_in(sharp))
        if not found:
            raise UserError(f"sharp: {sharp} holds no pictures. Give the folder of the targets.")
        stems = [path[: -len(suffix(path))] for path in found]
        names = [(files.parent(stem), files.base_name(stem)) for stem in stems]
        others = {BASELINE: blurred} if blurred else {}
        others[Setting(RESTORED, "uint8", "whole")] = restored
        paths = {what: _matched(folder, names) for what, folder in others.items()}
        for chosen in paths.values():
            path, count = collections.Counter(chosen).most_common(1)[0]
            if count > 1:
                first, second = [one for one, p in zip(found, chosen, strict=True) if p == path][:2]
                raise UserError(
                    f"{path} would be compared with {first} and {second} of {sharp}. Give each of "
                    "them a picture of its own name."
                )
        return cls(names, {SHARP: [files.join(sharp, path) for path in found], **paths})

    def read(self, index: int) -> Frame:
        """Reads the pictures of a frame.

        Raises:
            UserError: One cannot be read, or has not the size of the sharp one.
        """
        sharp = read_pixels(self.paths[SHARP][index])
        images = {
            what: sharp if what == SHARP else read_pixels(paths[index], sharp.shape[:2])
            for what, paths in self.paths.items()
        }
        return Frame(*self.names[index], images)

    def triplets(self, indices: Sequence[int], primary: Setting) -> list[Triplet]:
        """Reads frames for a page; there must be blurred pictures."""
        frames = {index: self.read(index) for index in indices}
        return [
            Triplet(index=index, scene=frame.scene, frame=frame.name, **versions(frame, primary))
            for index, frame in frames.items()
        ]


def score(
    pictures: PictureFolders, metrics: Sequence[Metric], about: Mapping[str, Any]
) -> ScoreCard:
    """Measures restored pictures, and the blurred ones if there are any.

    Args:
        pictures: The pictures.
        metrics: The metrics; those that do not fit the smallest pictures are omitted.
        about: Stored in the score card.

    Raises:
        UserError: A picture cannot be read, or has not the size of the sharp one.
    """
    scores = FrameScores(metrics, default_executor(), keep=0)
    sizes = set()
    for index in tqdm.trange(len(pictures.names), desc="pictures", leave=False, disable=None):
        frame = pictures.read(index)
        sizes.add(frame.images[SHARP].shape[:2])
        scores.measure(frame)
    omitted = {
        metric.key: f"needs {metric.min_size}x{metric.min_size} pixels"
        for metric in metrics
        if metric.compute and not all(metric.fits(*size) for size in sizes)
    }
    card = scores.card(
        {
            **about,
            "model": PICTURES,
            **({"image_sizes": sizes_text(sorted(sizes))} if len(sizes) > 1 else {}),
            **({"omitted_metrics": omitted} if omitted else {}),
        }
    )
    assert card is not None  # there is a picture
    return card


@functools.lru_cache(maxsize=1)
def image_places(data: EvaluationData) -> Sequence[ImagePlace]:
    """Returns scene, frame and position of each image of a split; reads the whole split once."""
    found = []
    for part in data.by_size():
        for batch in part.dataset(max(1, min(64, part.records))):
            scenes, frames, places, valid = (
                np.asarray(batch[name]) for name in ("scene", "frame", "place", "valid")
            )
            for row in np.flatnonzero(valid):
                top, left, height, width = map(int, places[row])
                box = tiling.Box(top, left, part.height, part.width)
                names = (scenes[row].decode(), frames[row].decode())
                found.append(ImagePlace(*names, box, (height, width)))
    return found


def find_pictures(folder: str, places: Sequence[ImagePlace]) -> Pictures:
    """Finds the picture of each image of a split by its name.

    Raises:
        UserError: A picture is missing or ambiguous; the message names it.
    """
    return Pictures(_matched(folder, [(p.scene, p.frame) for p in places]), places)


def _matched(folder: str, names: Sequence[tuple[str, str]]) -> list[str]:
    """Returns the path of each image's picture."""
    by_words: dict[tuple[str, ...], list[str]] = collections.defaultdict(list)
    inside = pictures_in(folder)
    for path in inside:
        words = _words(path[: -len(suffix(path))])
        for first in range(len(words)):
            by_words[words[first:]].append(path)
    frames = collections.Counter(frame for _, frame in set(names))
    found = []
    for scene, frame in names:
        name = f"{scene} / {frame}" if scene else frame
        wanted = (*_words(scene), *_words(frame)) if scene else _words(frame)
        candidates = by_words.get(wanted, [])
        whole = [path for path in candidates if _words(path[: -len(suffix(path))]) == wanted]
        # Of `2.png` and `a_2.png` the first is named 2.
        candidates = whole or candidates
        if not candidates and frames[frame] == 1:
            candidates = by_words.get(_words(frame), [])
        if len(candidates) > 1:
            raise UserError(
                f"{folder}: {candidates[0]} and {candidates[1]} are both named after {name}. "
                "Leave one of them."
            )
        if not candidates:
            raise UserError(
                f"{folder} holds no picture of {name} among its {len(inside)}. Name it "
                f"{files.join(folder, scene, frame)}.png, or "
                f"{f'{scene}_' * bool(scene)}{frame} with any suffix."
            )
        found.append(files.join(folder, candidates[0]))
    return found


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.split(r"[/\\_\-. ]+", name.lower().strip("/")))
