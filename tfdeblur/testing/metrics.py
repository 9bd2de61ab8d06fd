"""Checks of a metric."""

import numpy as np
import tensorflow as tf

from tfdeblur.metrics import Metric

_BATCH = 3


def _pair(metric: Metric) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns smooth images and noisy copies of them, float32 [3, S, S, 3] in [0, 1]."""
    rng = np.random.default_rng(4)
    size = max(metric.min_size, 48)
    sharp = tf.image.resize(rng.random((_BATCH, 8, 8, 3), dtype=np.float32), (size, size))
    noise = rng.normal(0, 0.05, sharp.shape).astype(np.float32)
    return sharp, tf.clip_by_value(sharp + noise, 0, 1)


def title_and_protocol_are_given(metric: Metric) -> None:
    """A metric has a title, and says in full sentences how it is measured."""
    assert metric.title, "the metric has no title"
    described = len(metric.protocol) > 40 and metric.protocol.endswith(".")
    assert described, "protocol: say in full sentences how the metric is measured"


def values_are_one_float32_per_image(metric: Metric) -> None:
    """Values are float32 [B], whatever the dtype of the images."""
    for dtype in (tf.float32, tf.bfloat16):
        value = _compute(metric, *(tf.cast(images, dtype) for images in _pair(metric)))
        assert value.shape == (_BATCH,), f"values have shape {value.shape}, not ({_BATCH},)"
        assert value.dtype == tf.float32, f"values of {dtype.name} images are {value.dtype}"


def target_is_preferred_to_another_image(metric: Metric) -> None:
    """The target itself has the best value; `higher_is_better` is right."""
    sharp, restored = _pair(metric)
    better = _compute(metric, sharp, sharp) - _compute(metric, sharp, restored)
    assert (metric.sign * np.asarray(better) > 0).all(), "a noisy image is better than the target"


def graph_with_unknown_sizes_equals_eager(metric: Metric) -> None:
    """One graph for all sizes computes what eager calls do."""
    pair = _pair(metric)
    graph = tf.function(
        lambda sharp, restored: _compute(metric, sharp, restored),
        input_signature=[tf.TensorSpec((None, None, None, 3))] * 2,
        autograph=False,
    )
    np.testing.assert_allclose(graph(*pair), _compute(metric, *pair), rtol=1e-5, atol=1e-6)


def _compute(metric: Metric, sharp: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    assert metric.compute is not None, "the metric has no compute"
    return metric.compute(sharp, restored)


METRIC_CHECKS = (
    title_and_protocol_are_given,
    values_are_one_float32_per_image,
    target_is_preferred_to_another_image,
    graph_with_unknown_sizes_equals_eager,
)
"""Checks of a metric; each takes one, from `testing.build("metric", ...)`."""
