"""Contract of every registered generator; a new file in the folder is tested automatically."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny_models import TINY
from tfdeblur import config, models, testing
from tfdeblur.errors import ConfigError

NAMES = config.MODELS.names()


def create(name: str):
    return testing.build("model", name, **TINY.get(name, {}))


@pytest.fixture(scope="module", params=NAMES)
def generator(request):
    return create(request.param)


def random_images(height: int, width: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(height).random((batch, height, width, 3), dtype=np.float32)


def test_known_models_are_registered():
    assert {"rednet30", "resnet16", "unet16"} <= set(NAMES)
    assert set(TINY) <= set(NAMES)


@pytest.mark.parametrize("check", testing.MODEL_CHECKS, ids=testing.name_of)
def test_generator_fulfills(check, generator):
    check(generator)


def test_build_cites_its_source(generator):
    module = config.MODELS.load(generator.name)
    assert "Reference:" in module.build.__doc__


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_network_under_xla_equals_network(name):
    generator = create(name)
    network, side = generator.network, max(16, 2 * generator.multiple)
    x = tf.constant(random_images(side, side, batch=2))
    with tf.device("CPU:0"):
        compiled = tf.function(lambda x: network(x), jit_compile=True, autograph=False)(x)
    for value, expected in zip(tf.nest.flatten(compiled), tf.nest.flatten(network(x)), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-4)


FORWARD = """
    import os, sys
    import numpy as np
    import keras
    from tfdeblur import config, models

    generator = models.create({name!r}, {options!r})
    generator.network.load_weights({weights!r})
    images = np.load({images!r})
    restored = generator.as_unit_model()(images)
    np.save({out!r}, keras.ops.convert_to_numpy(restored))
    assert "tensorflow" not in sys.modules, "a model imported TensorFlow"
    print(keras.backend.backend())
"""


# Each network takes half a minute in a process of its own.
@pytest.mark.parametrize(
    "generator",
    [name if name == "nafnet" else pytest.param(name, marks=pytest.mark.long) for name in NAMES],
    indirect=True,
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backend_without_tensorflow_computes_the_same(generator, backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    weights, images, out = (str(tmp_path / n) for n in ("g.weights.h5", "in.npy", "out.npy"))
    generator.network.save_weights(weights)
    np.save(images, random_images(9, 17))
    name, options = generator.name, TINY.get(generator.name)
    code = FORWARD.format(name=name, options=options, weights=weights, images=images, out=out)
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == backend
    expected = generator.as_unit_model()(random_images(9, 17))
    np.testing.assert_allclose(np.load(out), expected, atol=2e-5)


def test_synchronized_batch_norm_under_jax_is_that_of_the_global_batch():
    pytest.importorskip("jax")
    code = (
        "from tfdeblur import models\n"
        "options = {'width': 2, 'synchronized': True}\n"
        "print(models.create('resnet16', options).network.count_params())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    plain = models.create("resnet16", {"width": 2})
    assert int(result.stdout) == plain.network.count_params()


# --------------------------------------------------------------------------------- invalid options


def test_unknown_model_raises_config_error_with_near_name():
    with pytest.raises(ConfigError, match="unet16"):
        models.create("unet61")


def test_unknown_option_raises_config_error_with_near_name():
    with pytest.raises(ConfigError, match="depth"):
        models.create("rednet30", {"dept": 10})


def test_option_out_of_range_raises_config_error():
    with pytest.raises(ConfigError, match="depth"):
        models.create("rednet30", {"depth": 12})
    with pytest.raises(ConfigError, match="width"):
        models.create("unet16", {"width": 0})


def test_list_models_does_not_import_keras():
    code = "import sys, tfdeblur; tfdeblur.list_models(); print('keras' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.strip() == "False", result.stderr
