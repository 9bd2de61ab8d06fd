"""Types of configuration fields: durations, intervals, image sizes, checkpoint counts."""

import operator
import re
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
from pydantic_core import core_schema

from tfdeblur.errors import ConfigError

_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
_DURATION = re.compile(rf"^\s*{_NUMBER}\s*(images|epochs|steps)?\s*$")
_MINUTES = re.compile(rf"^\s*{_NUMBER}\s*minutes?\s*$")
_SIZE = re.compile(r"^\s*(\d+)\s*(?:[xX]\s*(\d+))?\s*$")


def _check_duration(value: Any) -> str:
    text = f"{value:d}" if isinstance(value, int) else str(value)
    if isinstance(value, bool) or _DURATION.match(text) is None:
        raise ValueError("must look like '120 epochs', '5000 steps' or '250000 images'")
    number, unit = split_duration(text)
    return f"{number:g} {unit}" if number < 1e6 else f"{number:.0f} {unit}"


def split_duration(text: str) -> tuple[float, str]:
    """Returns the number and the unit of a duration: ``images``, ``epochs`` or ``steps``."""
    match = _DURATION.match(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a duration such as '120 epochs'.")
    return float(match.group(1)), match.group(2) or "images"


def images_of(duration: str, *, epoch_images: int, global_batch: int) -> int:
    """Converts a duration to a number of images, the clock of all schedules.

    Args:
        duration: ``"120 epochs"``, ``"5000 steps"`` (generator updates) or ``"1e6 images"``.
        epoch_images: Images in one epoch of the training data.
        global_batch: Images per step, over all replicas and micro-batches.

    Returns:
        The number of images; at least 1 unless the duration is 0.

    Example:
        >>> images_of("5 steps", epoch_images=1000, global_batch=16)
        80
    """
    number, unit = split_duration(duration)
    factor = {"images": 1, "epochs": epoch_images, "steps": global_batch}[unit]
    return max(1, round(number * factor)) if number else 0


def _check_period(value: Any) -> str:
    text = _check_duration(value)
    if split_duration(text)[0] == 0:
        raise ValueError(f"must be more than {text}")
    return text


def _check_interval(value: Any) -> str:
    minutes = _MINUTES.match(str(value))
    if minutes is None:
        try:
            return _check_period(value)
        except ValueError as error:
            raise ValueError(f"{error}, or '20 minutes'") from error
    if float(minutes.group(1)) == 0:
        raise ValueError("must be more than 0 minutes")
    return f"{float(minutes.group(1)):g} minutes"


def seconds_of(interval: str) -> float | None:
    """Returns the length of an interval given in minutes, or None if it is given in images.

    Example:
        >>> seconds_of("20 minutes")
        1200.0
    """
    minutes = _MINUTES.match(interval)
    return None if minutes is None else 60.0 * float(minutes.group(1))


class Size(NamedTuple):
    """The size of an image in pixels: (height, width), written ``WIDTHxHEIGHT`` as text.

    Example:
        >>> Size.parse("128x96")
        Size(height=96, width=128)
        >>> str(Size(height=96, width=128))
        '128x96'
    """

    height: int
    width: int

    @classmethod
    def parse(cls, value: Any) -> "Size":
        """Reads ``256`` (a square), ``WIDTHxHEIGHT`` or a pair (height, width).

        Raises:
            ValueError: The value is not a size of at least 1x1.
        """
        if isinstance(value, list | tuple) and len(value) == 2:
            try:
                size = cls(*map(operator.index, value))
            except TypeError:
                raise ValueError("must be two whole numbers: height and width") from None
        else:
            match = _SIZE.match(str(value))
            if match is None:
                raise ValueError("must look like 256 or 128x96 (width x height)")
            width = int(match.group(1))
            size = cls(int(match.group(2) or width), width)
        if min(size) < 1:
            raise ValueError("must be at least 1x1")
        return size

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)


def _check_keep(value: Any) -> int | str:
    text = str(value)
    if text == "all" or (text.isdigit() and int(text) > 0):
        return text if text == "all" else int(text)
    raise ValueError("must be an integer of at least 1, or 'all'")


Keep = Annotated[int | Literal["all"], pydantic.BeforeValidator(_check_keep)]
Duration = Annotated[str, pydantic.BeforeValidator(_check_duration)]
Period = Annotated[str, pydantic.BeforeValidator(_check_period)]
Interval = Annotated[str, pydantic.BeforeValidator(_check_interval)]
