"""Checks of a critic."""

import numpy as np
import tensorflow as tf

from tfdeblur.config import CRITICS
from tfdeblur.models import critics
from tfdeblur.models.critics.critic import Critic
from tfdeblur.ops.precision import precision_scope
from tfdeblur.testing import options


def _images(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((2, 32, 32, 3), dtype=np.float32)


def options_are_frozen_and_documented(critic: Critic) -> None:
    """The options are a frozen dataclass with documented fields."""
    options.are_frozen_and_documented(CRITICS.options(critic.name))


def scores_are_finite_float32_maps(critic: Critic) -> None:
    """Scores are finite, and depend on the blurred input if and only if it is conditional."""
    images = np.random.default_rng(0).random((2, 32, 48, 3), dtype=np.float32)
    blurred, others = np.random.default_rng(1).random((2, 2, 32, 48, 3), dtype=np.float32)
    before = critic.network.get_weights()
    maps = critic.scores(images, blurred)
    assert len(maps) == len(critic.network.outputs)
    for scores in maps:
        assert scores.shape[0] == 2 and scores.shape[3] == 1, f"scores have shape {scores.shape}"
        assert scores.dtype == tf.float32, f"scores are {scores.dtype}, not float32"
        assert np.isfinite(scores).all(), "scores are not finite"
    critic.network.set_weights(before)  # a pass in training may move statistics
    other = critic.scores(images, others)
    seen = any(np.any(a != b) for a, b in zip(maps, other, strict=True))
    assert seen == critic.conditional, f"conditional is {critic.conditional}"


def scores_of_both_equal_separate_scores(critic: Critic) -> None:
    """Scoring two batches in one pass changes nothing."""
    first, second, blurred = (_images(seed) for seed in range(3))
    # If each pass improves an estimate, as with spectral normalization, let it settle.
    settle = tf.function(critic.scores, autograph=False)
    before = critic.network.get_weights()
    settle(first, blurred)
    moves = any(np.any(a != b) for a, b in zip(before, critic.network.get_weights(), strict=True))
    for _ in range(200 if moves else 0):
        settle(first, blurred)
    together = critic.scores_of_both(first, second, blurred)
    apart = critic.scores(first, blurred), critic.scores(second, blurred)
    for a, b in zip(tf.nest.flatten(together), tf.nest.flatten(apart), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 if moves else 1e-5)


def scores_depend_on_other_images_if_declared(critic: Critic) -> None:
    """`mixes_examples` says whether scores depend on the other images of the batch."""
    images = _images()
    changed = images.copy()
    changed[1] = 0.5
    before = critic.network.get_weights()
    a = critic.scores(images, images)
    critic.network.set_weights(before)
    b = critic.scores(changed, changed)
    mixed = any(np.any(np.abs(x[0] - y[0]) > 1e-6) for x, y in zip(a, b, strict=True))
    assert mixed == critic.mixes_examples, f"mixes_examples is {critic.mixes_examples}"


def scores_in_bfloat16_are_close_and_float32(critic: Critic) -> None:
    """Under mixed precision scores stay float32."""
    with precision_scope("mixed_bfloat16"):
        half = critics.create(critic.name, dict(critic.options))
    half.network.set_weights(critic.network.get_weights())
    images = _images()
    for a, b in zip(half.scores(images, images), critic.scores(images, images), strict=True):
        assert a.dtype == tf.float32, f"scores are {a.dtype}: set the dtype of the last layer"
        error = np.abs(a - b)
        assert 0 < error.max() < 0.1 * np.abs(b).max() + 0.05


CRITIC_CHECKS = (
    options_are_frozen_and_documented,
    scores_are_finite_float32_maps,
    scores_of_both_equal_separate_scores,
    scores_depend_on_other_images_if_declared,
    scores_in_bfloat16_are_close_and_float32,
)
"""Checks of a critic; each takes one, from `testing.build("critic", ...)`."""
