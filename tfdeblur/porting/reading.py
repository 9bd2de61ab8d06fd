"""Reading weights files: their format, and their arrays by name."""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np
import safetensors

from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files
from tfdeblur.io.array_files import read_npz
from tfdeblur.porting.torch_files import BFLOAT16, ZIP, TorchFile, is_torch_file, to_array
from tfdeblur.registry import did_you_mean

# Prefixes that wrappers of a network add to every name.
_PREFIXES = ("module.", "_orig_mod.")

_SAFETENSORS_KINDS = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": BFLOAT16,
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """The arrays of a weights file.

    Attributes:
        path: The file.
        entry: Key of the arrays in it, such as `model`; empty if it contains nothing else.
        sha256: SHA-256 of the file.
        arrays: Arrays by their names in the file, without the prefixes of wrappers.
    """

    path: str
    entry: str
    sha256: str
    arrays: Mapping[str, np.ndarray]


def read(path: str, entry: str | None = None) -> WeightsFile:
    """Reads weights; the format is detected from the content of the file.

    Args:
        path: A file of `torch.save`, safetensors or `numpy.savez`.
        entry: Key of the weights in a file of `torch.save`, such as `model`; needed only if there
            are several.

    Returns:
        The arrays in the precision of the file; bfloat16 as float32.

    Raises:
        DataError: The file is damaged, of another format, or contains no weights.
        UserError: It contains several sets of weights, or not the requested one.
    """
    data = files.read_bytes(path)
    if is_torch_file(data):
        place, arrays = _from_torch(TorchFile(data, path), path, entry)
    elif entry:
        raise UserError(
            f"entry: {path} contains a single set of weights, not {entry!r}; remove this option."
        )
    elif data.startswith(ZIP):
        place, arrays = "", read_npz(data, path)
    elif data[8:9] == b"{":
        place, arrays = "", _from_safetensors(data, path)
    else:
        raise DataError(
            f"{path} is not a weights file of torch.save (.pth, .pt), safetensors or numpy.savez "
            "(.npz). Files of PyTorch 0.1 must be loaded and saved by a newer PyTorch first."
        )
    if not arrays:
        raise DataError(f"{path} contains no weights.")
    return WeightsFile(path, place, hashlib.sha256(data).hexdigest(), _without_prefix(arrays))


def _from_torch(file: TorchFile, path: str, entry: str | None) -> tuple[str, dict[str, np.ndarray]]:
    found = file.dictionaries()
    if not found:
        raise DataError(
            f"{path} contains no dictionary of weights. Save one: torch.save(network.state_dict(), "
            "'weights.pth') in PyTorch."
        )
    if entry is not None and entry not in found:
        raise UserError(f"entry: {path} contains no weights {entry!r}.{did_you_mean(entry, found)}")
    if entry is None and len(found) > 1:
        raise UserError(
            f"{path} contains several sets of weights: {', '.join(sorted(found))}. Choose one with "
            "--entry."
        )
    place = entry if entry is not None else next(iter(found))
    return place, {name: file.array(name, tensor) for name, tensor in found[place].items()}


def _from_safetensors(data: bytes, path: str) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.deserialize(data)
        return {
            name: to_array(tensor["data"], _SAFETENSORS_KINDS[tensor["dtype"]], tensor["shape"])
            for name, tensor in tensors
        }
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is damaged or not a supported safetensors file: {error}"
        ) from error


def _without_prefix(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    common = dict(arrays)
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in common)), ""):
        common = {name.removeprefix(prefix): values for name, values in common.items()}
    return common
