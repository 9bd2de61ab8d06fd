"""Properties of LPIPS and validation of its weights; `tests/golden` compares with the reference."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.golden.lpips_weights import random_backbone, random_heads, random_images
from tfdeblur.errors import DataError
from tfdeblur.metrics import lpips
from tfdeblur.metrics.lpips import NETWORKS, Lpips


@pytest.fixture(scope="module")
def weights():
    return random_backbone("alex") | random_heads("alex")


@pytest.fixture(scope="module")
def distance(weights):
    return Lpips("alex", weights)


@pytest.fixture(scope="module")
def images():
    return random_images(40, 53)[0] / np.float32(255)


def test_lpips_is_zero_for_equal_images_symmetric_and_grows_with_the_error(distance, images):
    other = np.clip(images + 0.1, 0, 1)
    found = keras.ops.convert_to_numpy(distance(images, other))
    assert found.shape == (2,) and (found > 1e-4).all()
    np.testing.assert_allclose(distance(other, images), found, rtol=1e-5)
    np.testing.assert_array_equal(distance(images, images), [0, 0])
    nearer = keras.ops.convert_to_numpy(distance(images, np.clip(images + 0.02, 0, 1)))
    assert (nearer < found).all()


def test_lpips_in_a_graph_equals_eager_and_is_finite_for_flat_images(distance, images):
    flat = np.zeros_like(images)
    for pair in ((images, images[::-1].copy()), (flat, images), (flat, flat)):
        eager = distance(*pair).numpy()
        assert np.isfinite(eager).all()
        np.testing.assert_allclose(tf.function(distance, autograph=False)(*pair), eager, atol=1e-6)


def test_lpips_under_a_mixed_policy_is_float32(weights, images):
    before = keras.config.dtype_policy()
    expected = Lpips("alex", weights)(*images[:, np.newaxis])
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = Lpips("alex", weights)(*images[:, np.newaxis])
    finally:
        keras.config.set_dtype_policy(before)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("network", NETWORKS)
def test_lpips_below_the_smallest_size_is_rejected(network):
    one = Lpips(network, random_backbone(network) | random_heads(network))
    smallest = NETWORKS[network].min_size
    found = one.features(np.zeros((1, smallest, smallest, 3), np.float32))
    assert found[-1].shape[1:3] == (1, 1)
    # With one pixel less, the last pooling would have no whole window.
    assert one.features(np.zeros((1, smallest + 40, smallest, 3), np.float32))[-1].shape[2] == 1
    with pytest.raises(ValueError, match=f"at least {smallest} x {smallest}"):
        one.features(np.zeros((1, smallest + 9, smallest - 1, 3), np.float32))


def test_digest_covers_exactly_the_used_weights(weights):
    first = Lpips("alex", weights).sha256
    again = {name: weights[name].astype(np.float64) for name in reversed(weights)}
    assert Lpips("alex", {**again, "classifier.1.weight": np.zeros(3)}).sha256 == first
    changed = {**weights, "lin4.model.1.weight": weights["lin4.model.1.weight"] + 1e-3}
    assert Lpips("alex", changed).sha256 != first


def fails(network, part, arrays, match):
    with pytest.raises(DataError, match=match) as raised:
        lpips.check(network, part, "some.pth", arrays)
    assert "some.pth" in str(raised.value) and "Give " in str(raised.value)


def test_check_accepts_weights_of_the_network_and_ignores_a_classifier():
    for network in NETWORKS:
        more = {"classifier.6.bias": np.zeros(1000, np.float32)}
        lpips.check(network, "backbone", "p", random_backbone(network) | more)
        lpips.check(network, "heads", "p", random_heads(network))


def test_check_of_another_network_names_file_and_array():
    alex, vgg = random_backbone("alex"), random_backbone("vgg")
    fails("alex", "backbone", vgg, r"features\.0\.weight has shape \(64, 3, 3, 3\), AlexNet's ")
    fails("vgg", "backbone", alex, r"VGG16's \(64, 3, 3, 3\).*torchvision's vgg16-397923af.pth")
    fails("vgg", "heads", random_heads("alex"), r"lin1\.model\.1\.weight has shape \(1, 192, 1, 1")
    # The two files in the wrong order.
    fails("alex", "backbone", random_heads("alex"), r"no features\.0\.weight.*holds lin0\.model")
    fails("alex", "heads", alex, r"no lin0\.model\.1\.weight.*v0\.1/alex\.pth")
    # SqueezeNet's heads; VGG19, with one more convolution in its third block.
    more = random_heads("vgg") | {"lin5.model.1.weight": np.zeros((1, 512, 1, 1), np.float32)}
    fails("vgg", "heads", more, r"holds lin5\.model\.1\.weight, which LPIPS with VGG16")
    more = vgg | {"features.16.weight": np.zeros((256, 256, 3, 3), np.float32)}
    fails("vgg", "backbone", more, r"holds features\.16\.weight, which VGG16")


def test_check_of_missing_and_damaged_arrays_names_them():
    arrays = random_heads("alex")
    fails("alex", "heads", {k: v for k, v in arrays.items() if "3" not in k}, r"no lin3\.model")
    for wrong in (np.full((1, 192, 1, 1), np.nan, np.float32), np.ones((1, 192, 1, 1), np.int64)):
        fails(
            "alex", "heads", {**arrays, "lin1.model.1.weight": wrong}, r"some\.pth is damaged: lin1"
        )
    fails("alex", "heads", {}, "holds nothing")


FORWARD = """
import sys
import keras
import numpy as np
from tests.golden.lpips_weights import random_backbone, random_heads, random_images
from tfdeblur.metrics.lpips import Lpips

images = random_images(40, 53)[0] / np.float32(255)
found = Lpips("alex", random_backbone("alex") | random_heads("alex"))(images, images[::-1].copy())
assert "tensorflow" not in sys.modules
print(keras.backend.backend(), *keras.ops.convert_to_numpy(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_lpips_on_other_backends_equals_tensorflow_without_importing_it(distance, images, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    result = subprocess.run(
        [sys.executable, "-c", FORWARD],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    name, *found = result.stdout.split()
    assert name == backend
    expected = distance(images, images[::-1].copy())
    np.testing.assert_allclose(np.float32(found), expected, atol=1e-5)
