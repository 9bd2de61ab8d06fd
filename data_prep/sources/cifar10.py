"""CIFAR-10: 60,000 sharp pictures of 32x32 pixels, blurred here by Gaussians.

The last 6,250 training pictures are the validation split; the test split is the original one.

Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. Blur and
split: Orlandi and Pinardi.
"""

import dataclasses
import io
import os
import pickle
import tarfile
from typing import Annotated, Any, BinaryIO

import numpy as np
from pydantic import Field

from data_prep.blur import GaussianBlur
from data_prep.images import open_file
from data_prep.sources.source import Item, Listing, Source
from tfdeblur.errors import DataError

TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
BATCH_SIZE = 10_000
TRAIN_SIZE = BATCH_SIZE * len(TRAIN_BATCHES)
VALIDATION_SIZE = 6_250
SIDE = 32
FOLDER = "cifar-10-batches-py"
ARCHIVES = (".tar.gz", ".tgz", ".tar")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the CIFAR-10 source."""

    source: Annotated[
        str | None,
        Field(
            description="folder of the python batches, or cifar-10-python.tar.gz; "
            "without it Keras downloads the set"
        ),
    ] = None
    max_sigma: Annotated[
        float, Field(ge=0, le=16, description="Gaussian blur is drawn from 0 to this, in pixels")
    ] = 3.0


def build(options: Options) -> "Cifar10":
    """Returns the source."""
    return Cifar10(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a folder or an archive; none if it is no CIFAR-10."""
    from tfdeblur.io import files

    archive = os.path.basename(root) in {f"cifar-10-python{ending}" for ending in ARCHIVES}
    batches = [files.join(root, folder, TRAIN_BATCHES[0]) for folder in ("", FOLDER)]
    return [{"source": root}] if archive or any(files.exists(path) for path in batches) else []


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles dictionaries, lists, text and NumPy arrays, and no other object.

    A pickle can name any function to be called while it is read; the batches need only these.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Returns the three constructors an array needs and refuses everything else."""
        if (module, name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        }:
            return _reconstruct
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _reconstruct(subtype: type, shape: tuple[int, ...], typecode: bytes) -> np.ndarray:
    # What NumPy's own function of this name does; its place in NumPy has moved between versions.
    del subtype
    return np.ndarray.__new__(np.ndarray, shape, typecode.decode())


def read_batch(file: BinaryIO, name: str) -> np.ndarray:
    """Reads one of the original python batches without running what a pickle may carry.

    Args:
        file: The open batch.
        name: What to call it in messages.

    Returns:
        uint8 [10000, 32, 32, 3], RGB.

    Raises:
        DataError: It is not a CIFAR-10 batch.
    """
    try:
        content = _ArrayUnpickler(file, encoding="bytes").load()
        pixels = content[b"data"]
        if pixels.shape != (BATCH_SIZE, 3 * SIDE * SIDE) or pixels.dtype != np.uint8:
            raise ValueError(f"its data is {pixels.dtype} {pixels.shape}")
    except Exception as error:  # A damaged pickle raises almost anything.
        raise DataError(f"{name} is not a CIFAR-10 batch, or is damaged: {error}.") from error
    return np.ascontiguousarray(pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


class Cifar10(Source):
    """CIFAR-10 in its original python batches."""

    def __init__(self, options: Options) -> None:
        self.blur = GaussianBlur(options.max_sigma)
        self._path = options.source
        self._pixels: dict[str, np.ndarray] = {}

    def listing(self) -> Listing:
        """Lists 43,750 train, 6,250 val and 10,000 test pictures; the whole set is read once."""
        self._read()

        def items(split: str, part: str, first: int, last: int) -> tuple[Item, ...]:
            # There are no scenes: each split counts as one, and pictures keep their numbers.
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
        """Returns one picture; it has no blurred half."""
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
        # In the folder itself, or in the one that the archive unpacks to.
        for place in (f"{path}/{name}", f"{path}/{FOLDER}/{name}"):
            try:
                with open_file(place) as file:
                    return read_batch(io.BytesIO(file.read()), place)
            except (FileNotFoundError, NotADirectoryError):
                continue
        raise DataError(
            f"--source {path}: there is no {name} in it. Give the folder {FOLDER} or "
            "cifar-10-python.tar.gz, or leave --source out to download the set."
        )

    return [read(name) for name in TRAIN_BATCHES], read(TEST_BATCH)


def _read_archive(path: str) -> Parts:
    found: dict[str, np.ndarray] = {}
    try:
        # One pass through the stream: seeking in a gzip file unpacks it from the start each time.
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                name = os.path.basename(member.name)
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is not None and name in (*TRAIN_BATCHES, TEST_BATCH):
                    found[name] = read_batch(io.BytesIO(stream.read()), f"{path}: {name}")
    except FileNotFoundError as error:
        raise DataError(f"--source {path}: there is no such file.") from error
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(
            f"{path} cannot be read as cifar-10-python.tar.gz ({error}). Download it again, or "
            "leave --source out."
        ) from error
    missing = [name for name in (*TRAIN_BATCHES, TEST_BATCH) if name not in found]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)} of the CIFAR-10 python batches.")
    return [found[name] for name in TRAIN_BATCHES], found[TEST_BATCH]


def _download() -> Parts:
    import keras

    try:
        (train, _), (test, _) = keras.datasets.cifar10.load_data()
    except Exception as error:  # keras.utils.get_file wraps the network's errors in a bare one.
        raise DataError(
            f"CIFAR-10 could not be downloaded ({error}). Give --source with the folder {FOLDER} "
            "or with cifar-10-python.tar.gz."
        ) from error
    return [train], test
