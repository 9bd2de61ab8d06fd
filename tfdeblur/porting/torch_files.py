"""Reading the weights in a file of `torch.save`, without PyTorch and without running anything.

Such a file is a pickle that describes tensors, and their numbers beside it. A pickle names the
functions that put it together, and whoever wrote the file chose the names. Here a name leads to one
of the few stand-ins below or to an error: nothing is imported, and what comes out are descriptions
(`Tensor`), whose numbers are copied afterwards, within the bounds of what the file holds.

Both layouts are read: the zip archive of PyTorch 1.6 and later, and the stream of pickles before
it, in which weights of older papers are published.

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
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfdeblur.errors import DataError

# The first pickle of the older layout, and the opening bytes of any pickle of that protocol.
_MAGIC = 0x1950A86A20F9469CFC6C
_PICKLE = b"\x80\x02"
ZIP = b"PK\x03\x04"
_DESCRIPTION = "/data.pkl"

BFLOAT16 = "bfloat16"  # NumPy has no such type; the numbers are read as 16 bits
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

# How deep a dictionary of weights may lie: checkpoint["model"], checkpoint["state"]["model"].
_DEPTH = 2

_REMEMBERING = ("PUT", "BINPUT", "LONG_BINPUT")

# What reading a damaged or a hostile pickle raises.
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
)


class Storage(NamedTuple):
    """A run of numbers in the file: its key there, the kind and count of numbers, and the first."""

    key: str
    kind: str
    numbers: int
    first: int


class Tensor(NamedTuple):
    """A tensor as the file describes it; offsets and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something that weights do not need."""


class _Rebuild:
    """Stands in for the functions that PyTorch puts tensors together with."""

    # Without attributes of its own, so that a pickle cannot leave anything in it.
    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any) -> Tensor:
        return Tensor(storage, offset, shape, strides)


class _Parameter:
    """Stands in for the function that makes a parameter of a tensor."""

    __slots__ = ()

    def __call__(self, data: Any, *unused: Any) -> Any:
        return data


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "Counter"): dict,  # milestones of a schedule that was saved along
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _Rebuild(),
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(),
    ("torch._utils", "_rebuild_parameter"): _Parameter(),
    **{("torch", name): kind for name, kind in _STORAGES.items()},
    **{("torch.cuda", name): kind for name, kind in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names above and no others.

    Attributes:
        item_sizes: Bytes of one number, by the key of each storage that was mentioned.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        _check_memo(stream)
        super().__init__(stream, encoding="utf-8")  # of Python 2, whose strings were bytes
        self.item_sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in for a name; all others are refused."""
        try:
            return _NAMES[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Storage:
        """Returns the description of a storage, which is not part of the pickle."""
        word, kind, key, _, count, *view = pid
        if word != "storage" or kind not in _STORAGES.values():
            raise _Refused(f"numbers of the kind {str(kind)[:40]!r}")
        self.item_sizes[str(key)] = _item_size(kind)
        first = 0
        if view and view[0] is not None:
            _, first, count = view[0]
        return Storage(str(key), kind, int(count), int(first))


def _check_memo(stream: io.BytesIO) -> None:
    """Raises a ValueError where a pickle asks for more memory than it has content.

    What it remembers is numbered one by one; Python makes room up to the largest number at once.
    """
    begin = stream.tell()
    for operation, number, _ in pickletools.genops(stream):
        if operation.name in _REMEMBERING and int(number or 0) > stream.tell() - begin:
            raise ValueError("it numbers things that it does not have")
    stream.seek(begin)


class TorchFile:
    """The weights in a file of `torch.save`.

    Args:
        data: The file's content.
        path: What to call it in messages.

    Raises:
        DataError: It is damaged, or holds other things than numbers and their names.
    """

    def __init__(self, data: bytes, path: str) -> None:
        self._path = path
        self._big_endian = False
        try:
            # What the file describes, and how the bytes of a storage are had by its key.
            self._content, self._bytes = (
                self._open_archive(data) if data.startswith(ZIP) else self._open_stream(data)
            )
        except _Refused as error:
            raise DataError(
                f"{path} holds more than weights: it asks for {error}, which is not run here. Save "
                "the weights alone: torch.save(network.state_dict(), 'weights.pth') in PyTorch."
            ) from error
        except _DAMAGE as error:
            raise DataError(
                f"{path} is damaged or no file of torch.save: {_reason(error)}."
            ) from error

    def _open_archive(self, data: bytes) -> tuple[Any, Callable[[str], Any]]:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            # A few bytes could grow to any size. PyTorch compresses nothing.
            raise ValueError("it was compressed, which torch.save does not do")
        names = [entry.filename for entry in entries]
        (root,) = [name[: -len(_DESCRIPTION)] for name in names if name.endswith(_DESCRIPTION)]
        if f"{root}/byteorder" in names:
            self._big_endian = archive.read(f"{root}/byteorder") == b"big"
        content = _Unpickler(io.BytesIO(archive.read(root + _DESCRIPTION))).load()
        return content, lambda key: archive.read(f"{root}/data/{key}")

    def _open_stream(self, data: bytes) -> tuple[Any, Callable[[str], Any]]:
        stream = io.BytesIO(data)
        if _Unpickler(stream).load() != _MAGIC:
            raise ValueError("it does not begin as such files do")
        _Unpickler(stream).load()  # the version of the layout, of which there was only one
        self._big_endian = not _Unpickler(stream).load()["little_endian"]
        unpickler = _Unpickler(stream)
        content = unpickler.load()
        places, view = {}, memoryview(data)
        for key in _Unpickler(stream).load():
            (count,) = struct.unpack("<q", stream.read(8))
            begin = stream.tell()
            end = begin + count * unpickler.item_sizes[str(key)]
            if not begin <= end <= len(data):
                raise EOFError("it ends early")
            places[str(key)] = view[begin:end]
            stream.seek(end)
        return content, places.__getitem__

    def dictionaries(self) -> dict[str, Mapping[str, Tensor]]:
        """Returns every dictionary of tensors in the file by its place, such as `model`."""
        return dict(_dictionaries(self._content, "", _DEPTH))

    def array(self, name: str, tensor: Tensor) -> np.ndarray:
        """Returns a tensor's numbers; bfloat16 as float32.

        Raises:
            DataError: The file does not hold all of them.
        """
        try:
            return self._copy(tensor)
        except _DAMAGE as error:
            raise DataError(f"{self._path} is damaged at {name}: {_reason(error)}.") from error

    def _copy(self, tensor: Tensor) -> np.ndarray:
        storage, offset, shape, strides = tensor
        count = math.prod(shape)
        if len(shape) != len(strides) or min((*shape, *strides, offset, storage.first, 0)) < 0:
            raise ValueError("its shape makes no sense")
        if not count:
            return np.zeros(shape, np.float32)
        numbers = _numbers(self._bytes(storage.key), storage.kind, self._big_endian)
        numbers = numbers[storage.first : storage.first + storage.numbers][offset:]
        last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        # More numbers than there are would be one number many times, as large as one likes.
        if last >= len(numbers) or count > len(numbers):
            raise ValueError(f"it needs {max(last + 1, count)} numbers and {len(numbers)} are left")
        steps = [stride * numbers.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(numbers, shape, steps).copy()


def is_torch_file(data: bytes) -> bool:
    """Tells by its content whether a file may be one of `torch.save`."""
    if not data.startswith(ZIP):
        return data.startswith(_PICKLE)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(name.endswith(_DESCRIPTION) for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def to_array(data: Any, kind: str, shape: Any) -> np.ndarray:
    """Returns little-endian numbers of a kind, such as `f4` or `BFLOAT16`, in a shape."""
    return _numbers(data, kind, big_endian=False).reshape(shape)


def _reason(error: Exception) -> str:
    return str(error)[:200].rstrip(".") or "it ends early"


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
    # A pickle may leave a method of its own in an ordered dictionary, so its are not called.
    entries = dict(dict.items(content))
    if not all(isinstance(key, str) for key in entries):
        return
    if entries and all(isinstance(value, Tensor) for value in entries.values()):
        yield place, entries
    elif depth:
        for key, value in entries.items():
            yield from _dictionaries(value, f"{place}.{key}" if place else key, depth - 1)
