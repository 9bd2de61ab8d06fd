"""The kill benchmark detects progress and differences."""

import argparse
import pathlib

import numpy as np

from benchmarks import kill_test
from tfdeblur.checkpoints.arrays import write_arrays
from tfdeblur.checkpoints.manifest import STATE


def checkpoint(run: pathlib.Path, images: int, value: float) -> None:
    folder = run / "checkpoints" / f"{images:012d}"
    folder.mkdir(parents=True)
    write_arrays(str(folder / STATE), {"a": np.float32([1, 2]), "b": np.float32(value)})
    (folder / "meta.json").write_text("{}")


def test_compare_of_checkpoints_names_differing_arrays(tmp_path):
    for name, value in (("one", 3.0), ("same", 3.0), ("other", 3.0000002)):
        checkpoint(tmp_path / name, 8, value)
    assert kill_test.compare(tmp_path / "one", tmp_path / "same") == []
    (name,) = kill_test.compare(tmp_path / "one", tmp_path / "other")
    assert name == "b"


def test_newest_ignores_incomplete_checkpoints(tmp_path):
    assert kill_test.newest(tmp_path) == 0
    checkpoint(tmp_path, 8, 1.0)
    (tmp_path / "checkpoints" / "000000000016").mkdir()
    assert kill_test.newest(tmp_path) == 8


def test_command_trains_the_gan_recipe():
    arguments = argparse.Namespace(
        data="data", batch=4, steps=10, critic_updates=5, save_steps=2, engine="jax"
    )
    words = kill_test.command(pathlib.Path("out/killed"), arguments)
    assert words[words.index("--recipe") + 1] == "rednet30wgan_cifar10"
    assert words[words.index("--save-every") + 1] == "2 steps"
