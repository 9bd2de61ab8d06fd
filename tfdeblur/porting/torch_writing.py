"""Files of `torch.save` with named arrays, written without PyTorch; `torch_files` reads them.

Such a file is a zip archive of a pickle that describes the tensors and of the numbers of each. The
pickle is written by its instructions, because Python's pickler would import what it names, which is
PyTorch's.

Reference:
    PyTorch's documentation, "Serialization semantics"; the source of Python's `pickletools`.
"""

import io
import math
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

_HEADER = 34  # bytes before an entry besides its name and what fills up: 4 of them say how many


def serialized(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns a ``.pth`` file, as of ``torch.save(network.state_dict(), path)``.

    Args:
        arrays: Arrays by name, which become float32 tensors; of equal ones the file is equal.
    """
    pickled = [pickle.PROTO + b"\2", pickle.EMPTY_DICT, pickle.MARK]
    entries: dict[str, bytes] = {"data.pkl": b"", "byteorder": b"little", "version": b"3\n"}
    for key, (name, array) in enumerate(arrays.items()):
        pickled += [_plain(name), _tensor(str(key), array.shape)]
        entries[f"data/{key}"] = np.asarray(array, "<f4").tobytes()
    entries["data.pkl"] = b"".join([*pickled, pickle.SETITEMS, pickle.STOP])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(f"archive/{name}")  # without the time
            # Numbers begin at multiples of 64 bytes, for programs that map the file into memory.
            room = -(file.tell() + _HEADER + len(entry.filename)) % 64
            entry.extra = b"FB" + room.to_bytes(2, "little") + bytes(room)
            archive.writestr(entry, content)
    return file.getvalue()


def _tensor(key: str, shape: tuple[int, ...]) -> bytes:
    """Returns the instructions that rebuild a tensor from all numbers of an entry of the file."""
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    count = math.prod(shape)
    storage = [_plain("storage"), _name("torch", "FloatStorage"), *map(_plain, (key, "cpu", count))]
    layout = map(_plain, (0, shape, strides, False))  # first number; whether it has a gradient
    hooks = _name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    arguments = [_tuple(storage) + pickle.BINPERSID, *layout, hooks]
    return _name("torch._utils", "_rebuild_tensor_v2") + _tuple(arguments) + pickle.REDUCE


def _name(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _tuple(items: list[bytes]) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _plain(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]  # without the instructions that start and end it
