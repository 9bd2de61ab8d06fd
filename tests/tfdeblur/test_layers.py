import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import layers, runtime

SHAPE = (4, 6, 5, 8)


def features(dtype: str = "float32") -> tf.Tensor:
    """Channels with large means and small deviations, where a careless variance goes wrong."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal(SHAPE) * np.geomspace(0.1, 10, 8) + np.linspace(-20, 20, 8)
    return tf.cast(x.astype(np.float32), dtype)


def twins(**options):
    """Returns the project's layer and Keras's with the same weights, none of them at its start."""
    rng = np.random.default_rng(4)
    weights = [
        rng.uniform(0.5, 2, 8),
        rng.standard_normal(8),
        rng.standard_normal(8),
        rng.random(8),
    ]
    made = []
    for layer_class in (layers.BatchNormalization, keras.layers.BatchNormalization):
        layer = layer_class(**options)
        layer.build(SHAPE)
        layer.set_weights([w.astype(np.float32) for w in weights])
        made.append(layer)
    return made


def trained(layer, x, order: int = 1):
    """Returns the output in training, the gradients, and a second derivative if `order` is 2."""

    @tf.function
    def run(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 3)
            gradients = tape.gradient(loss, [x, *layer.trainable_variables])
            penalty = tf.reduce_sum(tf.cast(gradients[0], tf.float32) ** 2)
        second = outer.gradient(penalty, x) if order == 2 else y
        return y, second, *gradients

    return [tf.cast(v, tf.float32).numpy() for v in run(x)]


def assert_near(value, expected, tolerance):
    np.testing.assert_allclose(value, expected, atol=tolerance * np.abs(expected).max())


def test_batch_norm_is_keras_batch_norm_in_training():
    ours, theirs = twins()
    for value, expected in zip(trained(ours, features()), trained(theirs, features()), strict=True):
        assert_near(value, expected, 2e-5)
    for value, expected in zip(ours.weights, theirs.weights, strict=True):
        assert value.name == expected.name
        assert_near(value.numpy(), expected.numpy(), 1e-6)


def test_the_fused_kernel_is_used_in_training_alone():
    def operations(layer, training):
        function = tf.function(lambda x: layer(x, training=training))
        graph = function.get_concrete_function(tf.TensorSpec(SHAPE)).graph
        return {operation.type for operation in graph.get_operations()}

    ours, theirs = twins()
    assert "FusedBatchNormV3" in operations(ours, True)
    assert "FusedBatchNormV3" not in operations(ours, False)
    assert "FusedBatchNormV3" not in operations(theirs, True)
    ours.trainable = False
    assert "FusedBatchNormV3" not in operations(ours, True)


def test_second_derivatives_of_batch_norm():
    # The gradient penalty differentiates twice.
    ours, theirs = twins()
    value = trained(ours, features(), order=2)[1]
    expected = trained(theirs, features(), order=2)[1]
    assert_near(value, expected, 2e-4)


def test_batch_norm_of_16_bits_computes_in_float32():
    x = features("bfloat16")
    ours, _ = twins(dtype="mixed_bfloat16")
    y = ours(x, training=True)
    assert y.dtype == tf.bfloat16
    values = tf.cast(x, tf.float64).numpy()
    mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
    gamma, beta = ours.gamma.numpy(), ours.beta.numpy()
    expected = (values - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    # One rounding to eight bits at the end is allowed, and nothing else.
    np.testing.assert_allclose(tf.cast(y, tf.float64), expected, rtol=2**-8, atol=2e-3)
    _, _, before_mean, before_variance = twins()[0].get_weights()
    np.testing.assert_allclose(
        ours.moving_mean.numpy(), 0.99 * before_mean + 0.01 * mean, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        ours.moving_variance.numpy(), 0.99 * before_variance + 0.01 * variance, rtol=1e-4
    )


@pytest.mark.parametrize(
    "options",
    [{"scale": False}, {"center": False}, {"axis": 1}, {"synchronized": True}, {"epsilon": 1e-5}],
)
def test_options_of_batch_norm(options):
    layers_of_both = []
    for layer_class in (layers.BatchNormalization, keras.layers.BatchNormalization):
        layer = layer_class(**options)
        layer.build(SHAPE)
        layers_of_both.append(layer)
    ours, theirs = layers_of_both
    assert_near(ours(features(), training=True), theirs(features(), training=True), 2e-5)
    for value, expected in zip(ours.weights, theirs.weights, strict=True):
        assert_near(value.numpy(), expected.numpy(), 1e-5)


def test_synchronized_batch_norm_sees_all_replicas():
    x = features().numpy()
    strategy = runtime.make_strategy("mirrored")

    def output(synchronized):
        with strategy.scope():
            layer = layers.BatchNormalization(synchronized=synchronized)
            layer.build(SHAPE)

        @tf.function
        def run():
            def replica():
                index = tf.distribute.get_replica_context().replica_id_in_sync_group
                half = tf.gather(tf.split(tf.constant(x), 2), index)
                return layer(half, training=True)

            return strategy.experimental_local_results(strategy.run(replica))

        return np.concatenate([part.numpy() for part in run()])

    whole = keras.layers.BatchNormalization()(x, training=True).numpy()
    np.testing.assert_allclose(output(True), whole, atol=2e-3)
    halves = [keras.layers.BatchNormalization()(h, training=True) for h in np.split(x, 2)]
    np.testing.assert_allclose(output(False), np.concatenate(halves), atol=2e-3)
    assert np.abs(output(False) - whole).max() > 0.05


def test_batch_norm_compiles_with_xla():
    # XLA takes the variance as E[x^2] - E[x]^2, so the means are kept within a few deviations.
    ours, theirs = twins()
    x = tf.constant(np.random.default_rng(8).normal(1, 2, SHAPE), tf.float32)
    compiled = tf.function(lambda x: ours(x, training=True), jit_compile=True)
    with tf.device("CPU:0"):
        assert_near(compiled(x), theirs(x, training=True), 2e-5)


@pytest.mark.parametrize("shape", [(2, 5, 9, 3), (1, 8, 16, 3), (1, 1, 1, 3)])
def test_padding_and_cropping_layers(shape):
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    inputs = keras.Input((None, None, 3))
    padded = layers.PadToMultiple(8)(inputs)
    assert padded.shape == (None, None, None, 3)
    model = keras.Model(inputs, [padded, layers.CropTo()(padded, inputs)])
    large, back = model(images)
    assert all(size % 8 == 0 for size in large.shape[1:3])
    np.testing.assert_array_equal(back, images)


def test_known_sizes_of_the_layers():
    inputs = keras.Input((13, 24, 3))
    padded = layers.PadToMultiple(8)(inputs)
    assert padded.shape == (None, 16, 24, 3)
    assert layers.CropTo()(padded, inputs).shape == (None, 13, 24, 3)
    assert layers.ToRange("unit", "signed")(padded).shape == (None, 16, 24, 3)


def test_range_layer():
    unit = np.float32([[0, 0.5, 1]])
    np.testing.assert_allclose(layers.ToRange("unit", "signed")(unit), [[-1, 0, 1]])
    np.testing.assert_allclose(layers.ToRange("signed", "unit")(unit * 2 - 1), unit)
    np.testing.assert_allclose(layers.ToRange("unit", "unit")(unit), unit)


@pytest.mark.parametrize(
    "layer",
    [
        layers.PadToMultiple(8),
        layers.CropTo(),
        layers.ToRange("unit", "signed"),
        layers.BatchNormalization(epsilon=1e-5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_survive_serialization(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
