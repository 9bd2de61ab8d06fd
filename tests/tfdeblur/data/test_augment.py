import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.data.augment import Augmentation
from tfdeblur.ops.random import key_of

ALL = [Augmentation(*flags) for flags in itertools.product([False, True], repeat=3)]
POSITIONS = tf.range(1000, 1064, dtype=tf.int64)


def symmetries(image: np.ndarray) -> dict[bytes, tuple[bool, int]]:
    """Returns the eight symmetries of an image: bytes -> (mirrored, quarter turns)."""
    found = {}
    for mirrored, turns in itertools.product([False, True], range(4)):
        flipped = np.fliplr(image) if mirrored else image
        found[np.ascontiguousarray(np.rot90(flipped, turns)).tobytes()] = (mirrored, turns)
    return found


def placed(
    augmentation: Augmentation, image: np.ndarray, size: tuple[int, int]
) -> list[np.ndarray]:
    slack = (image.shape[0] - size[0], image.shape[1] - size[1])
    placements = augmentation.draw(key_of(0), POSITIONS, slack)
    pair = {"blurred": tf.constant(image), "sharp": tf.constant(255 - image)}
    results = []
    for placement in placements:
        out = augmentation.place(pair, placement, size)
        np.testing.assert_array_equal(out["blurred"], 255 - out["sharp"].numpy())
        results.append(out["blurred"].numpy())
    return results


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.mark.parametrize("augmentation", ALL, ids=str)
def test_place_yields_all_requested_orientations_only(
    augmentation: Augmentation, image: np.ndarray
) -> None:
    seen = {symmetries(image)[result.tobytes()] for result in placed(augmentation, image, (8, 8))}
    expected = {(False, 0)}
    if augmentation.horizontal_flips:
        expected |= {(not mirrored, -turns % 4) for mirrored, turns in expected}
    if augmentation.vertical_flips:  # a vertical flip is a mirror image rotated by 180 degrees
        expected |= {(not mirrored, (2 + turns) % 4) for mirrored, turns in expected}
    if augmentation.quarter_turns:
        expected = {(m, (t + more) % 4) for m, t in expected for more in range(4)}
    assert seen == expected


@pytest.mark.parametrize("augmentation", ALL, ids=str)
def test_place_batch_equals_place(augmentation: Augmentation, image: np.ndarray) -> None:
    images = np.random.default_rng(1).integers(0, 256, (64, 6, 6, 3), np.uint8)
    placements = augmentation.draw(key_of(3), POSITIONS, (0, 0))
    pairs = {"blurred": tf.constant(images), "sharp": tf.constant(images // 2)}
    batch = augmentation.place_batch(pairs, placements)
    for index in range(64):
        single = {name: half[index] for name, half in pairs.items()}
        expected = augmentation.place(single, placements[index], (6, 6))
        for name in expected:
            np.testing.assert_array_equal(batch[name][index], expected[name])


def test_flips_of_oblong_images_keep_their_shape() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8)
    seen = {result.tobytes() for result in placed(Augmentation(), image, (5, 9))}
    assert seen == {
        np.ascontiguousarray(flipped).tobytes()
        for flipped in (image, image[::-1], image[:, ::-1], image[::-1, ::-1])
    }


def test_crops_cover_all_offsets() -> None:
    # Every pixel holds its own row and column.
    rows, columns = np.mgrid[:7, :12]
    image = np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)
    corners = set()
    for result in placed(Augmentation(False, False), image, (5, 10)):
        top, left = result[0, 0, :2]
        np.testing.assert_array_equal(result, image[top : top + 5, left : left + 10])
        corners.add((int(top), int(left)))
    assert corners == set(itertools.product(range(3), range(3)))


def test_draw_depends_on_position_and_key_only() -> None:
    augmentation = Augmentation(quarter_turns=True)
    reference = augmentation.draw(key_of(0), POSITIONS, (30, 40)).numpy()
    part = augmentation.draw(key_of(0), POSITIONS[10:20], (30, 40)).numpy()
    np.testing.assert_array_equal(part, reference[10:20])
    other = augmentation.draw(key_of(1), POSITIONS, (30, 40)).numpy()
    assert (other != reference).any(axis=0).all()


def test_draw_without_augmentation_is_zero() -> None:
    assert not Augmentation(False, False).draw(key_of(0), POSITIONS, (0, 0)).numpy().any()


def test_place_in_a_graph_has_static_shapes() -> None:
    augmentation = Augmentation(quarter_turns=True)
    spec = tf.TensorSpec([9, 8, 3], tf.uint8)

    @tf.function(autograph=False)
    def single(image: tf.Tensor, placement: tf.Tensor) -> dict[str, tf.Tensor]:
        return augmentation.place({"sharp": image}, placement, (6, 6))

    out = single.get_concrete_function(spec, tf.TensorSpec([3], tf.int32)).structured_outputs
    assert out["sharp"].shape == [6, 6, 3]
