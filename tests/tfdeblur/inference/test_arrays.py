"""Conversion between arrays and batches: shapes, dtypes, ranges and rounding."""

import numpy as np
import pytest

from tfdeblur.errors import UserError
from tfdeblur.inference import arrays

BATCH_SHAPES = {
    (9, 7): (1, 9, 7, 3),
    (9, 7, 1): (1, 9, 7, 3),
    (9, 7, 3): (1, 9, 7, 3),
    (2, 9, 7, 1): (2, 9, 7, 3),
    (2, 9, 7, 3): (2, 9, 7, 3),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_arrays_converted_to_a_batch_and_back_are_unchanged(shape, dtype):
    random = np.random.default_rng(3)
    if np.issubdtype(dtype, np.floating):
        images = random.random(shape).astype(dtype)
    else:
        images = random.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)
    batch = arrays.to_batch(images)
    assert batch.shape == BATCH_SHAPES[shape] and batch.dtype == np.float32
    assert batch.min() >= 0 and batch.max() <= 1
    back = arrays.from_batch(batch, images)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, images, atol=1e-3 if dtype == np.float16 else 1e-6)


def test_arrays_slightly_outside_the_range_are_clipped():
    found = arrays.to_batch(np.array([[[-0.01, 0.5, 1.01]]]))
    np.testing.assert_array_equal(found, np.float32([[[[0, 0.5, 1]]]]))


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (np.zeros((4, 4, 4), np.uint8), "alpha channel"),
        (np.zeros((2, 4, 4), np.uint8), r"\[2, 4, 4\]"),
        (np.zeros(5, np.uint8), r"\[5\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.full((4, 4, 3), 200.0), "200"),
        (np.full((4, 4, 3), np.nan), "nan"),
        (np.full((4, 4, 3), -1.0), "-1"),
    ],
)
def test_arrays_that_are_no_images_raise(images, named):
    with pytest.raises(UserError, match=named):
        arrays.to_batch(images)
