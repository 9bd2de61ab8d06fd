"""Where each array of a PyTorch network belongs in one of ours, and putting it there.

PyTorch's names are of the form `layer.weight`; ours are `layer/kernel`. A `Layout` has
one `Place` for each array, which says how the array is turned around on the way. Nothing is left
over on either side, or the weights are refused.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.errors import DataError
from tfdeblur.models.generator import Generator
from tfdeblur.registry import did_you_mean

Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, ...]

# How many names a message lists.
_LISTED = 5


@dataclasses.dataclass(frozen=True)
class Turn:
    """How an array changes its axes.

    Attributes:
        array: From PyTorch's array to ours.
        shape: From our shape to the one that PyTorch's array must have.
    """

    array: Callable[[np.ndarray], np.ndarray]
    shape: Callable[[Shape], Shape]


def _shuffled(array: np.ndarray) -> np.ndarray:
    """Convolution's kernel ahead of a pixel shuffle: see `tfdeblur.models.layers.PixelShuffle`."""
    kernel = array.transpose(2, 3, 1, 0)
    grouped = kernel.reshape(*kernel.shape[:-1], -1, 4)
    return grouped.swapaxes(-1, -2).reshape(kernel.shape)


_AS_IS = Turn(lambda array: array, lambda shape: shape)
# [out, in, height, width] to [height, width, in, out]; of transposed convolutions, in which both
# libraries have `in` and `out` the other way around, likewise.
_KERNEL = Turn(lambda a: a.transpose(2, 3, 1, 0), lambda s: (s[3], s[2], s[0], s[1]))
_SHUFFLED_KERNEL = Turn(_shuffled, _KERNEL.shape)
# [channels, 1, height, width] to [height, width, channels, 1].
_DEPTHWISE = Turn(lambda a: a.transpose(2, 3, 0, 1), lambda s: (s[2], s[3], s[0], s[1]))
# [1, channels, 1, 1] to [channels].
_FACTOR = Turn(lambda a: a.reshape(-1), lambda s: (1, *s, 1, 1))


@dataclasses.dataclass(frozen=True)
class Place:
    """One array: its name in PyTorch, ours (`layer/weight`), and how it is turned around."""

    theirs: str
    ours: str
    turn: Turn


@dataclasses.dataclass(frozen=True)
class Layout:
    """All arrays of a network.

    Attributes:
        places: One for each array.
        unused: Why arrays are left out, by a pattern that their whole names match.
    """

    places: Sequence[Place]
    unused: Mapping[str, str] = dataclasses.field(default_factory=dict)


def convolution(theirs: str, ours: str, *, bias: bool = True) -> list[Place]:
    """Returns the places of a convolution, plain or transposed."""
    return _with_bias(theirs, ours, _KERNEL, bias)


def depthwise(theirs: str, ours: str) -> list[Place]:
    """Returns the places of a depthwise convolution."""
    return _with_bias(theirs, ours, _DEPTHWISE, True)


def before_shuffle(theirs: str, ours: str) -> list[Place]:
    """Returns the place of a convolution without bias whose channels become pixels."""
    return _with_bias(theirs, ours, _SHUFFLED_KERNEL, False)


def _with_bias(theirs: str, ours: str, turn: Turn, bias: bool) -> list[Place]:
    places = [Place(f"{theirs}.weight", f"{ours}/kernel", turn)]
    return [*places, Place(f"{theirs}.bias", f"{ours}/bias", _AS_IS)] if bias else places


def norm(theirs: str, ours: str, *, moving: bool = False) -> list[Place]:
    """Returns the places of a layer norm, or with `moving` averages of a batch norm."""
    names = {"weight": "gamma", "bias": "beta"}
    if moving:
        names |= {"running_mean": "moving_mean", "running_var": "moving_variance"}
    return [Place(f"{theirs}.{a}", f"{ours}/{b}", _AS_IS) for a, b in names.items()]


def factor(theirs: str, ours: str) -> list[Place]:
    """Returns the place of one factor a channel, of `tfdeblur.models.nafnet.ScaledAdd`."""
    return [Place(theirs, f"{ours}/scale", _FACTOR)]


# ------------------------------------------------------------------ what weights tell of a network


def array(arrays: Arrays, name: str) -> np.ndarray:
    """Returns an array by name.

    Raises:
        DataError: There is none; near names are suggested.
    """
    if name not in arrays:
        raise DataError(f"The weights lack {name}.{_near(name, arrays)}")
    return arrays[name]


def channels(arrays: Arrays, name: str) -> int:
    """Returns how many channels a convolution makes."""
    shape = array(arrays, name).shape
    if len(shape) != 4:
        raise DataError(f"{name} has the shape {list(shape)}; a convolution's has four sizes.")
    return int(shape[0])


def count(arrays: Arrays, pattern: str, first: int = 0) -> int:
    """Returns how many parts of a network are numbered in the names.

    Args:
        arrays: By name.
        pattern: What names begin with; its one group is the number.
        first: The number of the first part.

    Raises:
        DataError: A number is left out.
    """
    found = {int(match[1]) for name in arrays if (match := re.match(pattern, name))}
    for number in range(first, first + len(found)):
        if number not in found:
            readable = pattern.replace("\\", "").replace("(d+)", str(number))
            raise DataError(f"The weights lack everything that begins with {readable}")
    return len(found)


# ----------------------------------------------------------------------------- putting them there


def fill(generator: Generator, mapping: Layout, arrays: Arrays) -> dict[str, int]:
    """Fills every weight of a generator, each from one array.

    Args:
        generator: Its network's weights are set, all or none.
        mapping: Where each array belongs.
        arrays: By PyTorch's names.

    Returns:
        How many arrays were left out, by the reason.

    Raises:
        DataError: An array is missing, unknown, of another shape, or not of finite numbers.
    """
    targets = {
        f"{layer.name}/{weight.name}": weight
        for layer in generator.network.layers
        for weight in layer.weights
    }
    places = {place.theirs: place for place in mapping.places}
    if len(places) != len(mapping.places) or sorted(targets) != sorted(
        place.ours for place in mapping.places
    ):
        raise ValueError(f"the mapping of {generator.name} does not fit its network one to one")
    left_out, unknown = _left_out(arrays, places, mapping.unused)
    missing = [name for name in places if name not in arrays]
    unfit = [
        problem
        for name, place in places.items()
        if name in arrays and (problem := _unfit(name, arrays[name], place, targets[place.ours]))
    ]
    problems = [
        *_first(missing, lambda name: f"{name} is missing.{_near(name, unknown)}"),
        *_first(unknown, lambda name: f"{name} is not known.{_near(name, missing)}"),
        *_first(unfit, str),
    ]
    if problems:
        raise DataError(
            f"These are not the weights of a {generator.name} with "
            f"{_readable(generator.options)}:\n" + "\n".join(f"  {line}" for line in problems)
        )
    for name, place in places.items():
        targets[place.ours].assign(place.turn.array(arrays[name]).astype(np.float32))
    return left_out


def _left_out(
    arrays: Arrays, places: Mapping[str, Place], unused: Mapping[str, str]
) -> tuple[dict[str, int], list[str]]:
    left_out: dict[str, int] = {}
    unknown = []
    for name in arrays:
        if name in places:
            continue
        reason = next((why for pattern, why in unused.items() if re.fullmatch(pattern, name)), None)
        if reason is None:
            unknown.append(name)
        else:
            left_out[reason] = left_out.get(reason, 0) + 1
    return left_out, unknown


def _first(items: Sequence[str], describe: Callable[[str], str]) -> list[str]:
    """Describes the first of what may be a long list of one kind of problem."""
    lines = [describe(item) for item in items[:_LISTED]]
    more = len(items) - _LISTED
    return [*lines, f"(and {more} more like this)"] if more > 0 else lines


def _near(name: str, others: Any) -> str:
    hint = did_you_mean(name, others)
    return hint if "Did you mean" in hint else ""


def _unfit(name: str, values: np.ndarray, place: Place, target: Any) -> str:
    wanted = place.turn.shape(tuple(target.shape))
    if values.shape != wanted:
        return f"{name} has the shape {list(values.shape)} and should have {list(wanted)}."
    if not np.issubdtype(values.dtype, np.floating):
        return f"{name} holds {values.dtype} and should hold floating-point numbers."
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32)).all()
    if not finite:
        return f"{name} holds numbers that are not finite in float32."
    return ""


def _readable(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())
