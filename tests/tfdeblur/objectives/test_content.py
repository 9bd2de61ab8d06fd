"""The weighted sum of content losses against NumPy."""

import numpy as np
import pytest

from tfdeblur import objectives
from tfdeblur.errors import ConfigError
from tfdeblur.objectives.objective import View


def view(blurred, sharp, *outputs):
    return View(
        blurred=blurred,
        sharp=sharp,
        outputs=outputs,
        critics={},
        data_range=1.0,
        gradient=lambda f, x: x,
        uniform=np.zeros(len(sharp), np.float32),
        batch_mean=np.mean,
    )


def test_loss_is_weighted_sum_of_unweighted_terms():
    rng = np.random.default_rng(1)
    sharp, restored = rng.uniform(size=(2, 4, 5, 6, 3)).astype("float32")
    objective = objectives.create("content", {"losses": {"mse": 2.0, "mae": 0.25}})
    loss = objective.loss("generator", view(sharp, sharp, restored))
    difference = restored.astype("float64") - sharp
    mse, mae = (difference**2).mean((1, 2, 3)), np.abs(difference).mean((1, 2, 3))
    np.testing.assert_allclose(loss.terms["mse"], mse, rtol=1e-5)
    np.testing.assert_allclose(loss.terms["mae"], mae, rtol=1e-5)
    np.testing.assert_allclose(loss.per_example, 2 * mse + 0.25 * mae, rtol=1e-5)


# From the losses of all scales, finest first, to that of the pyramid.
PYRAMIDS = {
    "sum": sum,
    "half_mean": lambda scales: sum(scales) / (2 * len(scales)),
    "finest": lambda scales: scales[0],
}


@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_loss_of_a_pyramid_combines_the_means_of_its_scales(pyramid):
    rng = np.random.default_rng(2)
    sharp, *outputs = (
        rng.uniform(size=(2, 8 // step, 12 // step, 3)).astype("float32") for step in (1, 1, 2, 4)
    )
    scales = []
    for step, output in zip((1, 2, 4), outputs, strict=True):
        parts = sharp.astype("float64").reshape(2, 8 // step, step, 12 // step, step, 3)
        difference = output - parts.mean(axis=(2, 4))
        scales.append(np.log(np.cosh(difference)).mean(axis=(1, 2, 3)))
    expected = PYRAMIDS[pyramid](scales)
    objective = objectives.create("content", {"losses": {"log_cosh": 3.0}, "pyramid": pyramid})
    loss = objective.loss("generator", view(sharp, sharp, *outputs))
    np.testing.assert_allclose(loss.terms["log_cosh"], expected, rtol=1e-5)
    np.testing.assert_allclose(loss.per_example, 3 * expected, rtol=1e-5)


@pytest.mark.parametrize("losses", [{}, {"mse": 0.0}])
def test_losses_without_weight_raise_config_error(losses):
    with pytest.raises(ConfigError, match="losses"):
        objectives.create("content", {"losses": losses})


def test_unknown_objective_raises_config_error_with_near_name():
    with pytest.raises(ConfigError, match=r"'contents'.*'content'"):
        objectives.create("contents")
