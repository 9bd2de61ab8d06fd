import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.models import layers
from tfdeblur.training.engines.tensorflow import runtime

SHAPE = (4, 6, 5, 8)


def features(dtype: str = "float32") -> tf.Tensor:
    """Returns channels with large means and small deviations: E[x^2] - E[x]^2 is inaccurate."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal(SHAPE) * np.geomspace(0.1, 10, 8) + np.linspace(-20, 20, 8)
    return tf.cast(x.astype(np.float32), dtype)


def twins(**options):
    """Returns our layer and that of Keras with the same weights, none of them initial."""
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
    """Returns the training output, a second derivative if `order` is 2, and the gradients."""

    @tf.function(autograph=False)
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


def test_batch_norm_in_training_equals_that_of_keras():
    ours, theirs = twins()
    for value, expected in zip(trained(ours, features()), trained(theirs, features()), strict=True):
        # The fused kernel sums in another order, which also depends on the number of threads.
        assert_near(value, expected, 2e-4)
    for value, expected in zip(ours.weights, theirs.weights, strict=True):
        assert value.name == expected.name
        assert_near(value.numpy(), expected.numpy(), 1e-6)


def test_fused_kernel_is_used_in_training_only():
    def operations(layer, training):
        function = tf.function(lambda x: layer(x, training=training), autograph=False)
        graph = function.get_concrete_function(tf.TensorSpec(SHAPE)).graph
        return {operation.type for operation in graph.get_operations()}

    ours, theirs = twins()
    assert "FusedBatchNormV3" in operations(ours, True)
    assert "FusedBatchNormV3" not in operations(ours, False)
    assert "FusedBatchNormV3" not in operations(theirs, True)
    ours.trainable = False
    assert "FusedBatchNormV3" not in operations(ours, True)


def test_batch_norm_second_derivatives_equal_those_of_keras():
    # The gradient penalty differentiates twice.
    ours, theirs = twins()
    value = trained(ours, features(), order=2)[1]
    expected = trained(theirs, features(), order=2)[1]
    assert_near(value, expected, 2e-4)


def test_batch_norm_of_bfloat16_computes_in_float32():
    x = features("bfloat16")
    ours, _ = twins(dtype="mixed_bfloat16")
    y = ours(x, training=True)
    assert y.dtype == tf.bfloat16
    values = tf.cast(x, tf.float64).numpy()
    mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
    gamma, beta = ours.gamma.numpy(), ours.beta.numpy()
    expected = (values - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    # Only the final rounding to eight bits of mantissa is tolerated.
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
def test_batch_norm_with_options_equals_that_of_keras(options):
    layers_of_both = []
    for layer_class in (layers.BatchNormalization, keras.layers.BatchNormalization):
        layer = layer_class(**options)
        layer.build(SHAPE)
        layers_of_both.append(layer)
    ours, theirs = layers_of_both
    assert_near(ours(features(), training=True), theirs(features(), training=True), 2e-5)
    for value, expected in zip(ours.weights, theirs.weights, strict=True):
        assert_near(value.numpy(), expected.numpy(), 1e-5)


def test_synchronized_batch_norm_uses_all_replicas():
    x = features().numpy()
    strategy = runtime.make_strategy("mirrored")

    def output(synchronized):
        with strategy.scope():
            layer = layers.BatchNormalization(synchronized=synchronized)
            layer.build(SHAPE)

        @tf.function(autograph=False)
        def run():
            def replica():
                index = tf.distribute.get_replica_context().replica_id_in_sync_group
                half = tf.gather(tf.split(tf.constant(x), 2), index)
                return layer(half, training=True)

            return strategy.experimental_local_results(strategy.run(replica))

        return np.concatenate([part.numpy() for part in run()])

    full = keras.layers.BatchNormalization()(x, training=True).numpy()
    np.testing.assert_allclose(output(True), full, atol=2e-3)
    halves = [keras.layers.BatchNormalization()(h, training=True) for h in np.split(x, 2)]
    np.testing.assert_allclose(output(False), np.concatenate(halves), atol=2e-3)
    assert np.abs(output(False) - full).max() > 0.05


def test_batch_norm_under_xla_equals_that_of_keras():
    # XLA computes the variance as E[x^2] - E[x]^2, so the means are within a few deviations.
    ours, theirs = twins()
    x = tf.constant(np.random.default_rng(8).normal(1, 2, SHAPE), tf.float32)
    compiled = tf.function(lambda x: ours(x, training=True), jit_compile=True, autograph=False)
    with tf.device("CPU:0"):
        assert_near(compiled(x), theirs(x, training=True), 2e-5)


@pytest.mark.parametrize("shape", [(2, 5, 9, 3), (1, 8, 16, 3), (1, 1, 1, 3)])
def test_crop_to_reverts_pad_to_multiple(shape):
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    inputs = keras.Input((None, None, 3))
    padded = layers.PadToMultiple(8)(inputs)
    assert padded.shape == (None, None, None, 3)
    model = keras.Model(inputs, [padded, layers.CropTo()(padded, inputs)])
    large, back = model(images)
    assert all(size % 8 == 0 for size in large.shape[1:3])
    np.testing.assert_array_equal(back, images)


def test_layers_keep_known_sizes():
    inputs = keras.Input((13, 24, 3))
    padded = layers.PadToMultiple(8)(inputs)
    assert padded.shape == (None, 16, 24, 3)
    assert layers.CropTo()(padded, inputs).shape == (None, 13, 24, 3)
    assert layers.PadToMultiple(8, 20)(inputs).shape == (None, 24, 24, 3)
    # Under JAX, Keras computes unknown sizes for two examples below 128.
    assert layers.PadToMultiple(8, 128)(keras.Input((None, 9, 3))).shape == (None, None, 128, 3)


def traced_with_unknown_sizes(layer, x: np.ndarray) -> np.ndarray:
    signature = [tf.TensorSpec((None, None, None, x.shape[-1]), x.dtype)]
    return tf.function(layer, input_signature=signature, autograph=False)(x).numpy()


@pytest.mark.parametrize("size", [0, 1, 3, (0, 1), (2, 1)])
@pytest.mark.parametrize("shape", [(2, 5, 9, 3), (1, 4, 1, 2), (1, 3, 2, 1), (1, 1, 1, 3)])
def test_reflection_padding_equals_numpy(shape, size):
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    layer = layers.ReflectionPadding(size)
    border = (size, size) if isinstance(size, int) else size
    expected = np.pad(x, ((0, 0), border, border, (0, 0)), mode="reflect")
    np.testing.assert_array_equal(layer(x), expected)
    np.testing.assert_array_equal(traced_with_unknown_sizes(layer, x), expected)
    assert layer.compute_output_shape(shape) == expected.shape


def test_reflection_padding_smaller_than_image_is_one_op():
    # Gathering is slower, and its gradient is a scatter.
    layer = layers.ReflectionPadding(3)
    graph = (
        tf.function(layer, autograph=False).get_concrete_function(tf.TensorSpec((2, 8, 8, 3))).graph
    )
    assert [o.type for o in graph.get_operations() if "Pad" in o.type or "Gather" in o.type] == [
        "MirrorPad"
    ]


def test_pixel_shuffle_equals_depth_to_space():
    x = np.random.default_rng(0).random((2, 3, 5, 12), dtype=np.float32)
    y = layers.PixelShuffle()(x)
    np.testing.assert_array_equal(y, tf.nn.depth_to_space(x, 2))
    np.testing.assert_array_equal(traced_with_unknown_sizes(layers.PixelShuffle(), x), y)
    assert layers.PixelShuffle().compute_output_shape(x.shape) == y.shape


def test_pixel_shuffle_of_permuted_pytorch_weights_equals_pytorch():
    rng = np.random.default_rng(0)
    x, kernel = rng.random((1, 2, 3, 5)), rng.random((5, 12))
    features = (x @ kernel).reshape(1, 2, 3, 3, 2, 2)  # channel 4 c + 2 i + j, as in PyTorch
    expected = features.transpose(0, 1, 4, 2, 5, 3).reshape(1, 4, 6, 3)
    permuted = kernel.reshape(5, 3, 4).swapaxes(-1, -2).reshape(5, 12)
    np.testing.assert_allclose(layers.PixelShuffle()(x @ permuted), expected, rtol=1e-6)


def window_around_each_pixel(window):
    """Returns a function to the mean of the window around each pixel."""
    pool, scale = layers.MeanPooling(window), layers.WindowScaling(window)
    return lambda x: scale(x * 0 + 1, pool(x))


def brute_force_mean(x: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Returns the means of the nearest windows inside the image, in float64."""
    x = x.astype(np.float64)
    height, width = (min(w, s) for w, s in zip(window, x.shape[1:3], strict=True))
    out = np.empty_like(x)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            top = np.clip(i - (height - 1) // 2, 0, x.shape[1] - height)
            left = np.clip(j - (width - 1) // 2, 0, x.shape[2] - width)
            out[:, i, j] = x[:, top : top + height, left : left + width].mean((1, 2))
    return out


@pytest.mark.parametrize("window", [(1, 1), (3, 3), (4, 2), (5, 8), (9, 3), (2, 40)])
def test_pooling_and_scaling_equal_window_means(window):
    x = np.random.default_rng(1).normal(3, 1, (2, 9, 11, 4)).astype(np.float32)
    layer = window_around_each_pixel(window)
    expected = brute_force_mean(x, window)
    np.testing.assert_allclose(layer(x), expected, atol=5e-6)
    np.testing.assert_allclose(traced_with_unknown_sizes(layer, x), expected, atol=5e-6)


@pytest.mark.parametrize("window", [(1, 1), (3, 3), (4, 2), (5, 8), (9, 3), (2, 40)])
def test_mean_pooling_has_one_mean_per_window(window):
    x = np.random.default_rng(1).normal(3, 1, (2, 9, 11, 4)).astype(np.float32)
    layer = layers.MeanPooling(window)
    height, width = min(window[0], 9), min(window[1], 11)
    pooled = layer(x).numpy()
    assert pooled.shape == (2, 10 - height, 12 - width, 4) == layer.compute_output_shape(x.shape)
    assert layer.compute_output_shape((None, None, 11, 4)) == (None, None, 12 - width, 4)
    last = x[:, -height:, -width:].mean((1, 2), dtype=np.float64)
    np.testing.assert_allclose(pooled[:, -1, -1], last, atol=5e-6)


def test_window_scaling_uses_nearest_window():
    x = np.arange(1, 6, dtype=np.float32)[None, None, :, None]  # one row of five
    factors = np.float32([10, 100])[None, None, :, None]
    expected = x[0, 0, :, 0] * [10, 10, 100, 100, 100]
    scale = layers.WindowScaling((3, 4))
    np.testing.assert_array_equal(scale(x, factors)[0, 0, :, 0], expected)
    assert scale.compute_output_shape(x.shape, factors.shape) == x.shape
    alike = layers.WindowScaling()(x, factors[:, :, :1])
    np.testing.assert_array_equal(alike, x * 10)


@pytest.mark.parametrize("window", [None, (3, 4)])
def test_window_attention_gradient_equals_finite_differences(window):
    x = tf.constant(np.random.default_rng(3).normal(1, 1, (1, 5, 6, 2)))
    pool = layers.MeanPooling(window, dtype="float64")
    scale = layers.WindowScaling(window, dtype="float64")
    theory, practice = tf.test.compute_gradient(lambda x: scale(x, tf.square(pool(x))), [x])
    np.testing.assert_allclose(theory[0], practice[0], atol=1e-3)


def test_window_larger_than_image_equals_global_mean():
    x = np.random.default_rng(1).random((2, 6, 8, 3), dtype=np.float32)
    globally = layers.MeanPooling()(x)
    assert globally.shape == (2, 1, 1, 3)
    np.testing.assert_allclose(globally, x.mean((1, 2), keepdims=True), rtol=1e-6)
    for window in ((6, 8), (100, 8), (512, 512)):
        layer = layers.MeanPooling(window)
        np.testing.assert_array_equal(layer(x), globally)
        assert layer.compute_output_shape(x.shape) == globally.shape
        np.testing.assert_allclose(traced_with_unknown_sizes(layer, x), globally, rtol=1e-5)
        around = traced_with_unknown_sizes(window_around_each_pixel(window), x)
        np.testing.assert_allclose(around, np.broadcast_to(globally, x.shape), rtol=1e-5)


def test_window_means_in_large_image_are_accurate():
    # A single integral image would lose the third decimal here.
    x = np.random.default_rng(1).normal(100, 1, (1, 400, 500, 1)).astype(np.float32)
    pooled = window_around_each_pixel((16, 16))(x).numpy()[0, 384:, 484:, 0]
    expected = brute_force_mean(x[:, 376:, 476:], (16, 16))[0, 8:, 8:, 0]
    np.testing.assert_allclose(pooled, expected, atol=1e-3)


def test_mean_pooling_of_bfloat16_sums_in_float32():
    x = tf.cast(np.random.default_rng(1).normal(10, 1, (1, 64, 64, 2)), tf.bfloat16)
    expected = tf.cast(x, tf.float64).numpy()
    for window in (None, (33, 20)):
        pooled = layers.MeanPooling(window, dtype="mixed_bfloat16")(x)
        assert pooled.dtype == tf.bfloat16
        exact = expected.mean((1, 2), keepdims=True)
        if window:
            exact = brute_force_mean(expected, window)[:, 16:48, 9:54]  # those inside
        np.testing.assert_allclose(tf.cast(pooled, tf.float64), exact, rtol=2**-8)


@pytest.mark.parametrize(
    "layer",
    [
        layers.PadToMultiple(8, 16),
        layers.ReflectionPadding(3),
        layers.ReflectionPadding((1, 2)),
        layers.PixelShuffle(),
        layers.MeanPooling(),
        layers.MeanPooling((3, 4)),
        layers.WindowScaling((3, 4)),
        layers.CropTo(),
        layers.BatchNormalization(epsilon=1e-5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layer_serialized_and_deserialized_is_equal(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


NORMS = {
    "layer": (layers.LayerNormalization, keras.layers.LayerNormalization, {}),
    "group": (layers.GroupNormalization, keras.layers.GroupNormalization, {"groups": 2}),
    "instance": (layers.GroupNormalization, keras.layers.GroupNormalization, {"groups": -1}),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_norm_equals_that_of_keras(norm, dtype):
    rng = np.random.default_rng(3)
    x = (rng.normal(0, 1, SHAPE) * np.geomspace(0.1, 10, 8) + 20).astype(np.float32)
    weights = [rng.uniform(0.5, 2, 8), rng.normal(size=8)]
    found = []
    *kinds, options = NORMS[norm]
    for kind in kinds:
        layer = kind(epsilon=1e-6, dtype=dtype, **options)
        layer.build(x.shape)
        layer.set_weights(weights)
        inputs = tf.cast(x, layer.compute_dtype)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = layer(inputs)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 3)
        found.append([y, *tape.gradient(loss, [inputs, layer.gamma, layer.beta])])
        assert y.dtype == layer.compute_dtype
    tolerance = 1e-4 if dtype == "float32" else 2**-6
    for ours, theirs in zip(*found, strict=True):
        ours, theirs = (tf.cast(value, tf.float32).numpy() for value in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("norm", NORMS)
def test_second_derivative_of_norm_equals_finite_differences(norm):
    # tf.nn.moments stops the gradient of the mean inside the variance: under TensorFlow the first
    # derivatives of Keras's layers are right and the second ones are wrong.
    kind, _, options = NORMS[norm]
    layer = kind(epsilon=1e-5, dtype="float64", **options)
    rng = np.random.default_rng(5)
    x, weights, direction = rng.normal(size=(3, *SHAPE))
    layer.build(SHAPE)
    layer.set_weights([rng.uniform(0.5, 2, 8), rng.normal(size=8)])

    def penalty(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(weights * tf.cos(layer(x)))
        return tf.reduce_sum(tape.gradient(y, x) ** 2)

    with tf.GradientTape() as tape:
        tape.watch(variable := tf.constant(x))
        value = penalty(variable)
    slope = np.sum(tape.gradient(value, variable) * direction)
    up, down = (penalty(tf.constant(x + step * direction)) for step in (1e-6, -1e-6))
    np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("noise_shape", [None, (None, 1, 1, None)])
def test_dropout_equals_that_of_keras(noise_shape):
    x = tf.ones((2, 8, 9, 6))
    made = [
        layer_class(0.3, noise_shape, seed=3)
        for layer_class in (layers.Dropout, keras.layers.Dropout)
    ]
    for _ in range(2):
        ours, theirs = (layer(x, training=True) for layer in made)
        np.testing.assert_array_equal(ours, theirs)
        assert 0 < np.count_nonzero(ours) < ours.numpy().size
    np.testing.assert_array_equal(made[0](x, training=False), x)


def test_dropout_differs_between_replicas():
    strategy = runtime.make_strategy("mirrored")
    with strategy.scope():
        layer = layers.Dropout(0.5, seed=1)
    x = tf.ones((1, 16, 16, 4))

    @tf.function(autograph=False)
    def step():
        return strategy.run(lambda: layer(x, training=True))

    first, second = strategy.experimental_local_results(step())
    single = keras.layers.Dropout(0.5, seed=1)
    np.testing.assert_array_equal(first, single(x, training=True))
    equal = np.mean(first.numpy() == second.numpy())
    assert 0.4 < equal < 0.6
