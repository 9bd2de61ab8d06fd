"""The files of a preset: a folder that a model hub takes as it is.

``model.safetensors`` holds the weights, ``preset.yaml`` everything that is known about them, and
``README.md`` is the model card, which is generated from ``preset.yaml``. A folder with the first
two is loaded wherever a checkpoint is; the weights are compared with their SHA-256 first.
"""

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Field

from tfdeblur.config import settings
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import files

FACTS = "preset.yaml"
WEIGHTS = "model.safetensors"
CARD = "README.md"

MANIFEST_FORMAT = "preset"
"""The entry `format` of a preset's `manifest`, where that of a checkpoint is a number."""

NAME = "^[a-z0-9][a-z0-9._-]*$"
_PROBE_SIDE, _PROBE_STEP = 32, 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
    """The file of weights."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the file"""
    bytes: Annotated[int, Field(gt=0)]
    """size of the file"""
    parameters: Annotated[int, Field(gt=0)]
    """number of weights"""
    precision: Literal["float32", "float16"]
    """data type in the file; networks run in float32"""
    url: str | None = None
    """where the weights are downloaded from, for presets of the package that do not contain them"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights were trained."""

    data: str = ""
    """the training data"""
    blur: str = ""
    """the blur in it, which is what the network can remove"""
    command: str = ""
    """the command"""
    images: Annotated[int, Field(ge=0)]
    """images seen"""
    of: Annotated[int | None, Field(gt=0)] = None
    """images of the complete training; unknown if unset"""
    averaged: bool = False
    """whether the weights are a running average"""
    device: str = ""
    """what trained them, such as two CPU cores"""
    hours: Annotated[float | None, Field(gt=0)] = None
    """how long that took; unknown if unset"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of the stored weights on one split."""

    data: str
    """data set and split"""
    images: Annotated[int, Field(gt=0)]
    """number of images"""
    protocol: str
    """how the scores were computed"""
    blurred: dict[str, float]
    """means of the blurred input by metric"""
    restored: dict[str, float]
    """means of the restored images by metric"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that is known about trained weights; the content of ``preset.yaml``."""

    format: Literal[1] = 1
    """version of this schema"""
    name: Annotated[str, Field(pattern=NAME)]
    """name of the preset"""
    version: Annotated[int, Field(ge=1)] = 1
    """counts the weights published under this name"""
    about: str = ""
    """what the network does, in a sentence or two"""
    model: dict[str, Any]
    """section `model` of a configuration: name and options of the network"""
    weights: Weights
    license: str = ""
    """SPDX identifier of the license of the weights"""
    terms: str = ""
    """terms of the training data"""
    training: Training
    scores: tuple[Scores, ...] = ()
    """scores, one entry for each split"""
    probe: tuple[float, ...] = ()
    """`probe_of` the restored `probe_image`, which shows that a network computes what it should"""

    def manifest(self) -> dict[str, Any]:
        """Returns the entries that the `meta.json` of a checkpoint has."""
        return {
            "format": MANIFEST_FORMAT,
            "images": self.training.images,
            "model": dict(self.model),
            "averaged": self.training.averaged,
            "metrics": {},
            "files": {WEIGHTS: {"bytes": self.weights.bytes, "sha256": self.weights.sha256}},
            "origin": {"preset": self.name, "version": self.version, "license": self.license},
        }


# ------------------------------------------------------------------------------------------- files


def is_preset(folder: str) -> bool:
    """Returns whether a folder holds ``preset.yaml``."""
    return files.exists(files.join(folder, FACTS))


def parse(text: str, origin: str) -> Preset:
    """Reads the content of ``preset.yaml``.

    Args:
        text: The content.
        origin: Path of the file, for messages.

    Raises:
        DataError: It is damaged, incomplete or of a later version; the message names the keys.
    """
    try:
        tree = settings.parse_yaml(text, origin)
        preset = settings.validate(Preset, tree)
    except ConfigError as error:
        reason = str(error).removeprefix(f"{origin} ")
        raise DataError(f"{origin} does not describe a preset: {reason}") from error
    if not isinstance(preset.model.get("name"), str):
        raise DataError(f"{origin} does not describe a preset: model.name is missing.")
    return preset


def read(folder: str) -> Preset:
    """Reads ``preset.yaml`` of a folder; see `parse`.

    Raises:
        DataError: The file is damaged, incomplete or of a later version.
        UserError: It cannot be read.
    """
    path = files.join(folder, FACTS)
    return parse(files.read_text(path), path)


def to_yaml(preset: Preset) -> str:
    """Returns the content of ``preset.yaml``."""
    return str(yaml.dump(settings.to_plain(preset), Dumper=_Dumper, sort_keys=False, width=100))


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, and lists of numbers on as few lines as fit."""

    def represent_text(self, text: str) -> yaml.Node:
        return self.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)

    def represent_items(self, items: list[Any]) -> yaml.Node:
        flow = all(isinstance(item, float) for item in items)
        return self.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(list, _Dumper.represent_items)


def verify(folder: str) -> Preset:
    """Compares the weights in a folder with ``preset.yaml``, which it returns.

    Raises:
        DataError: The weights are missing or other ones, or ``preset.yaml`` is damaged.
        UserError: A file cannot be read.
    """
    preset, path = read(folder), files.join(folder, WEIGHTS)
    if not files.exists(path):
        raise DataError(f"{path} is missing: {FACTS} beside it describes weights of that name.")
    found = files.sha256_of(path)
    if found != preset.weights.sha256:
        raise DataError(
            f"{path} is damaged or a file of other weights, and was not read: its SHA-256 is "
            f"{found}, and {FACTS} beside it states {preset.weights.sha256}. Remove the folder "
            "and get it again."
        )
    return preset


# ------------------------------------------------------------------------------------------- probe


def probe_image() -> np.ndarray:
    """Returns an image of edges and waves, float32 [1, 32, 32, 3] in [0, 1]."""
    rows, columns, colors = np.ogrid[:_PROBE_SIDE, :_PROBE_SIDE, :3]
    waves = np.sin(0.7 * columns + colors)
    edges = np.sign(np.sin(0.4 * rows + 0.15 * columns + colors))
    return (0.5 + 0.25 * waves + 0.25 * edges).astype(np.float32)[np.newaxis]


def probe_of(restored: np.ndarray) -> tuple[float, ...]:
    """Returns the green value of every eighth pixel, rounded to four decimals.

    Args:
        restored: The restored `probe_image`, float32 [1, 32, 32, 3].
    """
    green = restored[0, ::_PROBE_STEP, ::_PROBE_STEP, 1]
    return tuple(round(float(value), 4) for value in green.flat)
