import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.data.augment import Augmentation
from tfdeblur.data.shuffle import key_of

ALL = [Augmentation(*flags) for flags in itertools.product([False, True], repeat=3)]
POSITIONS = tf.range(1000, 1064, dtype=tf.int64)


def symmetries(image: np.ndarray) -> dict[bytes, tuple[bool, int]]:
    """All eight symmetries of an image as bytes -> (mirrored, quarter turns)."""
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
def test_only_what_was_asked_for_and_all_of_it_happens(
    augmentation: Augmentation, image: np.ndarray
) -> None:
    seen = {symmetries(image)[result.tobytes()] for result in placed(augmentation, image, (8, 8))}
    expected = {(False, 0)}
    if augmentation.horizontal_flips:
        expected |= {(not mirrored, -turns % 4) for mirrored, turns in expected}
    if augmentation.vertical_flips:  # upside down is mirrored and turned by half
        expected |= {(not mirrored, (2 + turns) % 4) for mirrored, turns in expected}
    if augmentation.quarter_turns:
        expected = {(m, (t + more) % 4) for m, t in expected for more in range(4)}
    assert seen == expected


@pytest.mark.parametrize("augmentation", ALL, ids=str)
def test_batches_are_turned_like_single_pairs(
    augmentation: Augmentation, image: np.ndarray
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (64, 6, 6, 3), np.uint8)
    placements = augmentation.draw(key_of(3), POSITIONS, (0, 0))
    pairs = {"blurred": tf.constant(images), "sharp": tf.constant(images // 2)}
    batch = augmentation.place_batch(pairs, placements)
    for index in range(64):
        single = {name: half[index] for name, half in pairs.items()}
        expected = augmentation.place(single, placements[index], (6, 6))
        for name in expected:
            np.testing.assert_array_equal(batch[name][index], expected[name])


def test_oblong_images_keep_their_shape() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8)
    seen = {result.tobytes() for result in placed(Augmentation(), image, (5, 9))}
    assert seen == {
        np.ascontiguousarray(flipped).tobytes()
        for flipped in (image, image[::-1], image[:, ::-1], image[::-1, ::-1])
    }


def test_crops_lie_anywhere_inside() -> None:
    # Every pixel names its own row and column.
    rows, columns = np.mgrid[:7, :12]
    image = np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)
    corners = set()
    for result in placed(Augmentation(False, False), image, (5, 10)):
        top, left = result[0, 0, :2]
        np.testing.assert_array_equal(result, image[top : top + 5, left : left + 10])
        corners.add((int(top), int(left)))
    assert corners == set(itertools.product(range(3), range(3)))


def test_draws_depend_on_position_and_key_alone() -> None:
    augmentation = Augmentation(quarter_turns=True)
    whole = augmentation.draw(key_of(0), POSITIONS, (30, 40)).numpy()
    part = augmentation.draw(key_of(0), POSITIONS[10:20], (30, 40)).numpy()
    np.testing.assert_array_equal(part, whole[10:20])
    other = augmentation.draw(key_of(1), POSITIONS, (30, 40)).numpy()
    assert (other != whole).any(axis=0).all()


def test_nothing_to_draw() -> None:
    assert not Augmentation(False, False).draw(key_of(0), POSITIONS, (0, 0)).numpy().any()


def test_shapes_stay_static() -> None:
    augmentation = Augmentation(quarter_turns=True)
    spec = tf.TensorSpec([9, 8, 3], tf.uint8)

    @tf.function
    def single(image: tf.Tensor, placement: tf.Tensor) -> dict[str, tf.Tensor]:
        return augmentation.place({"sharp": image}, placement, (6, 6))

    out = single.get_concrete_function(spec, tf.TensorSpec([3], tf.int32)).structured_outputs
    assert out["sharp"].shape == [6, 6, 3]
