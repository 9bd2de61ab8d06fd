import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from tests.helpers.tiny_data import training_data
from tfdeblur.data import schema
from tfdeblur.data.dataset import (
    OpenSplit,
    check_gammas,
    check_trainable,
    explain_read_error,
    open_split,
    read_errors,
)
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.io import files

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
    def test_split_lists_shards_with_records(self, dataset: Write) -> None:
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
    def test_remote_depends_on_the_scheme(
        self, dataset: Write, directory: str, remote: bool
    ) -> None:
        manifest = schema.Manifest.load(dataset([2]))
        opened = OpenSplit(directory, manifest, manifest.splits["train"])
        assert opened.remote == remote

    def test_missing_manifest_raises(self) -> None:
        with pytest.raises(DataError, match=r"ram://nowhere.*manifest"):
            open_split("ram://nowhere", "train")

    def test_other_version_raises(self, dataset: Write) -> None:
        path = dataset([2])
        name = f"{path}/{schema.MANIFEST_NAME}"
        alter(name, lambda data: data.replace(b'"schema_version": 1', b'"schema_version": 99'))
        with pytest.raises(DataError, match="99"):
            open_split(path, "train")

    @pytest.mark.parametrize("wrong", ["tran", "Train", "xyz"])
    def test_unknown_split_raises_with_suggestion(self, dataset: Write, wrong: str) -> None:
        path = dataset([2], splits=("train", "test"))
        with pytest.raises(DataError, match=rf"{path} has no split '{wrong}'.*train"):
            open_split(path, wrong)

    def test_empty_split_raises(self, dataset: Write) -> None:
        with pytest.raises(DataError, match="train"):
            open_split(dataset([0]), "train")

    def test_missing_shard_raises_naming_it(self, dataset: Write) -> None:
        path = dataset([2, 2])
        shard = shard_path(path, 1)
        tf.io.gfile.remove(shard)
        with pytest.raises(DataError, match=f"{shard}.*missing"):
            open_split(path, "train")

    def test_shard_truncated_at_the_end_of_a_record_raises(self, dataset: Write) -> None:
        path = dataset([4, 4])
        shard = shard_path(path, 0)
        # All records have one size, so three intact ones remain.
        alter(shard, lambda data: data[: len(data) * 3 // 4])
        assert sum(1 for _ in tf.data.TFRecordDataset(shard)) == 3
        with pytest.raises(DataError, match=f"{shard}.*truncated"):
            open_split(path, "train")

    def test_shard_not_in_the_manifest_raises_naming_it(self, dataset: Write) -> None:
        path = dataset([2])
        stray = f"{path}/train-00007-of-00008.tfrecord"
        tf.io.gfile.copy(shard_path(path, 0), stray)
        with pytest.raises(DataError, match=stray):
            open_split(path, "train")


class TestExplainReadError:
    def test_damaged_record_is_named_with_its_shard(self, dataset: Write) -> None:
        intact, path = dataset([3]), dataset([3, 3])
        shard = shard_path(path, 1)

        def flip(data: bytearray) -> bytearray:
            data[len(data) // 2] ^= 255
            return data

        alter(shard, flip)
        found = explain_read_error(DAMAGE, [intact, path])
        assert isinstance(found, DataError)
        assert f"{shard} is damaged at record 1" in str(found)

    def test_damaged_image_in_an_intact_record_is_named(self, dataset: Write) -> None:
        path = dataset([3], encoding="png")
        shard = shard_path(path, 0)
        examples = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(shard)]
        image = examples[2].features.feature["sharp"].bytes_list.value
        image[0] = image[0][:40] + bytes(len(image[0]) - 40)
        schema.write_shard(
            shard, [example.SerializeToString(deterministic=True) for example in examples]
        )
        error = tf.errors.InvalidArgumentError(None, None, "Invalid PNG data")
        found = explain_read_error(error, [path])
        assert f"{shard} is damaged at record 2" in str(found)

    def test_shard_truncated_since_opening_is_named(self, dataset: Write) -> None:
        path = dataset([4])
        alter(shard_path(path, 0), lambda data: data[: len(data) // 2])
        assert shard_path(path, 0) in str(explain_read_error(DAMAGE, [path], "train"))

    def test_damage_in_another_split_is_ignored(self, dataset: Write) -> None:
        path = dataset([3], splits=("train", "val"))

        def flip(data: bytearray) -> bytearray:
            data[30] ^= 255
            return data

        alter(shard_path(path, 0, "val"), flip)
        assert explain_read_error(DAMAGE, [path], "train") is None
        assert "val-00000" in str(explain_read_error(DAMAGE, [path], "val"))

    def test_intact_data_yield_none(self, dataset: Write) -> None:
        assert explain_read_error(DAMAGE, [dataset([3])]) is None

    def test_out_of_memory_yields_none(self, dataset: Write) -> None:
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
    def test_failed_read_is_one_sentence_with_the_path(
        self, kind: type[tf.errors.OpError], where: str
    ) -> None:
        error = kind(None, None, where.format("HTTP 503 for gs://a/train-1"))
        found = explain_read_error(error, ["gs://a", "gs://b"])
        assert isinstance(found, DataError)
        assert "(HTTP 503 for gs://a/train-1)" in str(found) and "gs://b" not in str(found)
        assert "\n" not in str(found) and "Op:" not in str(found)
        unnamed = kind(None, None, where.format("HTTP 503"))
        assert "(HTTP 503), in gs://a, gs://b" in str(
            explain_read_error(unnamed, ["gs://a", "gs://b"])
        )

    def test_failure_of_another_operation_yields_none(self) -> None:
        message = "x\n\t [[{{node Conv2D}}]]\n\t [[while/body/_1/while/IteratorGetNext]]"
        error = tf.errors.UnavailableError(None, None, message)
        assert explain_read_error(error, ["gs://a"]) is None

    def test_shard_without_permission_is_named(
        self, dataset: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = dataset([3])

        @contextlib.contextmanager
        def refuse(name: str) -> Iterator[None]:
            raise UserError(f"Cannot read {name}: permission denied.")
            yield

        monkeypatch.setattr(files, "open_read", refuse)
        found = explain_read_error(DAMAGE, [path])
        assert isinstance(found, UserError) and shard_path(path, 0) in str(found)

    def test_several_splits_are_checked(self, dataset: Write) -> None:
        path = dataset([3], splits=("train", "val", "test"))

        def flip(data: bytearray) -> bytearray:
            data[30] ^= 255
            return data

        alter(shard_path(path, 0, "val"), flip)
        assert explain_read_error(DAMAGE, [path], ("train", "test")) is None
        assert "val-00000" in str(explain_read_error(DAMAGE, [path], ("train", "val")))

    def test_reading_a_shard_without_permission_names_it(self, dataset: Write) -> None:
        """Reads as another user if the test runs as root, who has all permissions."""
        folder = Path(tempfile.mkdtemp(prefix="opening-"))  # others cannot enter pytest's own
        try:
            dataset([3, 3], directory=str(folder))
            folder.chmod(0o755)
            data = training_data(str(folder))
            for shard in folder.glob("*.tfrecord"):
                shard.chmod(0)
            with contextlib.ExitStack() as stack:
                if os.geteuid() == 0:
                    os.seteuid(65534)
                    stack.callback(os.seteuid, 0)
                with pytest.raises(DataError) as caught, read_errors(data.paths, data.split):
                    next(iter(data.dataset(2)))
        finally:
            shutil.rmtree(folder)
        assert f"({folder}/train-0000" in str(caught.value)
        assert "ermission denied" in str(caught.value)
        assert "\n" not in str(caught.value)


class TestReadErrors:
    def test_error_of_damaged_data_names_the_shard(self, dataset: Write) -> None:
        path = dataset([3])
        tf.io.gfile.remove(shard_path(path, 0))
        with pytest.raises(DataError, match=shard_path(path, 0)) as caught, read_errors([path]):
            raise DAMAGE
        assert caught.value.__cause__ is DAMAGE

    def test_error_with_intact_data_passes_through(self, dataset: Write) -> None:
        path = dataset([3])
        with pytest.raises(tf.errors.DataLossError) as caught, read_errors([path]):
            raise DAMAGE
        assert caught.value is DAMAGE


class TestIdentity:
    """Equal records in equal shards are the same data, whatever the folder."""

    def test_identity_is_equal_for_copies_only(self, dataset: Write) -> None:
        one, copy, more, later = (
            training_data(dataset(shards, first=first)).identity()
            for shards, first in (([3, 2], 0), ([3, 2], 0), ([3, 3], 0), ([3, 2], 7))
        )
        assert one == copy == json.loads(json.dumps(copy))
        assert more["sets"] != one["sets"] != later["sets"]
        assert one["sets"][0]["records"] == 5

    def test_identity_includes_a_requested_validation_split(self, dataset: Write) -> None:
        path = dataset([3], splits=("train", "val"))
        with_it, without = (training_data(path).identity(name) for name in ("val", None))
        assert with_it["sets"][0]["validation shards"]
        assert without["sets"][0]["validation shards"] is None

    def test_identity_includes_the_settings_of_the_order(self, dataset: Write) -> None:
        paths = [dataset([3]), dataset([4])]
        order = training_data(paths, seed=3, shuffle_block=16, parts=2).identity()["order"]
        assert order == {
            "seed": 3,
            "data.shuffle_block": [16, 16],
            "data.weights": [3.0, 4.0],
            "data.parts": 2,
        }
        order = training_data(paths[0], seed=3).identity()["order"]
        assert order == {
            "seed": 3,
            "data.shuffle_block": 4096,
            "data.weights": None,
            "data.parts": None,  # as in checkpoints of versions without parts
        }


class TestCheckTrainable:
    """Test data are not trained on by mistake."""

    @staticmethod
    def opened(source: str | None, train: str, test: str) -> OpenSplit:
        parts = {
            name: schema.Split(4, 6, "raw", 1, tuple(scenes), ())
            for name, scenes in (("train", train), ("test", test))
        }
        options = {} if source is None else {"source": source}
        manifest = schema.Manifest("gopro", {}, options, parts)
        return OpenSplit(f"data/{train}-{test}", manifest, parts["train"])

    def test_test_split_raises_unless_allowed(self, dataset: Write) -> None:
        path = dataset([2], splits=("train", "val", "test"))
        for split in ("train", "val"):
            training_data(path, split=split)
        with pytest.raises(ConfigError, match=r"data\.split"):
            training_data(path, split="test")
        assert training_data(path, split="test", train_on_test=True).records == 2

    def test_test_scenes_of_another_build_of_the_same_set_raise(self) -> None:
        one, other = self.opened("gopro", "abc", "de"), self.opened("gopro", "ade", "bc")
        with pytest.raises(DataError, match=r"data/abc-de.*'b'.*data/ade-bc"):
            check_trainable([one, other], "train")
        check_trainable([one, self.opened("gopro", "bc", "de")], "train")

    def test_both_kinds_of_gopros_blur_raise(self) -> None:
        def built(train: str, gamma: str) -> OpenSplit:
            opened = self.opened("gopro", train, "z")
            manifest = dataclasses.replace(opened.manifest, blur={"gamma": gamma})
            return dataclasses.replace(opened, manifest=manifest)

        with pytest.raises(DataError, match="data/a-z and data/b-z"):
            check_gammas([built("a", "linear"), built("b", "gamma")])
        check_gammas([built("a", "linear"), built("b", "linear")])

    def test_equal_scene_names_of_other_sources_are_allowed(self) -> None:
        for place in ("elsewhere", None):
            other = self.opened(place, "ade", "bc")
            check_trainable([self.opened("gopro", "abc", "de"), other, other], "train")
