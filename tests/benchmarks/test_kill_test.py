"""The kill test sees progress and differences."""

import argparse
import pathlib

import tensorflow as tf

from benchmarks import kill_test


def checkpoint(run: pathlib.Path, images: int, value: float) -> None:
    folder = run / "checkpoints" / f"{images:012d}"
    folder.mkdir(parents=True)
    saved = tf.train.Checkpoint(a=tf.Variable([1.0, 2.0]), b=tf.Variable(value))
    saved.write(str(folder / "state"))
    (folder / "meta.json").write_text("{}")


def test_equal_and_different_runs(tmp_path):
    for name, value in (("one", 3.0), ("same", 3.0), ("other", 3.0000002)):
        checkpoint(tmp_path / name, 8, value)
    assert kill_test.compare(tmp_path / "one", tmp_path / "same") == []
    (name,) = kill_test.compare(tmp_path / "one", tmp_path / "other")
    assert name.startswith("b/")


def test_progress_is_a_whole_checkpoint(tmp_path):
    assert kill_test.newest(tmp_path) == 0
    checkpoint(tmp_path, 8, 1.0)
    (tmp_path / "checkpoints" / "000000000016").mkdir()
    assert kill_test.newest(tmp_path) == 8


def test_the_command_is_the_real_one():
    arguments = argparse.Namespace(data="data", batch=4, steps=10, critic_updates=5, save_steps=2)
    words = kill_test.command(pathlib.Path("out/killed"), arguments)
    assert words[words.index("--recipe") + 1] == "rednet30wgan_cifar10"
    assert words[words.index("--save-every") + 1] == "2 steps"
