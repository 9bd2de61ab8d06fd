"""Reads the weights in files of `torch.save` without PyTorch and without running code in them.

Such a file consists of a pickle that describes tensors, and of their numbers. A pickle names the
functions that rebuild its objects, and the author of the file chooses the names. Here a name either
resolves to one of the few stand-ins below or raises an error: nothing is imported, and the result
are descriptions (`Tensor`), whose numbers are copied afterwards, within the bounds of the file.

Both layouts are supported: the zip archive of PyTorch 1.6 and later, and the older stream of
pickles, in which weights of older papers are published.

Reference:
    PyTorch's documentation, "Serialization semantics"; Python's, "Restricting Globals" of `pickle`.
"""

import collections
import io
import math
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfdeblur.errors import DataError
from tfdeblur.io.array_files import damage_of, largest_content

# The first pickle of the older layout, and the first bytes of any pickle of that protocol.
_MAGIC = 0x1950A86A20F9469CFC6C
_PICKLE = b"\x80\x02"
ZIP = b"PK\x03\x04"
_DESCRIPTION = "/data.pkl"

BFLOAT16 = "bfloat16"  # not a NumPy dtype; the numbers are read as 16 bits
_STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

# Maximum nesting of a dictionary of weights: checkpoint["model"], checkpoint["state"]["model"].
_DEPTH = 2

# Of a tensor, and items of the description of a storage.
_MAX_AXES = 64

_REMEMBERING = ("PUT", "BINPUT", "LONG_BINPUT")

# Raised when reading a damaged or malicious pickle.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class Storage(NamedTuple):
    """A sequence of numbers in the file: its key, the dtype, the count, and the first number."""

    key: str
    kind: str
    numbers: int
    first: int


class Tensor(NamedTuple):
    """A tensor as described by the file; offset and strides are in numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Refused(pickle.UnpicklingError):
    """The pickle refers to a function or dtype that weights do not need."""


def _plain_tuple(value: Any) -> tuple[Any, ...]:
    if type(value) is not tuple or len(value) > _MAX_AXES:
        raise ValueError("its tensors are not described as by PyTorch")
    return value


def _check_integers(*values: Any) -> None:
    if not all(type(value) is int and -(2**63) <= value < 2**63 for value in values):
        raise ValueError("its tensors are not described as by PyTorch")


class _Rebuild:
    """Stand-in for the functions by which PyTorch rebuilds tensors."""

    # No instance attributes, so that a pickle cannot set any.
    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any) -> Tensor:
        if type(storage) is not Storage:
            raise ValueError("a tensor has no storage")
        _check_integers(offset, *_plain_tuple(shape), *_plain_tuple(strides))
        return Tensor(storage, offset, shape, strides)


class _Parameter:
    """Stand-in for the function that converts a tensor to a parameter."""

    __slots__ = ()

    def __call__(self, data: Any, *unused: Any) -> Tensor:
        if type(data) is not Tensor:
            raise ValueError("a parameter is not a tensor")
        return data


class _Container:
    """Stand-in for a container. All of a pickle together get no more items than it has bytes.

    A few bytes could otherwise copy a large container once more.
    """

    __slots__ = ("_kind", "_room")
    _kind: Callable[..., Any]
    _room: list[int]

    def __init__(self, kind: Callable[..., Any], room: list[int]) -> None:
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "_room", room)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)  # as above

    def __call__(self, *content: Any) -> Any:
        self._room[0] -= sum(map(len, content))
        if self._room[0] < 0:
            raise ValueError("it copies its content too often")
        return self._kind(*content)


class _Ordered(collections.OrderedDict[Any, Any]):
    """An ordered dictionary without the attributes that a pickle sets, which would be copies."""

    def __setstate__(self, state: Any) -> None:
        pass


_CONTAINERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _Ordered,
    ("collections", "Counter"): dict,  # milestones of a saved learning-rate schedule
    ("torch", "Size"): tuple,
}
_NAMES: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _Rebuild(),
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(),
    ("torch._utils", "_rebuild_parameter"): _Parameter(),
    **{("torch", name): kind for name, kind in _STORAGES.items()},
    **{("torch.cuda", name): kind for name, kind in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that resolves only the names above.

    Attributes:
        item_sizes: Bytes per number, by the key of each storage that the pickle refers to.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        self._room = [_check_memo(stream)]
        # The encoding is for pickles of Python 2, whose strings are bytes.
        super().__init__(stream, encoding="utf-8")
        self.item_sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in for a name; raises for all other names."""
        if (module, name) in _CONTAINERS:
            return _Container(_CONTAINERS[module, name], self._room)
        try:
            return _NAMES[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Storage:
        """Returns the description of a storage, which is not part of the pickle."""
        word, kind, key, _, count, *view = _plain_tuple(pid)
        # Text of other objects is never made: nested ones may be too long for any memory.
        if word != "storage" or type(kind) is not str or kind not in _STORAGES.values():
            raise _Refused(f"storage type {kind[:40]!r}" if type(kind) is str else "other storage")
        if type(key) is not str:
            raise ValueError("a storage has no name")
        self.item_sizes[key] = _item_size(kind)
        first = 0
        if view and view[0] is not None:
            _, first, count = _plain_tuple(view[0])
        _check_integers(first, count)
        return Storage(key, kind, count, first)


def _check_memo(stream: io.BytesIO) -> int:
    """Returns the size of a pickle.

    Memoized objects are numbered consecutively; Python allocates up to the largest number at once.

    Raises:
        ValueError: The memo would use more memory than the content.
    """
    begin = stream.tell()
    for operation, number, _ in pickletools.genops(stream):
        if operation.name in _REMEMBERING and int(number or 0) > stream.tell() - begin:
            raise ValueError("its memo has invalid numbers")
    size = stream.tell() - begin
    stream.seek(begin)
    return size


class TorchFile:
    """The weights in a file of `torch.save`.

    Args:
        data: The content of the file.
        path: Name of the file in messages.

    Raises:
        DataError: The file is damaged or contains other objects than named arrays.
    """

    def __init__(self, data: bytes, path: str) -> None:
        self._path = path
        self._room = largest_content(len(data))
        self._big_endian = False
        try:
            # The unpickled description, and a function from the key of a storage to its bytes.
            self._content, self._bytes = (
                self._open_archive(data) if data.startswith(ZIP) else self._open_stream(data)
            )
        except _Refused as error:
            raise DataError(
                f"{path} contains more than weights: it refers to {error}, which is not run here. "
                "Save only the weights: torch.save(network.state_dict(), 'weights.pth') in PyTorch."
            ) from error
        except _DAMAGE as error:
            raise DataError(
                f"{path} is damaged or not a file of torch.save: {damage_of(error)}."
            ) from error

    def _open_archive(self, data: bytes) -> tuple[Any, Callable[[str], Any]]:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            # A few bytes could expand to any size; PyTorch does not compress.
            raise ValueError("it is compressed, which torch.save never does")
        names = [entry.filename for entry in entries]
        (root,) = [name[: -len(_DESCRIPTION)] for name in names if name.endswith(_DESCRIPTION)]
        if f"{root}/byteorder" in names:
            self._big_endian = archive.read(f"{root}/byteorder") == b"big"
        content = _Unpickler(io.BytesIO(archive.read(root + _DESCRIPTION))).load()
        return content, lambda key: archive.read(f"{root}/data/{key}")

    def _open_stream(self, data: bytes) -> tuple[Any, Callable[[str], Any]]:
        stream = io.BytesIO(data)
        if _Unpickler(stream).load() != _MAGIC:
            raise ValueError("its first bytes are those of another format")
        _Unpickler(stream).load()  # the layout version; only one exists
        self._big_endian = not _Unpickler(stream).load()["little_endian"]
        unpickler = _Unpickler(stream)
        content = unpickler.load()
        places, view = {}, memoryview(data)
        for key in _Unpickler(stream).load():
            if type(key) is not str:
                raise ValueError("a storage has no name")
            (count,) = struct.unpack("<q", stream.read(8))
            begin = stream.tell()
            end = begin + count * unpickler.item_sizes[key]
            if not begin <= end <= len(data):
                raise EOFError("it is truncated")
            places[key] = view[begin:end]
            stream.seek(end)
        return content, places.__getitem__

    def dictionaries(self) -> dict[str, Mapping[str, Tensor]]:
        """Returns all dictionaries of tensors in the file by key, such as `model`."""
        return dict(_dictionaries(self._content, "", _DEPTH))

    def array(self, name: str, tensor: Tensor) -> np.ndarray:
        """Returns the values of a tensor; bfloat16 as float32.

        Raises:
            DataError: The file does not contain all of them.
        """
        try:
            return self._copy(tensor)
        except _DAMAGE as error:
            raise DataError(f"{self._path} is damaged at {name}: {damage_of(error)}.") from error

    def _copy(self, tensor: Tensor) -> np.ndarray:
        storage, offset, shape, strides = tensor
        count = math.prod(shape)
        if len(shape) != len(strides) or min((*shape, *strides, offset, storage.first, 0)) < 0:
            raise ValueError("its shape is invalid")
        if not count:
            return np.zeros(shape, np.float32)
        numbers = _numbers(self._bytes(storage.key), storage.kind, self._big_endian)
        numbers = numbers[storage.first : storage.first + storage.numbers][offset:]
        last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        # A stride of 0 could repeat one number into an array of any size.
        if last >= len(numbers) or count > len(numbers):
            raise ValueError(
                f"it needs {max(last + 1, count)} numbers, but only {len(numbers)} remain"
            )
        # Tensors may share a storage, so that a small file yields many times its size.
        self._room -= count * numbers.itemsize
        if self._room < 0:
            raise ValueError("its tensors share storages and are larger than the file")
        steps = [stride * numbers.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(numbers, shape, steps).copy()


def is_torch_file(data: bytes) -> bool:
    """Returns whether the content may be that of a file of `torch.save`."""
    if not data.startswith(ZIP):
        return data.startswith(_PICKLE)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(name.endswith(_DESCRIPTION) for name in archive.namelist())
    except _DAMAGE:
        return False


def to_array(data: Any, kind: str, shape: Any) -> np.ndarray:
    """Returns an array from little-endian bytes of a dtype, such as `f4` or `BFLOAT16`."""
    return _numbers(data, kind, big_endian=False).reshape(shape)


def _item_size(kind: str) -> int:
    return 2 if kind == BFLOAT16 else np.dtype(kind).itemsize


def _numbers(data: Any, kind: str, big_endian: bool) -> np.ndarray:
    order = ">" if big_endian else "<"
    if kind != BFLOAT16:
        return np.frombuffer(data, order + kind if kind != "?" else kind)
    # The upper half of a float32.
    upper = np.frombuffer(data, f"{order}u2").astype(np.uint32) << np.uint32(16)
    return upper.view(np.float32)


def _dictionaries(
    content: Any, place: str, depth: int
) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    if not isinstance(content, dict):
        return
    # A pickle can replace methods of an ordered dictionary, so they are not called.
    entries = dict(dict.items(content))
    if not all(isinstance(key, str) for key in entries):
        return
    if entries and all(isinstance(value, Tensor) for value in entries.values()):
        yield place, entries
    elif depth:
        for key, value in entries.items():
            yield from _dictionaries(value, f"{place}.{key}" if place else key, depth - 1)
