"""Checks of a generator."""

import dataclasses
import os
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdeblur import models
from tfdeblur.config import MODELS
from tfdeblur.models.generator import Generator
from tfdeblur.ops.imaging import data_range
from tfdeblur.ops.precision import precision_scope
from tfdeblur.testing import options


def randomize_zeros(generator: Generator) -> None:
    """Draws kernels and scales that are initially zero, which would hide other weights."""
    rng = np.random.default_rng(7)
    for variable in generator.network.trainable_variables:
        if variable.name not in ("bias", "beta") and not np.any(variable):
            variable.assign(rng.normal(0, 0.2, variable.shape).astype(np.float32))


def _again(generator: Generator) -> Generator:
    built = models.create(generator.name, dict(generator.options))
    randomize_zeros(built)
    return built


def _images(height: int, width: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(height).random((batch, height, width, 3), dtype=np.float32)


def options_are_frozen_and_documented(generator: Generator) -> None:
    """The options are a frozen dataclass with documented fields, and the generator has them all."""
    options_class = MODELS.options(generator.name)
    options.are_frozen_and_documented(options_class)
    fields = {field.name for field in dataclasses.fields(options_class)}
    assert set(generator.options) == fields


def _side(generator: Generator, least: int) -> int:
    """Returns a size for the network itself, at least `least` and two of its smallest pixels."""
    return generator.multiple * max(2, -(-least // generator.multiple))


def network_outputs_are_a_float32_pyramid(generator: Generator) -> None:
    """The network returns float32 images of its input's size, or each half the previous size."""
    size = _side(generator, 16)
    outputs = generator.network(_images(size, 2 * size) * data_range(generator.value_range))
    for level, output in enumerate(tf.nest.flatten(outputs)):
        expected = (1, size >> level, 2 * size >> level, 3)
        assert output.shape == expected, f"output {level} has shape {output.shape}, not {expected}"
        assert output.dtype == tf.float32, f"output {level} is {output.dtype}, not float32"


def unit_model_of_any_size_is_finite_float32(generator: Generator) -> None:
    """Images of any size are restored, to finite values."""
    for size in ((1, 1), (17, 23), (32, 32)):
        images = _images(*size, batch=2)
        restored = generator.as_unit_model()(images)
        assert restored.shape == images.shape, f"{size} becomes {restored.shape}"
        assert restored.dtype == tf.float32
        assert np.isfinite(restored).all(), f"images of {size} are not finite"


def unit_model_traced_once_serves_all_sizes(generator: Generator) -> None:
    """One graph for unknown sizes computes what eager calls do, as in an exported model."""
    model = generator.as_unit_model()
    traced = tf.function(
        model, input_signature=[tf.TensorSpec((None, None, None, 3))], autograph=False
    )
    for size in ((1, 1), (2, 5), (33, 16)):
        images = _images(*size, batch=2)
        np.testing.assert_allclose(traced(images), model(images), atol=1e-5)


def unit_model_shares_weights_of_network(generator: Generator) -> None:
    """The wrapper has the network's own variables."""
    model = generator.as_unit_model()
    assert model.count_params() == generator.network.count_params()
    pairs = zip(model.variables, generator.network.variables, strict=True)
    assert all(ours is theirs for ours, theirs in pairs)
    assert model.input_shape == model.output_shape == (None, None, None, 3)


def unit_model_without_padding_equals_network(generator: Generator) -> None:
    """`value_range` and `multiple` are those of the network."""
    size = _side(generator, 16)
    images = _images(size, size)
    signed = generator.value_range == "signed"
    finest = tf.nest.flatten(generator.network(images * 2 - 1 if signed else images))[0]
    expected = (finest + 1) / 2 if signed else finest
    np.testing.assert_allclose(generator.as_unit_model()(images), expected, atol=1e-6)


def trainable_weights_all_have_gradients(generator: Generator) -> None:
    """All outputs together depend on every trainable weight."""
    size = _side(generator, 32)
    x = tf.constant(_images(size, size, batch=2))
    with tf.GradientTape() as tape:
        outputs = generator.network(x, training=True)
        loss = sum(tf.reduce_mean((o - 0.3) ** 2) for o in tf.nest.flatten(outputs))
    variables = generator.network.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None, f"{variable.path} has no gradient"
        assert np.isfinite(gradient).all(), f"the gradient of {variable.path} is not finite"
        # A bias before batch norm has no effect in training.
        if variable.path.endswith("kernel"):
            assert np.abs(gradient).max() > 0, f"the gradient of {variable.path} is zero"


def unit_model_in_bfloat16_is_close_and_float32(generator: Generator) -> None:
    """Under mixed precision the weights and the output stay float32."""
    with precision_scope("mixed_bfloat16"):
        half = _again(generator)
    half.network.set_weights(generator.network.get_weights())
    images = _images(32, 32)
    restored = half.as_unit_model()(images)
    assert restored.dtype == tf.float32, f"the output is {restored.dtype}: set its layer's dtype"
    assert all(v.dtype == "float32" for v in half.network.weights), "weights are not float32"
    expected = generator.as_unit_model()(images)
    error = np.abs(restored - expected)
    assert error.mean() < 0.05 * np.abs(expected).mean()
    assert error.max() > 0, "the network ignores the precision policy"


def weight_paths_are_stable_and_unique(generator: Generator) -> None:
    """Checkpoints and warm starts match weights by these paths."""
    # The states of dropout's seed generators are not weights; Keras numbers their names.
    paths = [variable.path for variable in generator.network.weights]
    assert len(set(paths)) == len(paths), "two weights have the same path: name the layers"
    again = [variable.path for variable in _again(generator).network.weights]
    assert paths == again, "the paths of weights depend on what was built before: name the layers"


def unit_model_saved_and_loaded_is_equal(generator: Generator) -> None:
    """Keras can save and load the network: its own layers are registered and have a config."""
    model = generator.as_unit_model()
    images = _images(19, 21)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        np.testing.assert_allclose(keras.saving.load_model(path)(images), model(images), atol=1e-6)


def training_step_under_xla_has_static_shapes(generator: Generator) -> None:
    """All shapes of a training step are known when it is traced for XLA, as TPUs need."""
    network = _again(generator).network

    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(network(x, training=True))
            loss = tf.add_n([tf.reduce_mean(o**2) for o in outputs])
        for output in outputs:
            assert output.shape.is_fully_defined()
        return loss, tape.gradient(loss, network.trainable_variables)

    size = _side(generator, 16)
    x = tf.constant(_images(size, size, batch=2))
    with tf.device("CPU:0"):
        compiled = tf.function(step, jit_compile=True, autograph=False).get_concrete_function(x)
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
                assert output.shape.is_fully_defined(), f"{operation.name} has an unknown shape"


MODEL_CHECKS = (
    options_are_frozen_and_documented,
    network_outputs_are_a_float32_pyramid,
    unit_model_of_any_size_is_finite_float32,
    unit_model_traced_once_serves_all_sizes,
    unit_model_shares_weights_of_network,
    unit_model_without_padding_equals_network,
    trainable_weights_all_have_gradients,
    unit_model_in_bfloat16_is_close_and_float32,
    weight_paths_are_stable_and_unique,
    unit_model_saved_and_loaded_is_equal,
    training_step_under_xla_has_static_shapes,
)
"""Checks of a generator; each takes one, from `testing.build("model", ...)`."""
