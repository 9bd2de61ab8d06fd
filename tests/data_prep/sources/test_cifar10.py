"""CIFAR-10 from its folder, its archive or the network; pickles cannot run code."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from data_prep import build
from data_prep.sources import cifar10
from tfdeblur.data import schema
from tfdeblur.errors import DataError

SIZE = 20


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """A folder with the six batches, of 20 images each instead of 10,000."""
    monkeypatch.setattr(cifar10, "BATCH_SIZE", SIZE)
    monkeypatch.setattr(cifar10, "TRAIN_SIZE", 5 * SIZE)
    monkeypatch.setattr(cifar10, "VALIDATION_SIZE", 12)
    folder = tmp_path / cifar10.FOLDER
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*cifar10.TRAIN_BATCHES, cifar10.TEST_BATCH):
        content = {
            b"batch_label": name.encode(),
            b"labels": [1] * SIZE,
            b"data": rng.integers(0, 256, (SIZE, 3072), dtype=np.uint8),
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=4))
    return folder


def make(source):
    return cifar10.build(cifar10.Options(source=str(source)))


def test_cifar10_last_train_images_are_val(batches):
    splits = make(batches).listing().splits
    assert {name: len(items) for name, items in splits.items()} == {
        "train": 88,
        "val": 12,
        "test": 20,
    }
    assert splits["val"][0].key == "val/00088" and splits["val"][-1].key == "val/00099"


def test_cifar10_load_returns_pixels_of_batch(batches):
    source = make(batches)
    content = pickle.loads((batches / "data_batch_5").read_bytes(), encoding="bytes")
    item = source.listing().splits["val"][3]
    blurred, image = source.load(item)
    assert blurred is None
    planes = content[b"data"][91 - 80].reshape(3, 32, 32)
    np.testing.assert_array_equal(image, np.moveaxis(planes, 0, -1))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_cifar10_folder_parent_and_archive_are_equal(batches, tmp_path, mode):
    archive = tmp_path / ("cifar-10-python.tar" + (".gz" if mode == "w:gz" else ""))
    with tarfile.open(archive, mode) as file:
        file.add(batches, cifar10.FOLDER)
    sources = [make(path) for path in (batches, tmp_path, archive)]
    for split in ("train", "test"):
        images = [s.load(s.listing().splits[split][-1])[1] for s in sources]
        np.testing.assert_array_equal(images[0], images[1])
        np.testing.assert_array_equal(images[0], images[2])


def test_cifar10_missing_batch_raises(batches, tmp_path):
    (batches / "data_batch_3").unlink()
    with pytest.raises(DataError, match="data_batch_3"):
        make(batches).listing()
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        file.add(batches, cifar10.FOLDER)
    with pytest.raises(DataError, match=r"a\.tar.*data_batch_3"):
        make(archive).listing()


def test_cifar10_missing_source_raises(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.tar\.gz"):
        make(tmp_path / "nothing.tar.gz").listing()
    with pytest.raises(DataError, match=r"nothing.*data_batch_1"):
        make(tmp_path / "nothing").listing()


def test_cifar10_truncated_archive_raises(batches, tmp_path):
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(batches, cifar10.FOLDER)
    archive.write_bytes(archive.read_bytes()[:-50_000])
    with pytest.raises(DataError, match=r"a\.tar\.gz"):
        make(archive).listing()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        pickle.dumps({b"data": 3}),
        pickle.dumps([1, 2]),
        pickle.dumps({b"data": np.zeros((3, 3072), np.uint8)}),
        pickle.dumps({b"data": np.zeros((SIZE, 3072), np.float32)}),
    ],
)
def test_cifar10_invalid_batch_raises(batches, content):
    path = batches / "data_batch_2"
    path.write_bytes(content)
    with pytest.raises(DataError, match="data_batch_2") as caught:
        make(batches).listing()
    assert str(path) in str(caught.value)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm-was-done",)


def test_read_batch_harmful_pickle_raises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({b"data": Harmful()})
    with pytest.raises(DataError, match=r"posix\.mkdir"):
        cifar10.read_batch(io.BytesIO(data), "it")
    assert not os.path.exists("harm-was-done")
    pickle.loads(data)
    assert os.path.exists("harm-was-done")


def test_cifar10_failed_download_raises(monkeypatch):
    import keras

    def fail():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", fail)
    with pytest.raises(DataError, match=r"URL fetch.*--source"):
        cifar10.build(cifar10.Options()).listing()


def test_cifar10_without_source_uses_keras(monkeypatch):
    import keras

    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for n in (50_000, 10_000))
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: ((train, 0), (test, 0)))
    source = cifar10.build(cifar10.Options())
    np.testing.assert_array_equal(source.load(source.listing().splits["val"][1])[1], train[43_751])


def test_cifar10_blur_is_independent_of_limit(batches, tmp_path):
    def blurred(**settings):
        out = str(tmp_path / f"out{len(settings)}")
        config = build.config_class("cifar10")(
            source=str(batches), out=out, encoding="raw", workers=1, **settings
        )
        split = build.run(config).split("test")
        import tensorflow as tf

        data = tf.data.TFRecordDataset([f"{out}/{shard.file}" for shard in split.shards])
        records = [schema.decode_record(r.numpy(), 32, 32, "raw") for r in data]
        return {record.frame: record.blurred for record in records}

    whole, some = blurred(), blurred(limit=5)
    assert len(whole) == 20 and len(some) == 5
    for frame, image in some.items():
        np.testing.assert_array_equal(image, whole[frame])


@pytest.mark.slow
def test_cifar10_real_test_split_has_known_scores(real_data, tmp_path):
    """MSE 6.19e-3 within 3 %, SSIM .717 within .005, 9.8 % within 1 % unblurred."""
    import subprocess
    import sys

    import tensorflow as tf

    script, strips = real_data / "cifar10" / "unpack.py", real_data / "cifar10" / "strips"
    folder = tmp_path / cifar10.FOLDER
    subprocess.run([sys.executable, script, strips, folder], check=True, capture_output=True)
    config = build.config_class("cifar10")(
        source=str(folder), out=str(tmp_path / "out"), encoding="raw", fraction=0.01
    )
    split = build.run(config).split("test")
    paths = [str(tmp_path / "out" / shard.file) for shard in split.shards]
    mse, ssim, same = [], [], []
    for batch in tf.data.TFRecordDataset(paths).batch(500):
        parsed = schema.parse_raw_batch(batch, 32, 32)
        blurred, sharp = (tf.cast(parsed[half], tf.float32) / 255 for half in ("blurred", "sharp"))
        mse.append(tf.reduce_mean(tf.square(blurred - sharp), axis=[1, 2, 3]))
        ssim.append(tf.image.ssim(blurred, sharp, 1.0))
        same.append(tf.reduce_all(parsed["blurred"] == parsed["sharp"], axis=[1, 2, 3]))
    mse, ssim, same = (np.concatenate(values) for values in (mse, ssim, same))
    assert len(mse) == 10_000
    assert mse.mean() == pytest.approx(6.19e-3, rel=0.03)
    assert ssim.mean() == pytest.approx(0.717, abs=0.005)
    assert same.mean() == pytest.approx(0.098, abs=0.01)
