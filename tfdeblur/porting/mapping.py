"""Mapping of the arrays of a PyTorch network to the weights of a generator, and back.

PyTorch's names have the form `layer.weight`; ours are `layer/kernel`. A `Layout` has one `Place`
per array, which defines how its axes are permuted. Weights are rejected unless the mapping is one
to one.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.errors import DataError
from tfdeblur.models.generator import Generator
from tfdeblur.registry import near_names

Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, ...]

# Array names listed in a message.
_LISTED = 5


@dataclasses.dataclass(frozen=True)
class Permutation:
    """A reordering of the entries of an array.

    Attributes:
        array: Converts PyTorch's array to ours.
        shape: Returns the shape of PyTorch's array for ours.
    """

    array: Callable[[np.ndarray], np.ndarray]
    shape: Callable[[Shape], Shape]


def _shuffled(array: np.ndarray) -> np.ndarray:
    """Permutes the kernel before a pixel shuffle; see `tfdeblur.models.layers.PixelShuffle`."""
    kernel = array.transpose(2, 3, 1, 0)
    grouped = kernel.reshape(*kernel.shape[:-1], -1, 4)
    return grouped.swapaxes(-1, -2).reshape(kernel.shape)


_AS_IS = Permutation(lambda array: array, lambda shape: shape)
# [out, in, height, width] to [height, width, in, out]. The same permutation applies to transposed
# convolutions, where both libraries swap `in` and `out`.
_KERNEL = Permutation(lambda a: a.transpose(2, 3, 1, 0), lambda s: (s[3], s[2], s[0], s[1]))
_SHUFFLED_KERNEL = Permutation(_shuffled, _KERNEL.shape)
# [channels, 1, height, width] to [height, width, channels, 1].
_DEPTHWISE = Permutation(lambda a: a.transpose(2, 3, 0, 1), lambda s: (s[2], s[3], s[0], s[1]))
# [1, channels, 1, 1] to [channels].
_FACTOR = Permutation(lambda a: a.reshape(-1), lambda s: (1, *s, 1, 1))


@dataclasses.dataclass(frozen=True)
class Place:
    """One array: its name in PyTorch, ours (`layer/weight`), and the permutation of its axes."""

    theirs: str
    ours: str
    permutation: Permutation


@dataclasses.dataclass(frozen=True)
class Layout:
    """All arrays of a network.

    Attributes:
        places: One per array.
        unused: Reasons for omitting arrays, by patterns of their full names.
        placeholders: Shapes of arrays that PyTorch's network has without using them, by name.
    """

    places: Sequence[Place]
    unused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    placeholders: Mapping[str, Shape] = dataclasses.field(default_factory=dict)


def convolution(theirs: str, ours: str, *, bias: bool = True) -> list[Place]:
    """Returns the places of a convolution, plain or transposed."""
    return _with_bias(theirs, ours, _KERNEL, bias)


def depthwise(theirs: str, ours: str, *, bias: bool = True) -> list[Place]:
    """Returns the places of a depthwise convolution."""
    return _with_bias(theirs, ours, _DEPTHWISE, bias)


def before_shuffle(theirs: str, ours: str) -> list[Place]:
    """Returns the place of a convolution without bias before a pixel shuffle."""
    return _with_bias(theirs, ours, _SHUFFLED_KERNEL, False)


def _with_bias(theirs: str, ours: str, permutation: Permutation, bias: bool) -> list[Place]:
    places = [Place(f"{theirs}.weight", f"{ours}/kernel", permutation)]
    return [*places, Place(f"{theirs}.bias", f"{ours}/bias", _AS_IS)] if bias else places


def norm(theirs: str, ours: str, *, moving: bool = False) -> list[Place]:
    """Returns the places of a layer norm, or, with `moving` averages, of a batch norm."""
    names = {"weight": "gamma", "bias": "beta"}
    if moving:
        names |= {"running_mean": "moving_mean", "running_var": "moving_variance"}
    return [Place(f"{theirs}.{a}", f"{ours}/{b}", _AS_IS) for a, b in names.items()]


def factor(theirs: str, ours: str) -> list[Place]:
    """Returns the place of the factors per channel of `tfdeblur.models.nafnet.ScaledAdd`."""
    return [Place(theirs, f"{ours}/scale", _FACTOR)]


# ------------------------------------------------------------------------ options from the weights


def array(arrays: Arrays, name: str) -> np.ndarray:
    """Returns an array by name.

    Raises:
        DataError: The array is missing; near names are suggested.
    """
    if name not in arrays:
        raise DataError(f"The weights do not contain {name}.{near_names(name, arrays)}")
    return arrays[name]


def channels(arrays: Arrays, name: str) -> int:
    """Returns the number of output channels of a convolution."""
    shape = array(arrays, name).shape
    if len(shape) != 4:
        raise DataError(
            f"{name} has shape {list(shape)}; the kernel of a convolution has four axes."
        )
    return int(shape[0])


def count(arrays: Arrays, pattern: str, first: int = 0) -> int:
    """Returns the number of numbered parts of a network.

    Args:
        arrays: Arrays by name.
        pattern: Matches the beginning of names; its only group is the number of the part.
        first: The number of the first part.

    Raises:
        DataError: A number is missing.
    """
    # Text, because a name may have more digits than Python converts.
    found = {match[1] for name in arrays if (match := re.match(pattern, name))}
    for number in range(first, first + len(found)):
        if str(number) not in found:
            readable = pattern.replace("\\", "").replace("(d+)", str(number))
            raise DataError(f"The weights contain no arrays whose names start with {readable}")
    return len(found)


# ------------------------------------------------------------------------------ setting the weights


def fill(generator: Generator, mapping: Layout, arrays: Arrays) -> dict[str, int]:
    """Sets every weight of a generator, each from one array.

    Args:
        generator: All weights of its network are set, or none if there is an error.
        mapping: The place of each array.
        arrays: Arrays by PyTorch's names.

    Returns:
        Numbers of omitted arrays by reason.

    Raises:
        DataError: An array is missing, unknown, of another shape, or not finite.
    """
    targets = _weights(generator)
    places = {place.theirs: place for place in mapping.places}
    if len(places) != len(mapping.places) or sorted(targets) != sorted(
        place.ours for place in mapping.places
    ):
        raise ValueError(f"the mapping of {generator.name} is not one to one")
    omitted, unknown = _omitted(arrays, places, mapping.unused)
    missing = [name for name in places if name not in arrays]
    unfit = [
        problem
        for name, place in places.items()
        if name in arrays and (problem := _unfit(name, arrays[name], place, targets[place.ours]))
    ]
    problems = [
        *_first(missing, lambda name: f"{name} is missing.{near_names(name, unknown)}"),
        *_first(unknown, lambda name: f"{name} is unknown.{near_names(name, missing)}"),
        *_first(unfit, str),
    ]
    if problems:
        raise DataError(
            f"These are not the weights of a {generator.name} with "
            f"{_readable(generator.options)}:\n" + "\n".join(f"  {line}" for line in problems)
        )
    for name, place in places.items():
        targets[place.ours].assign(place.permutation.array(arrays[name]).astype(np.float32))
    return omitted


def _weights(generator: Generator) -> dict[str, Any]:
    return {
        f"{layer.name}/{weight.name}": weight
        for layer in generator.network.layers
        for weight in layer.weights
    }


def extract(generator: Generator, mapping: Layout) -> dict[str, np.ndarray]:
    """Returns a generator's weights as the arrays of PyTorch's network; the inverse of `fill`.

    Args:
        generator: Its weights stay as they are.
        mapping: The place of each array, whose permutation must move entries and not change them.

    Returns:
        float32 arrays by PyTorch's names; placeholders are zero.
    """
    weights = _weights(generator)
    arrays = {name: np.zeros(shape, "float32") for name, shape in mapping.placeholders.items()}
    for place in mapping.places:
        ours = np.asarray(weights[place.ours], np.float32)
        shape = place.permutation.shape(ours.shape)
        # Where each entry of PyTorch's array goes; float64 because a permutation may divide.
        source = place.permutation.array(np.arange(ours.size, dtype=np.float64).reshape(shape))
        if not np.array_equal(np.sort(source, axis=None), np.arange(ours.size)):
            raise ValueError(f"the permutation of {place.theirs} changes its entries")
        theirs = np.empty(ours.size, np.float32)
        theirs[source.astype(np.int64).reshape(-1)] = ours.reshape(-1)
        arrays[place.theirs] = theirs.reshape(shape)
    return arrays


def _omitted(
    arrays: Arrays, places: Mapping[str, Place], unused: Mapping[str, str]
) -> tuple[dict[str, int], list[str]]:
    omitted: dict[str, int] = {}
    unknown = []
    for name in arrays:
        if name in places:
            continue
        reason = next((why for pattern, why in unused.items() if re.fullmatch(pattern, name)), None)
        if reason is None:
            unknown.append(name)
        else:
            omitted[reason] = omitted.get(reason, 0) + 1
    return omitted, unknown


def _first(items: Sequence[str], describe: Callable[[str], str]) -> list[str]:
    """Returns messages for the first items, and one for all others."""
    lines = [describe(item) for item in items[:_LISTED]]
    more = len(items) - _LISTED
    return [*lines, f"(and {more} more like this)"] if more > 0 else lines


def _unfit(name: str, values: np.ndarray, place: Place, target: Any) -> str:
    expected = place.permutation.shape(tuple(target.shape))
    if values.shape != expected:
        return f"{name} has shape {list(values.shape)} instead of {list(expected)}."
    if not np.issubdtype(values.dtype, np.floating):
        return f"{name} has dtype {values.dtype} instead of a floating-point dtype."
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32)).all()
    if not finite:
        return f"{name} contains values that are not finite in float32."
    return ""


def _readable(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())
