"""CIFAR-10: 60,000 sharp images of 32x32 pixels with synthetic Gaussian blur.

The last 6,250 training images are the validation split; the test split is the original one.

Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. Blur and
split: Orlandi and Pinardi.
"""

import dataclasses
import os
import tarfile
import zlib
from typing import Annotated, Any, BinaryIO, cast

import numpy as np
from pydantic import Field

from data_prep import pickles
from data_prep.blur import Blur
from data_prep.images import open_file
from data_prep.sources.source import Item, Listing, Source
from tfdeblur.cli.printable import printable
from tfdeblur.config.backend import choose_backend
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import DataError, UserError, reason_of
from tfdeblur.io import files

TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
BATCH_SIZE = 10_000
TRAIN_SIZE = BATCH_SIZE * len(TRAIN_BATCHES)
VALIDATION_SIZE = 6_250
SIDE = 32
FOLDER = "cifar-10-batches-py"
ARCHIVES = (".tar.gz", ".tgz", ".tar")
# Limits of what is read. A batch has 31,035,999 bytes or less, and the archive has 9 members with
# 187 MB.
MAX_BATCH_BYTES = 40_000_000
MAX_ARCHIVE_BYTES = 300_000_000
MAX_MEMBERS = 1000
_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the CIFAR-10 source."""

    source: str | None = None
    """folder of the Python batches, or cifar-10-python.tar.gz; default: download with Keras"""
    max_sigma: Annotated[float, Field(ge=0, le=16)] = 3.0
    """upper bound of the blur sigma, in pixels"""


def build(options: Options) -> "Cifar10":
    """Returns the source."""
    return Cifar10(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a folder or an archive; none if it is not CIFAR-10."""
    archive = os.path.basename(root) in {f"cifar-10-python{ending}" for ending in ARCHIVES}
    batches = [files.join(root, folder, TRAIN_BATCHES[0]) for folder in ("", FOLDER)]
    return [{"source": root}] if archive or any(files.exists(path) for path in batches) else []


def read_batch(file: BinaryIO, name: str) -> np.ndarray:
    """Reads one of the original Python batches without running code from the pickle.

    Args:
        file: The open batch.
        name: Its name in messages.

    Returns:
        uint8 [10000, 32, 32, 3], RGB.

    Raises:
        DataError: The file is not a CIFAR-10 batch.
    """
    try:
        content = pickles.decode(_read_bounded(file))
        array = content.get(b"data") if isinstance(content, dict) else None
        pixels = array.value if isinstance(array, pickles.Array) else None
        if pixels is None or pixels.shape != (BATCH_SIZE, 3 * SIDE * SIDE):
            raise ValueError(f"it contains no array of {BATCH_SIZE} images")
    except Exception as error:  # a damaged pickle raises almost any exception
        reason = printable(reason_of(error))
        raise DataError(f"{name} is not a CIFAR-10 batch, or is damaged: {reason}.") from error
    return np.ascontiguousarray(pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def _read_bounded(file: BinaryIO) -> bytes:
    data = file.read(MAX_BATCH_BYTES + 1)
    if len(data) > MAX_BATCH_BYTES:
        raise ValueError(f"it has more than {MAX_BATCH_BYTES:,} bytes")
    return data


class Cifar10(Source):
    """CIFAR-10 in its original python batches."""

    def __init__(self, options: Options) -> None:
        self.blur = Blur(Degradation(blur="gaussian", max_sigma=options.max_sigma))
        self._path = options.source
        self._pixels: dict[str, np.ndarray] = {}

    def listing(self) -> Listing:
        """Lists 43,750 train, 6,250 val and 10,000 test images; reads the whole data set."""
        self._read()

        def items(split: str, part: str, first: int, last: int) -> tuple[Item, ...]:
            # There are no scenes, so each split is one.
            return tuple(
                Item(split, f"{index:05d}", SIDE, SIDE, sharp=f"{part}:{index}")
                for index in range(first, last)
            )

        first_val = TRAIN_SIZE - VALIDATION_SIZE
        return Listing(
            {
                "train": items("train", "train", 0, first_val),
                "val": items("val", "train", first_val, TRAIN_SIZE),
                "test": items("test", "test", 0, BATCH_SIZE),
            }
        )

    def load(self, item: Item) -> tuple[None, np.ndarray]:
        """Returns no blurred half, and one sharp image."""
        self._read()
        part, index = item.sharp.split(":")
        return None, self._pixels[part][int(index)]

    def _read(self) -> None:
        if self._pixels:
            return
        if self._path is None:
            train, test = _download()
        elif self._path.endswith(ARCHIVES):
            train, test = _read_archive(self._path)
        else:
            train, test = _read_folder(self._path)
        self._pixels = {"train": np.concatenate(train), "test": test}


Parts = tuple[list[np.ndarray], np.ndarray]


def _read_folder(path: str) -> Parts:
    def read(name: str) -> np.ndarray:
        # In the folder itself, or in the subfolder that the archive creates.
        for place in (f"{path}/{name}", f"{path}/{FOLDER}/{name}"):
            try:
                files.require_regular_file(place)
                with open_file(place) as file:
                    return read_batch(file, place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise DataError(f"{place} cannot be read: {error.strerror}.") from error
        raise DataError(
            f"--source {path} does not contain {name}. Set it to the folder {FOLDER} or to "
            "cifar-10-python.tar.gz, or remove it to download the data set."
        )

    return [read(name) for name in TRAIN_BATCHES], read(TEST_BATCH)


class _Expanded:
    """The bytes of an archive, decompressed if it is a gzip file, up to a limit.

    `tarfile` believes the sizes in headers: it reads whole headers into memory, and all bytes of
    the members that it skips.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._compressed = file.read(2)
        # 31: the largest window, with the header of gzip.
        gzip = self._compressed == b"\x1f\x8b"
        self._expander = zlib.decompressobj(31) if gzip else None
        self._total = 0

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes; none at the end.

        Raises:
            ValueError: The archive is larger than the limit.
        """
        data = self._next(size)
        self._total += len(data)
        if self._total > MAX_ARCHIVE_BYTES:
            raise ValueError(f"it expands to more than {MAX_ARCHIVE_BYTES:,} bytes")
        return data

    def _next(self, size: int) -> bytes:
        if self._expander is None:
            data, self._compressed = self._compressed, b""
            return data or self._file.read(size)
        while not self._expander.eof:
            self._compressed = self._compressed or self._file.read(_CHUNK_BYTES)
            if not self._compressed:
                raise EOFError("it was truncated")
            data = self._expander.decompress(self._compressed, size)
            self._compressed = self._expander.unconsumed_tail
            if data:
                return data
        return b""


def _read_archive(path: str) -> Parts:
    found: dict[str, np.ndarray] = {}
    try:
        files.require_regular_file(path)
        with open_file(path) as file:
            # Streamed, because seeking in a gzip file decompresses it from the start each time.
            stream = cast(BinaryIO, _Expanded(file))
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK_BYTES) as archive:
                for count, member in enumerate(archive):
                    if count == MAX_MEMBERS:
                        raise ValueError(f"it has more than {MAX_MEMBERS} members")
                    name = os.path.basename(member.name)
                    batch = archive.extractfile(member) if member.isreg() else None
                    if batch is not None and name in (*TRAIN_BATCHES, TEST_BATCH):
                        if member.issparse():
                            raise ValueError(f"its member {name} is sparse")
                        found[name] = read_batch(cast(BinaryIO, batch), f"{path}: {name}")
    except FileNotFoundError as error:
        raise DataError(f"--source {path} does not exist.") from error
    except UserError:
        raise
    except Exception as error:  # damaged headers raise almost any exception
        reason = printable(reason_of(error))
        raise DataError(
            f"{path} cannot be read as cifar-10-python.tar.gz ({reason}). Download it again, or "
            "remove --source."
        ) from error
    missing = [name for name in (*TRAIN_BATCHES, TEST_BATCH) if name not in found]
    if missing:
        raise DataError(f"{path} does not contain {', '.join(missing)} of CIFAR-10.")
    return [found[name] for name in TRAIN_BATCHES], found[TEST_BATCH]


def _download() -> Parts:
    choose_backend()
    import keras

    try:
        (train, _), (test, _) = keras.datasets.cifar10.load_data()
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        raise DataError(
            f"CIFAR-10 could not be downloaded ({error}). Set --source to the folder {FOLDER} or "
            "to cifar-10-python.tar.gz."
        ) from error
    return [train], test
