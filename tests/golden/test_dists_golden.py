"""DISTS agrees with the authors' code at every size."""

import pathlib

import keras
import numpy as np
import pytest

from tests.golden.lpips_weights import digest, random_backbone, random_channels, random_images
from tfdeblur.metrics.dists import Dists

with np.load(pathlib.Path(__file__).with_name("dists.npz")) as archive:
    GOLDEN = dict(archive)
SIZES = sorted(key for key in GOLDEN if "x" in key)


@pytest.fixture(scope="module")
def distance():
    backbone, channels = random_backbone("vgg"), random_channels()
    assert [digest(backbone), digest(channels)] == GOLDEN["sha256"].tolist()
    return Dists(backbone | channels)


def test_golden_file_covers_all_sizes():
    assert len(SIZES) == 4


@pytest.mark.parametrize("size", SIZES)
def test_distance_equals_the_authors_code(distance, size):
    first, second = random_images(*map(int, size.split("x"))) / np.float32(255)
    found = keras.ops.convert_to_numpy(distance(first, second))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, GOLDEN[size], atol=1e-5)
    back = keras.ops.convert_to_numpy(distance(second, first))
    np.testing.assert_allclose(back, found, atol=1e-6)
    same = keras.ops.convert_to_numpy(distance(first, first))
    np.testing.assert_allclose(same, 0, atol=1e-6)
