"""The program that networks are compared with."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from tfdeblur.degradation.kernels import convolve_separable, gaussian_kernel1d
from tfdeblur.evaluation.picture_files import pictures_in


@pytest.fixture
def example(load_example):
    pytest.importorskip("skimage")
    return load_example("richardson_lucy")


def test_frames_come_closer_to_the_sharp_ones_under_names_that_are_found(
    example, tmp_path: pathlib.Path
) -> None:
    sharp = np.kron(np.random.default_rng(0).random((12, 16, 3)), np.ones((8, 8, 1)))
    blurred = convolve_separable(sharp, gaussian_kernel1d(example.SIGMA, 13))
    (tmp_path / "test/scene/blur").mkdir(parents=True)
    frame = Image.fromarray(np.uint8(255 * blurred))
    frame.save(tmp_path / "test/scene/blur/000001.png")
    example.main(str(tmp_path / "test"), str(tmp_path / "out"))
    assert pictures_in(str(tmp_path / "out")) == ["scene/000001.png"]
    restored = np.asarray(Image.open(tmp_path / "out/scene/000001.png")) / 255
    assert np.mean((restored - sharp) ** 2) < 0.8 * np.mean((blurred - sharp) ** 2)
