"""The program that restores Levin's photographs by their kernels."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from tfdeblur.evaluation.picture_files import pictures_in


@pytest.fixture
def example(load_example):
    pytest.importorskip("skimage")
    return load_example("levin")


def test_photographs_come_closer_to_the_sharp_ones_under_the_names_of_the_pairs(
    example, tmp_path: pathlib.Path
) -> None:
    sharp = np.kron(np.random.default_rng(0).random((12, 16)), np.ones((8, 8)))
    kernel = np.eye(7)
    blurred = sum(np.roll(sharp, (s, s), (0, 1)) for s in range(-3, 4)) / 7
    for name, picture in (("blur/im1_kernel2_img", blurred), ("gt/kernel2", kernel)):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir()
        Image.fromarray(np.uint8(255 * picture)).save(path)
    example.main(str(tmp_path), str(tmp_path / "out"))
    found = pictures_in(str(tmp_path / "out"))
    assert found == ["richardson_lucy/1-2.png", "wiener/1-2.png"]
    inside = (slice(8, -8), slice(8, -8))  # the border is not that of a circle
    before = np.mean((blurred - sharp)[inside] ** 2)
    for name in found:
        restored = np.asarray(Image.open(tmp_path / "out" / name)) / 255
        assert np.mean((restored - sharp)[inside] ** 2) < 0.7 * before
