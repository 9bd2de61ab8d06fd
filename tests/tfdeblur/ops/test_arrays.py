import numpy as np
import pytest

from tfdeblur.ops import arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_to_uint8_inverts_division_by_255(dtype):
    levels = np.arange(256, dtype=np.uint8)
    converted = arrays.to_uint8(levels.astype(dtype) / 255)
    assert converted.dtype == np.uint8
    np.testing.assert_array_equal(converted, levels)


def test_to_uint8_outside_unit_range_clips():
    np.testing.assert_array_equal(arrays.to_uint8(np.array([-1.0, 2.0])), [0, 255])


def test_to_uint8_of_uint8_returns_same_array():
    image = np.zeros((2, 3, 3), np.uint8)
    assert arrays.to_uint8(image) is image


def test_to_uint8_of_uint16_scales_the_full_range_to_the_nearest_level():
    deep = np.arange(65536, dtype=np.uint16)
    exact = deep.astype(np.float64) * 255 / 65535
    converted = arrays.to_uint8(deep)
    assert converted.dtype == np.uint8
    assert np.abs(converted - exact).max() <= 0.5
