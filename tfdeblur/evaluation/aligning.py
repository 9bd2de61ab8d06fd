"""The metrics that align an image with its target first, for sets that are not aligned."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfdeblur.cli.environment import require_opencv
from tfdeblur.errors import UserError
from tfdeblur.evaluation.picture_files import pictures_in, read_pixels
from tfdeblur.io import files
from tfdeblur.metrics import Metric
from tfdeblur.metrics.best_shift import with_reach
from tfdeblur.metrics.best_target import with_targets
from tfdeblur.metrics.registration import metrics_for
from tfdeblur.ops.arrays import to_uint8

ALIGNING = ("max_shift", "register", "targets")
"""The settings that choose them, by which a score card records them."""


def aligning_metrics(settings: Mapping[str, Any]) -> list[Metric]:
    """Returns the metrics of some settings, ready to compute.

    Args:
        settings: `ALIGNING` and others; missing or empty ones choose nothing.

    Raises:
        UserError: OpenCV is missing, or `Targets` cannot be read.
    """
    found: list[Metric] = []
    if reach := settings.get("max_shift"):
        found += with_reach(reach)
    if motion := settings.get("register"):
        require_opencv("register", "detection")
        found += metrics_for(motion)
    if folder := settings.get("targets"):
        found += with_targets(Targets(folder).of)
    return found


class Targets:
    """Several targets of each image, in a folder for each.

    Which folder is that of an image is known by its own target, which is one of its pictures.

    Args:
        folder: The folder of these folders.

    Raises:
        UserError: It holds no pictures, one cannot be read, or two folders have an equal one.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._paths: dict[str, list[str]] = {}
        for name in pictures_in(folder):
            self._paths.setdefault(files.parent(name), []).append(files.join(folder, name))
        if not self._paths:
            raise UserError(f"targets: {folder} holds no pictures.")
        self._homes: dict[str, str] = {}
        for home, paths in self._paths.items():
            for path in paths:
                other = self._homes.setdefault(_digest(read_pixels(path)), home)
                if other != home:
                    raise UserError(
                        f"{path} is also in {files.join(folder, other)}, so it is not known whose "
                        "target it is."
                    )

    def of(self, sharp: np.ndarray) -> Iterator[np.ndarray]:
        """Yields all targets of an image, float32 [h, w, 3] in [0, 1].

        Args:
            sharp: The target of its pair, of the same form.

        Raises:
            UserError: It is in no folder, or another target is of another size.
        """
        home = self._homes.get(_digest(to_uint8(sharp)))
        if home is None:
            raise UserError(
                f"targets: no picture in {self._folder} is the target of the pair. Build whole "
                "images with one of them as the sharp half, neither resized nor cut into tiles."
            )
        for path in self._paths[home]:
            yield read_pixels(path, sharp.shape[:2]) / np.float32(255)


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()
