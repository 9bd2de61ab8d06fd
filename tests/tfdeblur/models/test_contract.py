"""Contract of every registered generator; a new file in the folder is tested automatically."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny_models import TINY
from tfdeblur import config, models
from tfdeblur.config import settings
from tfdeblur.errors import ConfigError
from tfdeblur.ops.imaging import data_range
from tfdeblur.ops.precision import precision_scope

NAMES = config.MODELS.names()


def create(name: str):
    """Builds a small model and randomizes weights that are initially zero and hide others."""
    generator = models.create(name, TINY.get(name))
    rng = np.random.default_rng(7)
    for variable in generator.network.trainable_variables:
        if variable.name not in ("bias", "beta") and not np.any(variable):
            variable.assign(rng.normal(0, 0.2, variable.shape).astype(np.float32))
    return generator


@pytest.fixture(scope="module", params=NAMES)
def generator(request):
    keras.utils.set_random_seed(1)
    return create(request.param)


def random_images(height: int, width: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(height).random((batch, height, width, 3), dtype=np.float32)


def test_known_models_are_registered():
    assert {"rednet30", "resnet16", "unet16"} <= set(NAMES)
    assert set(TINY) <= set(NAMES)


def test_options_are_frozen_and_documented(generator):
    options = config.MODELS.options(generator.name)
    assert dataclasses.is_dataclass(options)
    assert options.__dataclass_params__.frozen
    assert all(field.description for field in settings.fields_of(options))
    assert generator.options == dataclasses.asdict(options(**TINY.get(generator.name, {})))


def test_build_cites_its_source(generator):
    module = config.MODELS.load(generator.name)
    assert "Reference:" in module.build.__doc__


def test_network_outputs_are_a_float32_pyramid(generator):
    size = generator.multiple * -(-16 // generator.multiple)
    outputs = generator.network(random_images(size, 2 * size) * data_range(generator.value_range))
    pyramid = outputs if isinstance(outputs, list) else [outputs]
    for level, output in enumerate(pyramid):
        assert output.shape == (1, size >> level, 2 * size >> level, 3)
        assert output.dtype == tf.float32


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (32, 32)])
def test_unit_model_of_any_size_is_finite_float32(generator, size):
    images = random_images(*size, batch=2)
    restored = generator.as_unit_model()(images)
    assert restored.shape == images.shape
    assert restored.dtype == tf.float32
    assert np.isfinite(restored).all()


def test_unit_model_traced_once_serves_all_sizes(generator):
    # As in an exported model.
    model = generator.as_unit_model()
    traced = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for size in ((1, 1), (2, 5), (33, 16)):
        images = random_images(*size, batch=2)
        np.testing.assert_allclose(traced(images), model(images), atol=1e-5)


def test_unit_model_shares_weights_of_network(generator):
    model = generator.as_unit_model()
    assert model.count_params() == generator.network.count_params()
    pairs = zip(model.variables, generator.network.variables, strict=True)
    assert all(ours is theirs for ours, theirs in pairs)
    assert model.input_shape == model.output_shape == (None, None, None, 3)


def test_unit_model_without_padding_equals_network(generator):
    size = generator.multiple * -(-16 // generator.multiple)
    images = random_images(size, size)
    signed = generator.value_range == "signed"
    outputs = generator.network(images * 2 - 1 if signed else images)
    finest = outputs[0] if isinstance(outputs, list) else outputs
    expected = (finest + 1) / 2 if signed else finest
    np.testing.assert_allclose(generator.as_unit_model()(images), expected, atol=1e-6)


def test_trainable_weights_all_have_gradients(generator):
    x = tf.constant(random_images(32, 32, batch=2))
    with tf.GradientTape() as tape:
        outputs = generator.network(x, training=True)
        loss = sum(tf.reduce_mean((o - 0.3) ** 2) for o in tf.nest.flatten(outputs))
    gradients = tape.gradient(loss, generator.network.trainable_variables)
    assert all(g is not None and np.isfinite(g).all() for g in gradients)
    # A bias before batch norm has no effect in training, so only kernels must have a gradient.
    for variable, gradient in zip(generator.network.trainable_variables, gradients, strict=True):
        if variable.path.endswith("kernel"):
            assert np.abs(gradient).max() > 0, variable.path


def test_unit_model_in_bfloat16_is_close_and_float32(generator):
    with precision_scope("mixed_bfloat16"):
        half = create(generator.name)
    half.network.set_weights(generator.network.get_weights())
    images = random_images(32, 32)
    restored = half.as_unit_model()(images)
    assert restored.dtype == tf.float32
    assert all(v.dtype == "float32" for v in half.network.weights)
    expected = generator.as_unit_model()(images)
    error = np.abs(restored - expected)
    assert error.mean() < 0.05 * np.abs(expected).mean()
    assert error.max() > 0  # the precision was different


def test_weight_paths_are_stable_and_unique(generator):
    # A warm start matches weights by these paths. The states of dropout's seed generators are not
    # weights; Keras numbers their names.
    paths = [variable.path for variable in generator.network.weights]
    assert len(set(paths)) == len(paths)
    again = [variable.path for variable in create(generator.name).network.weights]
    assert paths == again


def test_unit_model_saved_and_loaded_is_equal(generator, tmp_path):
    model = generator.as_unit_model()
    path = str(tmp_path / "model.keras")
    model.save(path)
    images = random_images(19, 21)
    np.testing.assert_allclose(keras.saving.load_model(path)(images), model(images), atol=1e-6)


def test_training_step_under_xla_has_static_shapes(generator):
    network = create(generator.name).network

    def step(x):
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(network(x, training=True))
            loss = tf.add_n([tf.reduce_mean(o**2) for o in outputs])
        for output in outputs:
            assert output.shape.is_fully_defined()
        return loss, tape.gradient(loss, network.trainable_variables)

    x = tf.constant(random_images(16, 16, batch=2))
    with tf.device("CPU:0"):
        compiled = tf.function(step, jit_compile=True).get_concrete_function(x)
    operations = compiled.graph.get_operations()
    # The last output of this op is scratch space for its gradient, without a static shape.
    scratch = [o.outputs[5] for o in operations if o.type == "FusedBatchNormV3"]
    exempt = {tensor.name for tensor in scratch}
    for consumer in (c for tensor in scratch for c in tensor.consumers()):
        if consumer.type == "ZerosLike":
            exempt.add(consumer.outputs[0].name)
    for operation in operations:
        for output in operation.outputs:
            if output.dtype.is_floating and output.name not in exempt:
                assert output.shape.is_fully_defined(), operation.name


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_network_under_xla_equals_network(name):
    network = create(name).network
    x = tf.constant(random_images(16, 16, batch=2))
    with tf.device("CPU:0"):
        compiled = tf.function(lambda x: network(x), jit_compile=True)(x)
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
