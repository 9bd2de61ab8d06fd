import keras
import numpy as np
import pytest
import skimage.color
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdeblur.ops import imaging


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def reflected(images: np.ndarray, multiple: int, least: int = 1) -> np.ndarray:
    sizes = images.shape[1:3]
    bottom, right = (-(-max(size, least) // multiple) * multiple - size for size in sizes)
    return np.pad(images, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="reflect")


def test_to_range_and_to_unit_convert_both_ways():
    unit = np.float32([0, 0.25, 1, 1.2])
    np.testing.assert_array_equal(imaging.to_range(unit, "unit"), unit)
    np.testing.assert_allclose(imaging.to_range(unit, "signed"), [-1, -0.5, 1, 1.4], rtol=1e-6)
    np.testing.assert_allclose(
        imaging.to_unit(imaging.to_range(unit, "signed"), "signed"), unit, rtol=1e-6
    )
    assert imaging.data_range("unit") == 1.0
    assert imaging.data_range("signed") == 2.0


def test_unknown_value_range_raises_value_error():
    with pytest.raises(ValueError, match="'byte'"):
        imaging.to_range(np.zeros(1, "float32"), "byte")


def test_uint8_to_unit_is_value_over_255():
    values = np.arange(256, dtype=np.uint8)
    unit = to_numpy(imaging.uint8_to_unit(values))
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(unit, values.astype(np.float32) / np.float32(255))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 17), st.integers(1, 40))
def test_padding_equals_numpy_for_any_size(height, width, multiple, least):
    size = 2 * height * width * 3
    images = np.arange(size, dtype=np.float32).reshape(2, height, width, 3)
    padded = to_numpy(imaging.pad_to_multiple(images, multiple, least))
    np.testing.assert_array_equal(padded, reflected(images, multiple, least))


@pytest.mark.parametrize("least", [1, 16])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 3, 5, 3), (2, 16, 8, 3), (1, 9, 20, 3)])
def test_padding_of_unknown_sizes_equals_numpy(shape, least):
    images = np.random.default_rng(0).random(shape, dtype=np.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def pad(x):
        return imaging.pad_to_multiple(x, 8, least)

    np.testing.assert_array_equal(pad(images), reflected(images, 8, least))


def test_padding_keeps_known_sizes():
    pad = tf.function(lambda x: imaging.pad_to_multiple(x, 8))
    traced = pad.get_concrete_function(tf.TensorSpec((4, 12, 17, 3)))
    assert traced.output_shapes == (4, 16, 24, 3)


def test_padding_of_fitting_size_returns_the_input():
    images = keras.ops.zeros((1, 16, 8, 3))
    assert imaging.pad_to_multiple(images, 8) is images
    assert imaging.pad_to_multiple(images, 1) is images
    assert imaging.pad_to_multiple(images, 1, 8) is images


def test_padding_with_invalid_arguments_raises_value_error():
    with pytest.raises(ValueError, match=r"at least 1"):
        imaging.pad_to_multiple(np.zeros((1, 2, 2, 3), "float32"), 0)
    with pytest.raises(ValueError, match="B, H, W, C"):
        imaging.pad_to_multiple(np.zeros((2, 2, 3), "float32"), 4)


def test_pyramid_equals_averages_and_bilinear_resizing():
    images = np.random.default_rng(2).random((2, 8, 12, 3), dtype=np.float32)
    finest, half, quarter = imaging.pyramid(images, 3)
    np.testing.assert_array_equal(finest, images)
    for size, level in ((2, half), (4, quarter)):
        blocks = images.reshape(2, 8 // size, size, 12 // size, size, 3)
        np.testing.assert_allclose(level, blocks.mean(axis=(2, 4), dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(half, tf.image.resize(images, (4, 6), "bilinear"), rtol=1e-6)


def test_pyramid_of_one_level_is_the_input():
    images = keras.ops.ones((1, 3, 5, 3))
    assert [level.shape for level in imaging.pyramid(images, 1)] == [(1, 3, 5, 3)]


def test_pyramid_of_bfloat16_images_is_float32():
    images = tf.cast(np.random.default_rng(3).random((1, 4, 4, 3)), tf.bfloat16)
    levels = imaging.pyramid(images, 3)
    assert [level.dtype for level in levels] == [tf.float32] * 3
    mean = tf.cast(images, tf.float64).numpy().mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(levels[-1], mean, rtol=1e-6)


def test_pyramid_gradient_under_xla_is_uniform():
    @tf.function(jit_compile=True)
    def gradient_of(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            coarsest = imaging.pyramid(images, 3)[-1]
        return tape.gradient(coarsest, images)

    with tf.device("/CPU:0"):
        np.testing.assert_allclose(gradient_of(tf.zeros((2, 8, 4, 3))), 1 / 16)


def test_pyramid_of_unknown_sizes_equals_known_sizes():
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def halves(images):
        return imaging.pyramid(images, 2)[1]

    images = np.random.default_rng(4).random((1, 6, 4, 3), dtype=np.float32)
    np.testing.assert_allclose(halves(images), imaging.pyramid(images, 2)[1], rtol=1e-6)


def test_pyramid_with_invalid_arguments_raises_value_error():
    with pytest.raises(ValueError, match=r"4.*8x6"):
        imaging.pyramid(np.zeros((1, 8, 6, 3), "float32"), 3)
    with pytest.raises(ValueError, match=r"at least 1"):
        imaging.pyramid(np.zeros((1, 8, 8, 3), "float32"), 0)
    with pytest.raises(ValueError, match="B, H, W, C"):
        imaging.pyramid(np.zeros((8, 8, 3), "float32"), 2)


def test_to_uint8_rounds_half_to_even_and_clips():
    levels = to_numpy(imaging.to_uint8(np.float32([0.0, 0.1, 0.5, 1.2, -1.0, 2.5 / 255])))
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, [0, 26, 128, 255, 0, 2])


def test_to_uint8_inverts_uint8_to_unit():
    values = np.arange(256, dtype=np.uint8)
    found = to_numpy(imaging.to_uint8(imaging.uint8_to_unit(values)))
    np.testing.assert_array_equal(found, values)


def test_luma_equals_scikit_image():
    images = np.random.default_rng(0).random((2, 5, 6, 3), dtype=np.float32)
    expected = skimage.color.rgb2ycbcr(images)[..., :1] / 255
    np.testing.assert_allclose(to_numpy(imaging.luma(images)), expected, atol=1e-6)
