"""The readers of files of other people: valid files of each kind, and the function that reads one.

A seed is a folder of files, of which one is mutated; most kinds have a single file.
"""

import dataclasses
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable, Mapping

import h5py
import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from data_prep.sources import cifar10
from tests.helpers import pickles
from tests.helpers.filming import make
from tests.helpers.tiny_data import write_data_set
from tfdeblur import models
from tfdeblur.checkpoints.arrays import read_arrays, write_arrays
from tfdeblur.checkpoints.manifest import META, WEIGHTS, write_meta
from tfdeblur.checkpoints.weights import load_generator, write_weights
from tfdeblur.config import DataConfig, settings
from tfdeblur.data import schema
from tfdeblur.data.dataset import read_errors
from tfdeblur.data.encoding import Encoding
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.exporting import hub, saved_model
from tfdeblur.inference import photo_files, video
from tfdeblur.io import array_files, files
from tfdeblur.models.generator import Generator
from tfdeblur.porting import reading
from tfdeblur.presets import preset

ARRAYS = {"a/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "b": np.ones(3, "f2")}
PIXELS = np.random.default_rng(5).integers(0, 256, (12, 17, 3), dtype=np.uint8)


@dataclasses.dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        seeds: Writes valid files to a folder; returns the names of those to mutate.
        read: Reads the files of a folder, given the folder and the name of the mutated file.
    """

    seeds: Callable[[str], list[str]]
    read: Callable[[str, str], object]


def _written(contents: Mapping[str, bytes]) -> Callable[[str], list[str]]:
    def write(folder: str) -> list[str]:
        for name, content in contents.items():
            files.write_bytes(files.join(folder, name), content)
        return list(contents)

    return write


def _pictures(folder: str) -> list[str]:
    image = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[274], exif[282] = 6, 72.0
    for kind in ("png", "jpg", "webp", "tif", "bmp", "gif", "ppm", "tga", "jp2", "avif"):
        image.save(f"{folder}/a.{kind}", **({"exif": exif} if kind in ("jpg", "png") else {}))
    image.convert("CMYK").save(f"{folder}/cmyk.jpg")
    deep = photo_files.Photo(PIXELS.astype(np.uint16) * 257, PIXELS[..., 0].astype(np.uint16))
    for kind in ("png", "tif"):
        photo_files.write_photo(f"{folder}/deep.{kind}", deep)
    return files.list_dir(folder)


def _videos(folder: str) -> list[str]:
    for kind, codec, sound in (
        ("mp4", "libx264", "aac"),
        ("mkv", "libx264", "flac"),
        ("avi", "mpeg4", "pcm_s16le"),
        ("webm", "libvpx-vp9", "libopus"),
    ):
        make(f"{folder}/a.{kind}", codec=codec, sound=sound, size=(32, 48), count=3)
    return files.list_dir(folder)


def _hdf5(folder: str) -> list[str]:
    with h5py.File(f"{folder}/a.h5", "w") as file:
        for name, values in ARRAYS.items():
            file[name] = values
        file.create_dataset("packed", data=np.zeros(500), chunks=(100,), compression="gzip")
    return ["a.h5"]


def _npz() -> dict[str, bytes]:
    contents = {}
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **ARRAYS)
        contents[f"{save.__name__}.npz"] = file.getvalue()
    return contents


def _pth() -> dict[str, bytes]:
    content = pickles.dictionary({"w": pickles.tensor("0", (2, 3)), "b": pickles.tensor("0", (3,))})
    numbers = np.arange(6, dtype="<f4").tobytes()
    nested = pickles.dictionary({"model": content, "epoch": pickles.plain(3)})
    return {
        "zip.pth": pickles.archive(nested, {"0": numbers}),
        "stream.pth": pickles.stream(content, {"0": (6, numbers)}),
    }


def _safetensors(folder: str) -> list[str]:
    write_arrays(f"{folder}/a.safetensors", ARRAYS)
    return ["a.safetensors"]


def _checkpoint(folder: str) -> list[str]:
    write_weights(folder, models.create("unet16", {"width": 2}))
    model = {"name": "unet16", "width": 2, "residual": False}
    about = {"format": 2, "images": 0, "model": model, "metrics": {"psnr_db": 30.0}, "origin": {}}
    write_meta(folder, about)
    # Without the checksum, which would detect every mutation.
    meta = json.loads(files.read_bytes(f"{folder}/{META}"))
    del meta["sha256"]
    files.write_json(f"{folder}/{META}", meta)
    return [META, META, META, WEIGHTS]


def _preset(folder: str) -> list[str]:
    generator = models.create("unet16", {"width": 2})
    hub.write(generator, f"{folder}/tiny", {"images": 0, "folder": folder})
    facts = f"tiny/{preset.FACTS}"
    return [facts, facts, facts, f"tiny/{preset.WEIGHTS}"]


def _saved_model(folder: str) -> list[str]:
    images = keras.Input((None, None, 3))
    network = keras.Model(images, keras.layers.Conv2D(3, 1)(images))
    saved_model.export_saved_model(Generator(network, "unit", 1, name="tiny"), f"{folder}/m")
    # Not the graph: it is a program.
    return [f"m/{name}" for name in files.walk_files(f"{folder}/m") if "pb" not in name]


_CIFAR_IMAGES = 4


def _cifar(folder: str) -> list[str]:
    batches = f"{folder}/{cifar10.FOLDER}"
    os.mkdir(batches)
    pixels = np.random.default_rng(3).integers(0, 256, (_CIFAR_IMAGES, 3072), dtype=np.uint8)
    for number, name in enumerate((*cifar10.TRAIN_BATCHES, cifar10.TEST_BATCH)):
        # The original batches are of Python 2; these have other opcodes for the same content.
        content = {b"labels": [number] * _CIFAR_IMAGES, b"data": pixels}
        with open(f"{batches}/{name}", "wb") as file:
            pickle.dump(content, file, protocol=3 + number % 2)
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz")):
        with tarfile.open(f"{folder}/cifar-10-python{suffix}", mode) as archive:
            archive.add(batches, cifar10.FOLDER)
    return [
        *(f"{cifar10.FOLDER}/{name}" for name in (cifar10.TRAIN_BATCHES[0], cifar10.TEST_BATCH)),
        "cifar-10-python.tar",
        "cifar-10-python.tar.gz",
    ]


def _read_cifar(folder: str, name: str) -> None:
    cifar10.BATCH_SIZE = _CIFAR_IMAGES
    in_folder = name.startswith(cifar10.FOLDER)
    path = folder if in_folder else os.path.join(folder, name)
    cifar10.build(cifar10.Options(source=path)).listing()


_RECORD = "record"
_SHARD_SPLIT = "train"


def _shard(encoding: Encoding) -> Callable[[str], list[str]]:
    def write(folder: str) -> list[str]:
        write_data_set(folder, {_SHARD_SPLIT: 2}, side=8, encoding=encoding, shards=1)
        shard = schema.Manifest.load(folder).splits[_SHARD_SPLIT].shards[0]
        record = next(iter(tf.data.TFRecordDataset(f"{folder}/{shard.file}"))).numpy()
        files.write_bytes(f"{folder}/{_RECORD}", record)
        # Most mutations of the shard end at its checksums.
        return [shard.file, _RECORD, _RECORD, _RECORD]

    return write


def _read_shard(folder: str, name: str) -> None:
    """Reads the split as evaluation does, then as training does."""
    manifest = schema.Manifest.load(folder)
    split = manifest.splits[_SHARD_SPLIT]
    path = f"{folder}/{split.shards[0].file}"
    if name == _RECORD:
        record = files.read_bytes(f"{folder}/{_RECORD}")
        shard = schema.write_shard(path, [record] * split.records)
    else:
        content = files.read_bytes(path)
        shard = dataclasses.replace(split.shards[0], bytes=len(content))
    split = dataclasses.replace(split, shards=(shard,))
    dataclasses.replace(manifest, splits={_SHARD_SPLIT: split}).save(folder)
    with read_errors([folder], _SHARD_SPLIT):
        for _ in EvaluationData(folder, _SHARD_SPLIT).dataset(1):
            pass
        next(iter(TrainingData(DataConfig(paths=[folder]), seed=1).dataset(2)))


_SPLIT = schema.Split(16, 16, "png", 0, ("a", "b"), ())
MANIFEST = schema.Manifest("pairs", {"kind": "given"}, {"seed": 1}, {"train": _SPLIT}, ("a note",))
JSON = json.dumps(dataclasses.asdict(MANIFEST)).encode()
YAML = b"data: {paths: [a, b], crop: 32x32}\nmodel: &m {name: unet16, width: 4}\nother: *m\n"


def _manifest(folder: str) -> list[str]:
    MANIFEST.save(folder)
    return [schema.MANIFEST_NAME]


def _path(read: Callable[[str], object]) -> Callable[[str, str], object]:
    return lambda folder, name: read(os.path.join(folder, name))


def _read_video(path: str) -> None:
    video.rewrite(path, f"{path}.out.mkv", lambda frames: frames)


READERS = {
    "picture": Reader(_pictures, _path(photo_files.read_photo)),
    "video": Reader(_videos, _path(_read_video)),
    "npz": Reader(_written(_npz()), _path(reading.read)),
    "pth": Reader(_written(_pth()), _path(reading.read)),
    "hdf5": Reader(_hdf5, _path(lambda path: array_files.read_hdf5(files.read_bytes(path), path))),
    "safetensors": Reader(_safetensors, _path(read_arrays)),
    "safetensors of others": Reader(_safetensors, _path(reading.read)),
    "checkpoint": Reader(_checkpoint, lambda folder, name: load_generator(folder)),
    "preset": Reader(_preset, lambda folder, name: load_generator(f"{folder}/tiny")),
    "SavedModel": Reader(
        _saved_model, lambda folder, name: saved_model.load_saved_model(f"{folder}/m")
    ),
    "CIFAR-10": Reader(_cifar, _read_cifar),
    "shard": Reader(_shard("png"), _read_shard),
    "shard of raw images": Reader(_shard("raw"), _read_shard),
    "JSON": Reader(
        _written({"a.json": JSON}),
        _path(files.read_json),
    ),
    "YAML": Reader(_written({"a.yaml": YAML}), _path(settings.read_config_file)),
    "manifest": Reader(
        _manifest,
        lambda folder, name: schema.Manifest.load(folder),
    ),
}
