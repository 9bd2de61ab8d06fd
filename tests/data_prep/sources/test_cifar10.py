"""CIFAR-10 from its folder, its archive or the network; pickles cannot run code."""

import os
import pickle
import tarfile

import numpy as np
import pytest

from data_prep import build
from data_prep.sources import cifar10
from tfdeblur.data import schema
from tfdeblur.errors import DataError, UserError

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


def test_cifar10_oversized_batch_raises(batches, monkeypatch):
    path = batches / "data_batch_4"
    monkeypatch.setattr(cifar10, "MAX_BATCH_BYTES", path.stat().st_size)
    make(batches).listing()
    with open(path, "ab") as file:
        file.write(b"\0")
    with pytest.raises(DataError) as caught:
        make(batches).listing()
    assert str(path) in str(caught.value)


def test_cifar10_pipe_instead_of_batch_raises(batches):
    path = batches / "data_batch_4"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError) as caught:
        make(batches).listing()
    assert str(path) in str(caught.value)


def write_tar(path, mode, members):
    """Writes an archive of batches with other members, given by their sizes, before them."""
    with tarfile.open(path, mode) as file:
        for name, size in members.items():
            member = tarfile.TarInfo(name)
            member.size = size
            file.addfile(member, Zeros())
    return path


class Zeros:
    """An endless file of zeros."""

    def read(self, size):
        return bytes(size)


@pytest.mark.parametrize(
    "members",
    [
        {"cifar-10-batches-py/data_batch_1": 150_000},
        {"other": 150_000},
        {f"other{number}": 0 for number in range(30)},
    ],
    ids=["batch", "other", "many"],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_cifar10_oversized_archive_raises(tmp_path, monkeypatch, members, mode):
    monkeypatch.setattr(cifar10, "MAX_BATCH_BYTES", 60_000)
    monkeypatch.setattr(cifar10, "MAX_ARCHIVE_BYTES", 100_000)
    monkeypatch.setattr(cifar10, "MAX_MEMBERS", 20)
    monkeypatch.setattr(cifar10, "_CHUNK_BYTES", 4096)
    path = write_tar(tmp_path / "cifar-10-python.tar", mode, members)
    with pytest.raises(DataError) as caught:
        make(path).listing()
    assert str(path) in str(caught.value) and "does not contain" not in str(caught.value)


def sparse_header(real, kind=b"S"):
    """Returns the header of a member of 512 bytes that claims to be a batch of any size."""
    member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
    member.size, member.type = 512, kind
    head = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    head[386:398], head[398:410] = b"%011o\0" % 0, b"%011o\0" % 512
    head[483:495] = b"%011o\0" % min(real, 8**11 - 1)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + bytes(512)


@pytest.mark.parametrize(
    "data",
    [
        sparse_header(3 << 30),
        tarfile.TarInfo("x" * 90).tobuf()[:124] + b"\xff" * 32,
        b"\x1f\x8b" + bytes(1000),
        b"",
        b"hello" * 1000,
    ],
    ids=["sparse", "checksum", "gzip", "empty", "text"],
)
def test_cifar10_damaged_archive_raises(tmp_path, data):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        make(path).listing()
    assert str(path) in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["batch", "other", "pax", "sparse"])
def test_cifar10_bomb_ends_within_bounds(tmp_path, kind):
    """A small gzip file of 2 GB is refused within 1 GiB of memory and 10 seconds."""
    import gzip
    import subprocess
    import sys

    path = tmp_path / "cifar-10-python.tar.gz"
    member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1" if kind == "batch" else "other")
    member.size = 2_000_000_000
    member.type = tarfile.XHDTYPE if kind == "pax" else tarfile.REGTYPE
    head = sparse_header(8**11 - 1) if kind == "sparse" else member.tobuf()
    with gzip.open(path, "wb", 1) as file:
        file.write(head)
        for _ in range(0 if kind == "sparse" else 200):
            file.write(bytes(10_000_000))
    code = (
        "import resource, sys, time; from data_prep.sources import cifar10\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rest, start = peak(), time.monotonic()\n"
        "try: cifar10.build(cifar10.Options(source=sys.argv[1])).listing()\n"
        "except Exception as error: print(type(error).__name__, end=' ')\n"
        "print(peak() - rest, time.monotonic() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    name, kibibytes, seconds = done.stdout.split()
    assert name == "DataError" and int(kibibytes) < 1 << 20 and float(seconds) < 10


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
