import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from tfdeblur.data import dataset as opening
from tfdeblur.data import schema
from tfdeblur.data.dataset import check_trainable, explain_read_error, open_split
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

    @pytest.mark.parametrize(
        "kind",
        [
            tf.errors.UnavailableError,
            tf.errors.DeadlineExceededError,
            tf.errors.AbortedError,
            tf.errors.InternalError,
            tf.errors.UnknownError,
        ],
    )
    @pytest.mark.parametrize(
        "where",
        [
            "Graph execution error:\n\n{}\n\t [[{{{{node MultiDeviceIteratorGetNextFromShard}}}}]]",
            "{{{{function_node __wrapped__IteratorGetNext_d}}}} {} [Op:IteratorGetNext] name: ",
            "{} [Op:DatasetToSingleElement] name: ",
        ],
    )
    def test_whatever_stops_reading_is_a_sentence(
        self, kind: type[tf.errors.OpError], where: str
    ) -> None:
        error = kind(None, None, where.format("HTTP 503 for gs://a/train-1"))
        found = explain_read_error(error, ["gs://a", "gs://b"])
        assert isinstance(found, DataError)
        assert str(found) == (
            "The data could not be read (HTTP 503 for gs://a/train-1). "
            "Where a disk or a network failed for a moment, the same command is enough."
        )
        unnamed = kind(None, None, where.format("HTTP 503"))
        assert "(HTTP 503), in gs://a, gs://b. " in str(
            explain_read_error(unnamed, ["gs://a", "gs://b"])
        )

    def test_what_stops_something_else_is_not(self) -> None:
        message = "x\n\t [[{{node Conv2D}}]]\n\t [[while/body/_1/while/IteratorGetNext]]"
        error = tf.errors.UnavailableError(None, None, message)
        assert explain_read_error(error, ["gs://a"]) is None

    def test_a_place_that_cannot_be_looked_at_is_named(
        self, dataset: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = dataset([3])

        def refuse(*_: object) -> None:
            raise tf.errors.PermissionDeniedError(None, None, "no right [Op:IteratorGetNext]")

        monkeypatch.setattr(schema, "find_damage", refuse)
        found = explain_read_error(DAMAGE, [path])
        assert str(found) == (
            f"The data could not be read (no right), in {shard_path(path, 0)}. "
            "Give the user of this process the right to read it."
        )

    def test_several_splits_are_looked_at(self, dataset: Write) -> None:
        path = dataset([3], splits=("train", "val", "test"))

        def flip(data: bytearray) -> bytearray:
            data[30] ^= 255
            return data

        alter(shard_path(path, 0, "val"), flip)
        assert explain_read_error(DAMAGE, [path], ("train", "test")) is None
        assert "val-00000" in str(explain_read_error(DAMAGE, [path], ("train", "val")))

    def test_a_shard_that_is_not_for_this_user(self, dataset: Write) -> None:
        """Read by another user where root, who may read all, runs the test."""
        folder = Path(tempfile.mkdtemp(prefix="opening-"))  # others cannot enter pytest's own
        try:
            dataset([3, 3], directory=str(folder))
            folder.chmod(0o755)
            data = TrainingData([str(folder)])
            for shard in folder.glob("*.tfrecord"):
                shard.chmod(0)
            with contextlib.ExitStack() as stack:
                if os.geteuid() == 0:
                    os.seteuid(65534)
                    stack.callback(os.seteuid, 0)
                with pytest.raises(opening.READ_ERRORS) as caught:
                    next(iter(data.dataset(2)))
                found = explain_read_error(caught.value, data.paths, data.split)
        finally:
            shutil.rmtree(folder)
        assert isinstance(found, DataError)
        assert f"({folder}/train-0000" in str(found)
        assert "ermission denied" in str(found)
        assert "\n" not in str(found)


class TestIdentity:
    """Equal records in equal shards are the same data, wherever they lie."""

    def test_copies_are_equal_and_others_are_not(self, dataset: Write) -> None:
        one, copy, more, later = (
            TrainingData([dataset(shards, first=first)]).identity()
            for shards, first in (([3, 2], 0), ([3, 2], 0), ([3, 3], 0), ([3, 2], 7))
        )
        assert one == copy == json.loads(json.dumps(copy))
        assert more["sets"] != one["sets"] != later["sets"]
        assert one["sets"][0]["records"] == 5

    def test_the_validation_split_counts_where_it_is_asked_for(self, dataset: Write) -> None:
        path = dataset([3], splits=("train", "val"))
        with_it, without = (TrainingData([path]).identity(name) for name in ("val", None))
        assert with_it["sets"][0]["validation shards"]
        assert without["sets"][0]["validation shards"] is None

    def test_what_decides_on_the_order(self, dataset: Write) -> None:
        paths = [dataset([3]), dataset([4])]
        order = TrainingData(paths, seed=3, shuffle_block=16, parts=2).identity()["order"]
        assert order == {
            "seed": 3,
            "data.shuffle_block": [16, 16],
            "data.weights": [3.0, 4.0],
            "data.parts": 2,
        }
        order = TrainingData(paths[0], seed=3).identity()["order"]
        assert order == {
            "seed": 3,
            "data.shuffle_block": 4096,
            "data.weights": None,
            "data.parts": None,  # as in checkpoints of versions that had no parts
        }


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
