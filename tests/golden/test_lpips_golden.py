"""LPIPS agrees with the authors' package at every size, layer by layer."""

import pathlib

import keras
import numpy as np
import pytest

from tests.golden.lpips_weights import digest, random_backbone, random_heads, random_images
from tfdeblur.metrics.lpips import Lpips

FILE = pathlib.Path(__file__).with_name("lpips_0_1_4.npz")
with np.load(FILE) as archive:
    GOLDEN = dict(archive)
SIZES = sorted(key.rsplit("/", 1)[0] for key in GOLDEN if key.endswith("/total"))


def test_golden_file_records_its_versions():
    assert GOLDEN["versions"][0].startswith("lpips 0.1.4, torch 2.13.0")
    assert len(SIZES) == 7


@pytest.fixture(scope="module", params=["alex", "vgg"])
def distance(request):
    network = request.param
    backbone, heads = random_backbone(network), random_heads(network)
    assert [digest(backbone), digest(heads)] == GOLDEN[f"{network}/sha256"].tolist()
    return Lpips(network, backbone | heads)


def test_layers_equal_the_reference_at_every_size(distance):
    for key in SIZES:
        network, size = key.split("/")
        if network != distance.network:
            continue
        images = random_images(*map(int, size.split("x")))
        assert digest({"": images}) == GOLDEN[f"{key}/images"]
        first, second = images / np.float32(255)
        features = distance.features(first)
        layers = keras.ops.convert_to_numpy(distance.by_layer(features, second))
        np.testing.assert_allclose(layers, GOLDEN[f"{key}/layers"], atol=1e-6, err_msg=key)
        total = keras.ops.convert_to_numpy(distance(first, second))
        assert total.dtype == np.float32
        np.testing.assert_allclose(total, GOLDEN[f"{key}/total"], atol=1e-5, err_msg=key)
