"""Named NumPy arrays of networks and optimizers, and the safetensors files that hold them.

Names are paths such as ``encoder1_conv/kernel``. They depend on the architecture alone: not on
Keras's backend, and not on how many networks the process has built before.
"""

import collections
import re
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np
import safetensors
import safetensors.numpy

from tfdeblur.errors import DataError
from tfdeblur.io import files

Arrays = dict[str, np.ndarray]

_SHOWN_NAMES = 3


class ArrayMismatch(DataError):
    """Arrays that are missing, surplus or of another shape."""


# ------------------------------------------------------------------------------------------- names


def stable_names(paths: Sequence[str]) -> list[str]:
    """Returns the paths of variables with their automatic numbers counted from 0.

    Keras numbers unnamed layers per process: ``conv2d_7`` and ``conv2d_8`` become ``conv2d`` and
    ``conv2d_1``, which is what a new process calls them.

    Args:
        paths: `keras.Variable.path` of all variables of one network.

    Raises:
        ValueError: Two variables would have the same name.
    """
    numbers: dict[tuple[str, str], set[int]] = collections.defaultdict(set)
    for path in paths:
        for parent, base, number in _segments(path):
            numbers[parent, base].add(number)
    ranks = {key: sorted(found) for key, found in numbers.items()}
    names = []
    for path in paths:
        parts = []
        for parent, base, number in _segments(path):
            rank = ranks[parent, base].index(number)
            parts.append(f"{base}_{rank}" if rank else base)
        names.append("/".join(parts))
    if len(set(names)) < len(names):
        twice = [name for name, count in collections.Counter(names).items() if count > 1]
        raise ValueError(f"Several variables are called {twice[0]!r}: give their layers names.")
    return names


def _segments(path: str) -> Iterable[tuple[str, str, int]]:
    """Yields parent, name without its number, and number (0 without one) of each path segment."""
    parts = path.split("/")
    for index, part in enumerate(parts):
        numbered = re.fullmatch(r"(.+)_([1-9][0-9]*)", part)
        base, number = (numbered[1], int(numbered[2])) if numbered else (part, 0)
        yield "/".join(parts[:index]), base, number


def network_variables(network: keras.Model) -> dict[str, keras.Variable]:
    """Returns all variables of a network by name, the seeds of random generators included."""
    variables = network.variables
    return dict(zip(stable_names([v.path for v in variables]), variables, strict=True))


def weight_variables(network: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights of a network by name: trainable ones and moving statistics."""
    weights = {id(variable) for variable in network.weights}
    return {name: v for name, v in network_variables(network).items() if id(v) in weights}


def optimizer_variables(
    optimizer: keras.Optimizer, network: keras.Model
) -> dict[str, keras.Variable]:
    """Returns the variables of a network's optimizer by name.

    A slot is named after its weight: ``encoder1_conv/kernel/momentum``.
    """
    # Keras joins the weight's path and the slot's name: ``encoder1_conv_kernel_momentum``.
    prefixes = {f"{v.path}/".replace("/", "_"): n for n, v in network_variables(network).items()}
    named = {}
    for variable in optimizer.variables:
        name = variable.path.split("/", 1)[-1]
        fitting = [prefix for prefix in prefixes if name.startswith(prefix)]
        if fitting:
            prefix = max(fitting, key=len)
            name = f"{prefixes[prefix]}/{name.removeprefix(prefix)}"
        named[name] = variable
    return named


# ------------------------------------------------------------------------------------------ values


def to_arrays(variables: Mapping[str, keras.Variable]) -> Arrays:
    """Copies the values of variables to the host."""
    return {name: keras.ops.convert_to_numpy(v) for name, v in variables.items()}


def assign_arrays(
    variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray]
) -> None:
    """Assigns arrays to the variables of the same names; all or none.

    Raises:
        ArrayMismatch: Names or shapes differ.
    """
    problems = [
        ("missing", variables.keys() - arrays.keys()),
        ("surplus", arrays.keys() - variables.keys()),
        (
            "of another shape",
            {
                name
                for name in variables.keys() & arrays.keys()
                if tuple(variables[name].shape) != arrays[name].shape
            },
        ),
    ]
    found = [_describe(kind, sorted(names)) for kind, names in problems if names]
    if found:
        raise ArrayMismatch("; ".join(found))
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _describe(kind: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    more = ", ..." if len(names) > _SHOWN_NAMES else ""
    return f"{len(names)} {'array is' if len(names) == 1 else 'arrays are'} {kind} ({shown}{more})"


# ------------------------------------------------------------------------------------------- files


def serialized(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns the content of a safetensors file."""
    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content: bytes = safetensors.numpy.save(dense)
    return content


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a safetensors file.

    Raises:
        UserError: The file cannot be written.
    """
    files.write_bytes(path, serialized(arrays))


def read_arrays(path: str) -> Arrays:
    """Reads a safetensors file.

    Raises:
        DataError: It is not a safetensors file.
        UserError: The file cannot be read.
    """
    try:
        return safetensors.numpy.load(files.read_bytes(path))
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path} is not a safetensors file: {error}.") from error
