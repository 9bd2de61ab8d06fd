"""Tiles lie inside the frame, cover it, and blend without seams."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfdeblur.ops import tiling

sides = st.integers(1, 60)


@st.composite
def cases(draw):
    height, width = draw(sides), draw(sides)
    tile = draw(st.integers(1, height)), draw(st.integers(1, width))
    stride = draw(sides), draw(sides)
    return (height, width, *tile, *stride)


def count_cover(height, width, boxes):
    counts = np.zeros((height, width), int)
    for box in boxes:
        counts[box.slices] += 1
    return counts


@given(cases(), st.booleans())
def test_grid_boxes_are_inside_of_one_size_and_in_row_order(case, cover):
    height, width, tile_height, tile_width, _, _ = case
    boxes = tiling.grid(*case, cover=cover)
    assert boxes
    for box in boxes:
        assert (box.height, box.width) == (tile_height, tile_width)
        assert box.top >= 0 and box.left >= 0
        assert box.bottom <= height and box.right <= width
    offsets = [(box.top, box.left) for box in boxes]
    assert offsets == sorted(set(offsets))


@given(cases())
def test_grid_with_cover_covers_every_pixel(case):
    height, width = case[:2]
    assert count_cover(height, width, tiling.grid(*case, cover=True)).min() >= 1


@given(cases())
def test_grid_without_cover_has_all_tiles_that_fit(case):
    height, width, tile_height, tile_width, stride_height, stride_width = case
    expected = [
        (top, left)
        for top in range(0, height, stride_height)
        for left in range(0, width, stride_width)
        if top + tile_height <= height and left + tile_width <= width
    ]
    assert [(b.top, b.left) for b in tiling.grid(*case, cover=False)] == expected


@given(sides, sides)
def test_grid_with_stride_of_tile_does_not_overlap(height, width):
    boxes = tiling.grid(height, width, 1 + height // 3, 1 + width // 3, 1 + height // 3, 60, False)
    assert count_cover(height, width, boxes).max() == 1


@given(cases())
def test_feather_blending_keeps_a_constant(case):
    height, width, tile_height, tile_width, stride_height, stride_width = case
    overlap = (max(0, tile_height - stride_height), max(0, tile_width - stride_width))
    weights = tiling.feather(tile_height, tile_width, *overlap)
    assert weights.dtype == np.float32
    assert weights.min() > 0 and weights.max() <= 1
    total = np.zeros((height, width))
    image = np.zeros((height, width))
    for box in tiling.grid(*case, cover=True):
        total[box.slices] += weights
        image[box.slices] += weights * 0.7
    np.testing.assert_allclose(image / total, 0.7, rtol=1e-6)


@given(st.integers(1, 20), st.integers(1, 30))
def test_feather_weights_of_neighbors_sum_to_one(overlap, inside):
    tile = 2 * overlap + inside
    weights = tiling.feather(tile, 1, overlap, 0)[:, 0]
    np.testing.assert_allclose(weights[-overlap:] + weights[:overlap], 1, rtol=1e-6)
    np.testing.assert_allclose(weights[overlap:-overlap], 1)


@given(*[st.integers(4, 40)] * 2, st.integers(0, 30), *[st.integers(0, 50)] * 2)
def test_blending_weights_are_zero_in_margins_inside_the_frame(high, wide, overlap, more, less):
    overlap = min(overlap, min(high, wide) * 3 // 4)  # larger overlaps only take longer
    height, width = high + more, wide + less
    total = np.zeros((height, width, 1))
    strides = high - overlap, wide - overlap
    for box in tiling.grid(height, width, high, wide, *strides, cover=True):
        weights = tiling.blending_weights(box, height, width, overlap)
        assert weights.shape == (high, wide, 1) and weights.dtype == np.float32
        assert weights.min() >= 0 and weights.max() <= 1
        margin = overlap // 4
        inner = (weights[:margin], weights[high - margin :], weights[:, :margin])
        outside = (box.top > 0, box.bottom < height, box.left > 0)
        for part, missed in zip(inner, outside, strict=True):
            assert not (missed and part.any())
        total[box.slices] += weights
    assert total.min() > 0


def test_mirror_up_to_reflects_until_the_tile_fits():
    image = np.random.default_rng(0).random((5, 9, 3))
    expected = np.pad(image, ((0, 3), (0, 2), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(tiling.mirror_up_to(image, 8, 11), expected)
    np.testing.assert_array_equal(tiling.mirror_up_to(image, 8, 2), expected[:, :9])
    assert tiling.mirror_up_to(image, 5, 9) is image


def test_grid_of_a_gopro_frame_has_twelve_tiles():
    boxes = tiling.grid(288, 512, 96, 128, 96, 128, False)
    assert len(boxes) == 12
    assert boxes[5] == tiling.Box(96, 128, 96, 128)


@pytest.mark.parametrize(
    "case", [(4, 4, 5, 4, 1, 1), (4, 4, 4, 5, 1, 1), (4, 4, 2, 2, 0, 1), (4, 4, 0, 2, 1, 1)]
)
@pytest.mark.parametrize("cover", [False, True])
def test_grid_of_invalid_sizes_raises(case, cover):
    with pytest.raises(ValueError, match=r"does not fit|at least 1"):
        tiling.grid(*case, cover=cover)


def test_middle_is_the_central_crop():
    image = np.arange(7 * 10).reshape(7, 10)
    box = tiling.middle(7, 10, 4)
    assert (box.top, box.left, box.height, box.width) == (1, 3, 4, 4)
    assert image[tiling.middle(7, 10, 8).slices].shape == (7, 8)
    assert image[tiling.middle(7, 10, 99).slices].shape == image.shape
