"""Reads named arrays from files of other people: ``numpy.savez``, HDF5, and parts of zip files.

The sizes in their headers are checked before anything is allocated: a file of a kilobyte may claim
arrays of any size, and compressed data may expand to it. No file makes another one be opened.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from tfdeblur.errors import DataError, reason_of

Arrays = dict[str, np.ndarray]

_NUMBERS = "biuf"
_MAX_HEADER = 10_000
_MAX_DEPTH = 64
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1


def largest_content(size: int) -> int:
    """Returns how many bytes of arrays a file of a size may hold.

    Trained weights hardly compress; arrays of equal values, as in a new network, do.
    """
    return 2 * size + (256 << 20)


def read_npz(data: bytes, path: str) -> Arrays:
    """Returns the arrays in the content of a file of `numpy.savez`.

    Raises:
        DataError: It is damaged, claims more than it can hold, or contains other objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_entries(entries, len(data))
            return {
                entry.filename.removesuffix(".npy"): _npy(_content(archive, entry))
                for entry in entries
            }
    except Exception as error:  # damage raises almost any type
        raise DataError(
            f"{path} is damaged or not a file of numpy.savez: {damage_of(error)}."
        ) from error


def read_member(data: bytes, name: str, path: str) -> bytes:
    """Returns one file in the content of a zip archive.

    Raises:
        DataError: The archive is damaged, has no such file, or claims more than it can hold.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entry = archive.getinfo(name)
            _check_entries([entry], len(data))
            return _content(archive, entry)
    except Exception as error:  # damage raises almost any type
        raise DataError(f"{path} has no readable {name}: {damage_of(error)}.") from error


def read_hdf5(data: bytes, path: str, named_groups: bool = False) -> Arrays:
    """Returns every array of numbers in the content of an HDF5 file, by its path inside.

    Args:
        data: The content.
        path: The file in messages.
        named_groups: Whether the attribute ``name`` of an array's group is put before its path.
            Keras numbers layers by class (``layers/conv2d_3/vars/0``) and stores their names there.

    Raises:
        DataError: It is damaged, claims more than it can hold, or refers to other files.
    """
    found: dict[str, h5py.Dataset] = {}

    def collect(name: str, item: Any) -> None:
        if name.count("/") > _MAX_DEPTH:
            raise ValueError(f"its groups are nested more than {_MAX_DEPTH} deep")
        if isinstance(item, h5py.Dataset) and item.dtype.kind in _NUMBERS:
            found[name] = item

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            file.visititems(collect)  # does not follow links to other files
            _check_datasets(found, len(data))
            if named_groups:
                found = {f"{i.parent.attrs.get('name', '')}/{n}": i for n, i in found.items()}
            return {name: item[()] for name, item in found.items()}
    except Exception as error:  # damage raises almost any type
        raise DataError(
            f"{path} is damaged or not a weights file of Keras: {damage_of(error)}."
        ) from error


def _check_datasets(datasets: Mapping[str, h5py.Dataset], size: int) -> None:
    claimed = chunks = 0
    for name, item in datasets.items():
        if item.is_virtual or item.external:
            raise ValueError(f"{name} is stored in another file")
        shape = item.shape or ()
        # A chunk is decompressed as a whole, and may be larger than the data set.
        numbers = max(math.prod(shape), math.prod(item.chunks or ()))
        claimed += numbers * item.dtype.itemsize
        sides = zip(shape, item.chunks or shape, strict=True)
        chunks += math.prod(-(-length // max(side, 1)) for length, side in sides)
    # The time to read grows with the chunks, of which each has an entry in the file.
    if claimed > largest_content(size) or chunks > size:
        raise ValueError("it claims more numbers than a file of its size holds")


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    if any(entry.flag_bits & _ENCRYPTED for entry in entries):
        raise ValueError("it is encrypted")
    if any(entry.compress_type not in _COMPRESSIONS for entry in entries):
        raise ValueError("its compression is not supported")
    if sum(entry.file_size for entry in entries) > largest_content(size):
        raise ValueError("it claims more than a file of its size holds")


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        return file.read(entry.file_size)


def _npy(data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, column_major, dtype = read[version](file, max_header_size=_MAX_HEADER)
    if dtype.kind not in _NUMBERS:
        raise ValueError(f"it contains {str(dtype)[:40]} instead of numbers")
    start = file.tell()
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError("an array is not as large as its header claims")
    numbers = np.frombuffer(data, dtype, offset=start)
    return numbers.reshape(shape, order="F" if column_major else "C")


def damage_of(error: Exception) -> str:
    """Returns why the content of a file could not be read, in a few words."""
    damaged = isinstance(error, zlib.error | EOFError)
    return "its data are damaged" if damaged else reason_of(error)
