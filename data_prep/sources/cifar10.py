"""CIFAR-10: 60,000 sharp images of 32x32 pixels with synthetic Gaussian blur.

The last 6,250 training images are the validation split; the test split is the original one.

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

from data_prep.blur import Blur
from data_prep.images import open_file
from data_prep.sources.source import Item, Listing, Source
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import DataError
from tfdeblur.io import files

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
            description="folder of the Python batches, or cifar-10-python.tar.gz; "
            "default: download with Keras"
        ),
    ] = None
    max_sigma: Annotated[
        float,
        Field(ge=0, le=16, description="upper bound of the blur sigma, in pixels"),
    ] = 3.0


def build(options: Options) -> "Cifar10":
    """Returns the source."""
    return Cifar10(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a folder or an archive; none if it is not CIFAR-10."""
    archive = os.path.basename(root) in {f"cifar-10-python{ending}" for ending in ARCHIVES}
    batches = [files.join(root, folder, TRAIN_BATCHES[0]) for folder in ("", FOLDER)]
    return [{"source": root}] if archive or any(files.exists(path) for path in batches) else []


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles only dictionaries, lists, text and NumPy arrays.

    Other pickles could call arbitrary functions while they are read.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Returns the constructors of arrays and raises for everything else."""
        if (module, name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        }:
            return _reconstruct
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"it requires {module}.{name}")


def _reconstruct(subtype: type, shape: tuple[int, ...], typecode: bytes) -> np.ndarray:
    # NumPy's function of this name has moved between versions.
    del subtype
    return np.ndarray.__new__(np.ndarray, shape, typecode.decode())


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
        content = _ArrayUnpickler(file, encoding="bytes").load()
        pixels = content[b"data"]
        if pixels.shape != (BATCH_SIZE, 3 * SIDE * SIDE) or pixels.dtype != np.uint8:
            raise ValueError(f"its data is {pixels.dtype} {pixels.shape}")
    except Exception as error:  # a damaged pickle raises almost any exception
        raise DataError(f"{name} is not a CIFAR-10 batch, or is damaged: {error}.") from error
    return np.ascontiguousarray(pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


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
                with open_file(place) as file:
                    return read_batch(io.BytesIO(file.read()), place)
            except (FileNotFoundError, NotADirectoryError):
                continue
        raise DataError(
            f"--source {path} does not contain {name}. Set it to the folder {FOLDER} or to "
            "cifar-10-python.tar.gz, or remove it to download the data set."
        )

    return [read(name) for name in TRAIN_BATCHES], read(TEST_BATCH)


def _read_archive(path: str) -> Parts:
    found: dict[str, np.ndarray] = {}
    try:
        # Streamed, because seeking in a gzip file decompresses it from the start each time.
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                name = os.path.basename(member.name)
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is not None and name in (*TRAIN_BATCHES, TEST_BATCH):
                    found[name] = read_batch(io.BytesIO(stream.read()), f"{path}: {name}")
    except FileNotFoundError as error:
        raise DataError(f"--source {path} does not exist.") from error
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(
            f"{path} cannot be read as cifar-10-python.tar.gz ({error}). Download it again, or "
            "remove --source."
        ) from error
    missing = [name for name in (*TRAIN_BATCHES, TEST_BATCH) if name not in found]
    if missing:
        raise DataError(f"{path} does not contain {', '.join(missing)} of CIFAR-10.")
    return [found[name] for name in TRAIN_BATCHES], found[TEST_BATCH]


def _download() -> Parts:
    import keras

    try:
        (train, _), (test, _) = keras.datasets.cifar10.load_data()
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        raise DataError(
            f"CIFAR-10 could not be downloaded ({error}). Set --source to the folder {FOLDER} or "
            "to cifar-10-python.tar.gz."
        ) from error
    return [train], test
