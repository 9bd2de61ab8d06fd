from collections.abc import Callable

import pytest
import tensorflow as tf

from tfdeblur.data import opening, schema
from tfdeblur.data.opening import check_trainable, explain_read_error, open_split
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.errors import ConfigError, DataError

Write = Callable[..., str]
DAMAGE = tf.errors.DataLossError(None, None, "corrupted record at 12")


def shard_path(path: str, index: int, split: str = "train") -> str:
    shard = schema.Manifest.load(path).splits[split].shards[index]
    return f"{path}/{shard.file}"


def alter(path: str, change: Callable[[bytearray], bytearray]) -> None:
    with tf.io.gfile.GFile(path, "rb") as file:
        content = bytearray(file.read())
    tf.io.gfile.remove(path)  # `ram://` would append to a file that exists
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(bytes(change(content)))


class TestOpenSplit:
    def test_knows_its_shards(self, dataset: Write) -> None:
        path = dataset([3, 0, 2], size=(4, 6), splits=("train", "val"))
        opened = open_split(path, "val")
        assert opened.split.records == 5
        assert [shard.records for shard in opened.shards] == [3, 2]
        assert opened.paths == [shard_path(path, i, "val") for i in (0, 2)]
        assert 4 * 6 * 6 < opened.record_bytes < 4 * 6 * 6 + 400
        assert not opened.remote

    @pytest.mark.parametrize(
        ("directory", "remote"),
        [("/data/x", False), ("ram://x", False), ("file:///x", False), ("gs://bucket/x", True)],
    )
    def test_knows_whether_it_is_remote(self, dataset: Write, directory: str, remote: bool) -> None:
        manifest = schema.Manifest.load(dataset([2]))
        opened = opening.OpenSplit(directory, manifest, manifest.splits["train"])
        assert opened.remote == remote

    def test_no_manifest(self) -> None:
        with pytest.raises(DataError, match=r"ram://nowhere.*manifest"):
            open_split("ram://nowhere", "train")

    def test_other_version(self, dataset: Write) -> None:
        path = dataset([2])
        name = f"{path}/{schema.MANIFEST_NAME}"
        alter(name, lambda data: data.replace(b'"schema_version": 1', b'"schema_version": 99'))
        with pytest.raises(DataError, match="99"):
            open_split(path, "train")

    @pytest.mark.parametrize("wrong", ["tran", "Train", "xyz"])
    def test_unknown_split(self, dataset: Write, wrong: str) -> None:
        path = dataset([2], splits=("train", "test"))
        with pytest.raises(DataError, match=rf"{path} has no split '{wrong}'.*train"):
            open_split(path, wrong)

    def test_empty_split(self, dataset: Write) -> None:
        with pytest.raises(DataError, match="no records"):
            open_split(dataset([0]), "train")

    def test_missing_shard(self, dataset: Write) -> None:
        path = dataset([2, 2])
        shard = shard_path(path, 1)
        tf.io.gfile.remove(shard)
        with pytest.raises(DataError, match=f"{shard}.*missing"):
            open_split(path, "train")

    def test_shard_cut_at_the_end_of_a_record(self, dataset: Write) -> None:
        path = dataset([4, 4])
        shard = shard_path(path, 0)
        # All records are of one size, so this leaves three whole ones, which read well.
        alter(shard, lambda data: data[: len(data) * 3 // 4])
        assert sum(1 for _ in tf.data.TFRecordDataset(shard)) == 3
        with pytest.raises(DataError, match=f"{shard}.*truncated"):
            open_split(path, "train")

    def test_shard_that_the_manifest_does_not_know(self, dataset: Write) -> None:
        path = dataset([2])
        stray = f"{path}/train-00007-of-00008.tfrecord"
        tf.io.gfile.copy(shard_path(path, 0), stray)
        with pytest.raises(DataError, match=f"{stray}.*does not know"):
            open_split(path, "train")


class TestExplainReadError:
    def test_names_shard_and_record(self, dataset: Write) -> None:
        sound, path = dataset([3]), dataset([3, 3])
        shard = shard_path(path, 1)

        def flip(data: bytearray) -> bytearray:
            data[len(data) // 2] ^= 255
            return data

        alter(shard, flip)
        found = explain_read_error(DAMAGE, [sound, path])
        assert isinstance(found, DataError)
        assert f"{shard} is damaged at record 1" in str(found)

    def test_finds_a_damaged_picture_in_a_sound_record(self, dataset: Write) -> None:
        path = dataset([3], encoding="png")
        shard = shard_path(path, 0)
        examples = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(shard)]
        picture = examples[2].features.feature["sharp"].bytes_list.value
        picture[0] = picture[0][:40] + bytes(len(picture[0]) - 40)
        tf.io.gfile.remove(shard)
        with tf.io.TFRecordWriter(shard) as writer:
            for example in examples:
                writer.write(example.SerializeToString(deterministic=True))
        error = tf.errors.InvalidArgumentError(None, None, "Invalid PNG data")
        found = explain_read_error(error, [path])
        assert f"{shard} is damaged at record 2" in str(found)

    def test_finds_a_shard_that_was_cut_meanwhile(self, dataset: Write) -> None:
        path = dataset([4])
        alter(shard_path(path, 0), lambda data: data[: len(data) // 2])
        assert "truncated" in str(explain_read_error(DAMAGE, [path], "train"))

    def test_looks_at_the_given_split_only(self, dataset: Write) -> None:
        path = dataset([3], splits=("train", "val"))

        def flip(data: bytearray) -> bytearray:
            data[30] ^= 255
            return data

        alter(shard_path(path, 0, "val"), flip)
        assert explain_read_error(DAMAGE, [path], "train") is None
        assert "val-00000" in str(explain_read_error(DAMAGE, [path], "val"))

    def test_sound_data_are_not_accused(self, dataset: Write) -> None:
        assert explain_read_error(DAMAGE, [dataset([3])]) is None

    def test_other_errors_are_not_the_data(self, dataset: Write) -> None:
        path = dataset([3])
        tf.io.gfile.remove(shard_path(path, 0))
        error = tf.errors.ResourceExhaustedError(None, None, "out of memory")
        assert explain_read_error(error, [path]) is None


class TestCheckTrainable:
    """A test set is not trained on by mistake."""

    @staticmethod
    def opened(source: str | None, train: str, test: str) -> opening.OpenSplit:
        parts = {
            name: schema.Split(4, 6, "raw", 1, tuple(scenes), ())
            for name, scenes in (("train", train), ("test", test))
        }
        options = {} if source is None else {"source": source}
        manifest = schema.Manifest("gopro", {}, options, parts)
        return opening.OpenSplit(f"data/{train}-{test}", manifest, parts["train"])

    def test_the_test_split_is_refused_unless_it_is_said(self, dataset: Write) -> None:
        path = dataset([2], splits=("train", "val", "test"))
        for split in ("train", "val"):
            TrainingData(path, split=split)
        with pytest.raises(ConfigError, match=r"data\.split: 'test' is what networks are judged"):
            TrainingData(path, split="test")
        assert TrainingData(path, split="test", train_on_test=True).records == 2

    def test_test_scenes_of_another_build_of_the_same_set_are_refused(self) -> None:
        one, other = self.opened("gopro", "abc", "de"), self.opened("gopro", "ade", "bc")
        with pytest.raises(DataError, match=r"data/abc-de trains on scene 'b' and 1 more") as why:
            check_trainable([one, other], "train")
        assert "test split of data/ade-bc" in str(why.value)
        check_trainable([one, self.opened("gopro", "bc", "de")], "train")

    def test_equal_names_in_other_places_mean_nothing(self) -> None:
        for place in ("elsewhere", None):
            other = self.opened(place, "ade", "bc")
            check_trainable([self.opened("gopro", "abc", "de"), other, other], "train")
