import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFilter

from tests.helpers.small_vgg import LAYER, SHAPES, WEIGHTS
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.losses import perceptual
from tfdeblur.losses.perceptual import FEATURE_SCALE, PerceptualLoss
from tfdeblur.training.engines.tensorflow import runtime

RNG = np.random.default_rng(11)
SHARP = np.float32(RNG.random((2, 10, 9, 3)))
RESTORED = np.float32(np.clip(SHARP + RNG.normal(0, 0.1, SHARP.shape), 0, 1))


def convolved(x: np.ndarray, name: str) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    kernel = WEIGHTS[f"{name}/kernel"].astype(np.float64)
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel) + WEIGHTS[f"{name}/bias"]


def reference(unit: np.ndarray, layer: str, after_activation: bool) -> np.ndarray:
    x = unit.astype(np.float64)[..., [2, 1, 0]] * 255 - [103.939, 116.779, 123.68]
    for name in SHAPES:
        if name == "block2_conv1":
            height, width = (size // 2 * 2 for size in x.shape[1:3])
            x = x[:, :height, :width].reshape(len(x), height // 2, 2, width // 2, 2, -1)
            x = x.max(axis=(2, 4))
        x = convolved(x, name)
        if name == layer:
            return np.maximum(x, 0) if after_activation else x
        x = np.maximum(x, 0)
    raise AssertionError(layer)


@pytest.mark.parametrize("after_activation", [True, False])
@pytest.mark.parametrize("layer", SHAPES)
def test_features_and_loss_equal_numpy(weights, layer, after_activation):
    loss = PerceptualLoss(layer, after_activation, weights)
    loss.build()
    sharp, restored = (reference(x, layer, after_activation) for x in (SHARP, RESTORED))
    assert (sharp.min() >= 0) == after_activation
    features = loss.network(perceptual.caffe_input(SHARP, 1))
    np.testing.assert_allclose(features, sharp, rtol=1e-4, atol=1e-3)
    value = loss.per_example(SHARP, RESTORED, data_range=1.0)
    assert value.shape == (2,)
    assert value.dtype == tf.float32
    expected = np.mean((restored - sharp) ** 2, axis=(1, 2, 3)) * (2 / 255) ** 2
    np.testing.assert_allclose(value, expected, rtol=2e-5)


def test_layers_equal_those_of_keras_vgg19(weights):
    loss = PerceptualLoss("block5_conv4", weights=weights)
    whole = keras.applications.VGG19(weights=None, include_top=False)
    convolutions = [layer for layer in whole.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.name for layer in convolutions] == list(perceptual.LAYERS)
    for layer in convolutions:
        assert layer.kernel.shape == perceptual._shape(layer.name, "kernel")
        assert layer.bias.shape == perceptual._shape(layer.name, "bias")
    with pytest.raises(DataError, match=r"block2_conv2.*block5_conv4"):
        loss.build()


def test_loss_of_identical_images_is_zero(loss):
    np.testing.assert_array_equal(loss.per_example(SHARP, SHARP, data_range=1.0), 0)


def test_loss_in_both_value_ranges_is_equal(loss):
    unit = loss.per_example(SHARP, RESTORED, data_range=1.0)
    signed = loss.per_example(SHARP * 2 - 1, RESTORED * 2 - 1, data_range=2.0)
    np.testing.assert_allclose(unit, signed, rtol=1e-4)
    black = perceptual.caffe_input(np.float32([[-1, -1, -1]]), 2)
    np.testing.assert_allclose(black, [[-103.939, -116.779, -123.68]], rtol=1e-6)
    red = perceptual.caffe_input(np.float32([[1, 0, 0]]), 1)
    np.testing.assert_allclose(red, [[-103.939, -116.779, 255 - 123.68]], rtol=1e-6)


def test_gradient_flows_to_restored_image_only(loss):
    sharp, restored = tf.Variable(SHARP), tf.Variable(RESTORED)
    with tf.GradientTape() as tape:
        value = loss.per_example(sharp, restored, data_range=1.0)
        # The tape watches no variable of the network.
        assert {id(v) for v in tape.watched_variables()} == {id(sharp), id(restored)}
    gradients = tape.gradient(value, [sharp, restored, *(w.value for w in loss.network.weights)])
    assert gradients[0] is None
    assert np.abs(gradients[1]).max() > 0
    assert all(gradient is None for gradient in gradients[2:])
    assert loss.network.trainable_weights == []


def test_gradient_equals_finite_differences(loss):
    restored = tf.Variable(RESTORED)
    with tf.GradientTape() as tape:
        value = loss.per_example(SHARP, restored, data_range=1.0)
    gradient = tape.gradient(value, restored).numpy()
    target = reference(SHARP, LAYER, True)
    for place in itertools.product([0, 1], [0, 5], [4, 7], [0, 2]):
        step = np.zeros(RESTORED.shape)
        step[place] = 1e-6
        above, below = (
            np.sum((reference(RESTORED + s, LAYER, True) - target) ** 2) / target[0].size
            for s in (step, -step)
        )
        expected = (above - below) / 2e-6 * FEATURE_SCALE
        assert gradient[place] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_backward_pass_excludes_sharp_images(loss):
    @tf.function(autograph=False)
    def gradient_of(sharp, restored):
        with tf.GradientTape() as tape:
            tape.watch(restored)
            value = loss.per_example(sharp, restored, data_range=1.0)
        return tape.gradient(value, restored)

    images = tf.TensorSpec((2, 16, 16, 3))
    graph = gradient_of.get_concrete_function(images, images).graph
    operations = graph.get_operations()
    kinds = [operation.type for operation in operations]
    assert kinds.count("Conv2D") == 2 * len(SHAPES)
    backward = [o for o in operations if o.type == "Conv2DBackpropInput"]
    assert len(backward) == len(SHAPES)
    assert all(operation.outputs[0].shape[0] == 2 for operation in backward)
    # The graph also has kernel gradients, which nothing consumes, so they are never run.
    kernels = [o for o in operations if o.type == "Conv2DBackpropFilter"]
    assert not any(output.consumers() for o in kernels for output in o.outputs)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_loss_under_xla_has_static_shapes_and_float32_output(weights, policy):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        loss = PerceptualLoss(LAYER, weights=weights)
        loss.build()
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert loss.network.get_layer(LAYER).compute_dtype == policy.removeprefix("mixed_")
    assert loss.network.output.dtype == "float32"

    @tf.function(jit_compile=True, autograph=False)
    def step(sharp, restored):
        with tf.GradientTape() as tape:
            tape.watch(restored)
            value = loss.per_example(sharp, restored, data_range=1.0)
        return value, tape.gradient(value, restored)

    images = tf.TensorSpec(SHARP.shape)
    graph = step.get_concrete_function(images, images).graph
    outputs = [
        tensor
        for operation in graph.get_operations()
        if operation.type != "Placeholder" or operation.outputs[0].dtype != tf.resource
        for tensor in operation.outputs
    ]
    assert all(tensor.shape.is_fully_defined() for tensor in outputs)
    with tf.device("/CPU:0"):
        value, gradient = step(tf.constant(SHARP), tf.constant(RESTORED))
    sharp, restored = (reference(x, LAYER, True) for x in (SHARP, RESTORED))
    expected = np.mean((restored - sharp) ** 2, axis=(1, 2, 3)) * FEATURE_SCALE
    np.testing.assert_allclose(value, expected, rtol=1e-4 if policy == "float32" else 2e-2)
    assert value.dtype == gradient.dtype == tf.float32


def test_loss_under_bfloat16_keeps_small_differences(weights):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        loss = PerceptualLoss("block1_conv1", weights=weights)
        loss.build()
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    # bfloat16 cannot represent a tenth of a gray level near 128.
    value = loss.per_example(SHARP, SHARP + np.float32(0.1 / 255), data_range=1.0)
    sharp, restored = (reference(x, "block1_conv1", True) for x in (SHARP, SHARP + 0.1 / 255))
    expected = np.mean((restored - sharp) ** 2, axis=(1, 2, 3)) * FEATURE_SCALE
    np.testing.assert_allclose(value, expected, rtol=1e-3)


def test_loss_of_unknown_sizes_equals_known_sizes(loss):
    images = tf.TensorSpec((None, None, None, 3))
    traced = tf.function(
        lambda sharp, restored: loss.per_example(sharp, restored, data_range=1.0),
        input_signature=[images, images],
        autograph=False,
    )
    expected = loss.per_example(SHARP, RESTORED, data_range=1.0)
    np.testing.assert_allclose(traced(SHARP, RESTORED), expected, rtol=1e-5)


def test_build_twice_keeps_the_network(loss):
    network = loss.network
    loss.build()
    assert loss.network is network


def test_build_draws_no_random_numbers(weights):
    def next_draw(build: bool) -> float:
        keras.utils.set_random_seed(1)
        if build:
            PerceptualLoss("block1_conv1", weights=weights).build()
        return float(keras.random.uniform(()))

    assert next_draw(build=True) == next_draw(build=False)


def test_loss_with_invalid_arguments_raises(loss, weights):
    with pytest.raises(RuntimeError, match=r"build\(\)"):
        PerceptualLoss(weights=weights).per_example(SHARP, RESTORED)
    with pytest.raises(ValueError, match=r"data_range.*255"):
        loss.per_example(SHARP, RESTORED, data_range=255.0)
    with pytest.raises(ValueError, match=r"2x2.*1x9"):
        loss.per_example(SHARP[:, :1], RESTORED[:, :1])


def test_unknown_layer_raises_config_error_with_near_name():
    with pytest.raises(ConfigError, match=r"'block3_conv'.*'block3_conv[1-4]'"):
        PerceptualLoss("block3_conv")


def test_unknown_suffix_raises_config_error():
    with pytest.raises(ConfigError, match=r"perceptual\.weights: 'vgg\.pth'.*\.npz, \.h5"):
        PerceptualLoss(weights="vgg.pth")


def test_positions_divide_by_height_and_width_alone(weights):
    means, sums = (
        PerceptualLoss(LAYER, weights=weights, reduction=reduction)
        for reduction in ("mean", "positions")
    )
    means.build()
    sums.build()
    channels = SHAPES[LAYER][1]
    np.testing.assert_allclose(
        sums.per_example(SHARP, RESTORED), channels * means.per_example(SHARP, RESTORED), rtol=1e-6
    )
    features = [reference(unit, LAYER, True) for unit in (SHARP, RESTORED)]
    squares = np.sum((features[0] - features[1]) ** 2, axis=(1, 2, 3))
    expected = FEATURE_SCALE * squares / np.prod(features[0].shape[1:3])
    np.testing.assert_allclose(sums.per_example(SHARP, RESTORED), expected, rtol=1e-4)


def test_papers_layer_has_256_channels():
    # The factor between both reductions in the recipes.
    assert perceptual._CHANNELS["block3_conv3"] == 256


def frames(real_data, kind: str, radius: float = 0) -> np.ndarray:
    """Returns the GoPro test frames resized, float32 [7, 256, 256, 3] in [-1, 1].

    A `radius` above 0 blurs them with a Gaussian of that standard deviation in pixels.
    """
    images = []
    for path in sorted((real_data / "gopro" / "test").glob(f"*/{kind}/*.png")):
        image = Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)
        images.append(np.float32(image.filter(ImageFilter.GaussianBlur(radius))))
    assert len(images) == 7
    return np.stack(images) / 127.5 - 1


@pytest.mark.slow
@pytest.mark.parametrize(("after_activation", "mean"), [(False, 379), (True, 277)])
def test_loss_of_real_pairs_equals_documented_values(
    real_data, record_property, after_activation, mean
):
    file = str(real_data / "vgg19" / "vgg19_notop_block1-3.npz")
    loss = PerceptualLoss("block3_conv3", after_activation, file)
    loss.build()
    sharp = frames(real_data, "sharp")

    def terms(restored: np.ndarray) -> np.ndarray:
        pairs = zip(np.split(sharp, 7), np.split(restored, 7), strict=True)
        return 100 * np.concatenate([loss.per_example(s, r, data_range=2.0) for s, r in pairs])

    blurred = terms(frames(real_data, "blur"))
    record_property("weighted", [round(float(term)) for term in blurred])
    # The values in FEATURE_SCALE's documentation.
    assert blurred.mean() == pytest.approx(mean, rel=0.01)
    assert np.all((blurred > 90) & (blurred < 700))
    weak, medium, strong = (terms(frames(real_data, "sharp", radius)) for radius in (0.7, 1.5, 3))
    assert np.all((weak > 0) & (weak < medium) & (medium < strong))


def test_weights_file_without_required_layer_raises_data_error(real_data):
    file = str(real_data / "vgg19" / "vgg19_notop_block1-3.npz")
    with pytest.raises(DataError, match=r"block1-3\.npz .*block4_conv1"):
        PerceptualLoss("block4_conv2", weights=file).build()


def test_loss_under_mirrored_strategy_equals_one_replica(weights, loss):
    strategy = runtime.make_strategy("mirrored")
    with strategy.scope():
        mirrored = PerceptualLoss(LAYER, weights=weights)
        mirrored.build()

    def gradient_of(restored):
        with tf.GradientTape() as tape:
            tape.watch(restored)
            value = mirrored.per_example(SHARP, restored, data_range=1.0)
        return value, tape.gradient(value, restored)

    both = strategy.run(tf.function(gradient_of, autograph=False), args=(tf.constant(RESTORED),))
    expected = loss.per_example(SHARP, RESTORED, data_range=1.0)
    for value in strategy.experimental_local_results(both[0]):
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    first, second = strategy.experimental_local_results(both[1])
    np.testing.assert_array_equal(first, second)
