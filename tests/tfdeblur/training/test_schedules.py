"""Learning rates by images seen, compared with closed forms."""

import math

import pytest

from tests.helpers.toys import Content, toy_batch, toy_config, toy_generator, toy_state
from tfdeblur.config import ScheduleConfig
from tfdeblur.training.engines.engine import StepPlan
from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep
from tfdeblur.training.schedules import make_rate


def rate_at(images, total=1000, peak=0.1, **options):
    rate = make_rate(
        ScheduleConfig(**options), peak, total_images=total, epoch_images=100, global_batch=10
    )
    return float(rate(float(images)))


def test_constant_schedule_keeps_the_peak():
    assert rate_at(0) == rate_at(999) == pytest.approx(0.1)


def test_step_schedule_drops_every_interval():
    options = {"name": "step", "every": "2 epochs", "factor": 0.5}
    assert rate_at(199, **options) == pytest.approx(0.1)
    assert rate_at(200, **options) == pytest.approx(0.05)
    assert rate_at(650, **options) == pytest.approx(0.1 * 0.5**3)


def test_step_schedule_with_start_and_drop():
    options = {
        "name": "step",
        "start": "5 epochs",
        "drop": 0.1,
        "every": "1 epochs",
        "factor": 0.7,
    }
    assert rate_at(499, **options) == pytest.approx(0.1)
    assert rate_at(500, **options) == pytest.approx(0.01)
    assert rate_at(720, **options) == pytest.approx(0.01 * 0.7**2)


def test_step_schedule_with_milestones():
    options = {
        "name": "step",
        "every": "1 epochs",
        "milestones": ("3 epochs", "45 steps", "800 images"),
        "factor": 0.5,
    }
    assert rate_at(299, **options) == pytest.approx(0.1)
    assert rate_at(300, **options) == pytest.approx(0.05)
    assert rate_at(450, **options) == pytest.approx(0.025)
    assert rate_at(999, **options) == pytest.approx(0.0125)


def test_exponential_schedule_with_start():
    options = {"name": "exponential", "start": "3 epochs", "every": "100 images", "factor": 0.5}
    assert rate_at(300, **options) == pytest.approx(0.1)
    assert rate_at(350, **options) == pytest.approx(0.1 * math.sqrt(0.5))


def test_linear_schedule_with_start_ends_at_zero():
    options = {"name": "linear", "start": "5 epochs"}
    assert rate_at(500, **options) == pytest.approx(0.1)
    assert rate_at(750, **options) == pytest.approx(0.05)
    assert rate_at(1000, **options) == pytest.approx(0.0, abs=1e-8)
    assert rate_at(1200, **options) == pytest.approx(0.0, abs=1e-8)


def test_cosine_schedule_with_warmup():
    options = {"name": "cosine", "warmup": "20 steps", "final": 0.01}
    assert rate_at(0, **options) == pytest.approx(0.1 * 10 / 200)
    assert rate_at(190, **options) == pytest.approx(0.1)
    assert rate_at(600, **options) == pytest.approx((0.1 + 0.01) / 2)
    assert rate_at(1000, **options) == pytest.approx(0.01)


def test_cosine_schedule_with_restarts():
    options = {"name": "cosine", "start": "1 epochs", "cycle": "2 epochs", "final": 0.01}
    assert rate_at(100, **options) == rate_at(300, **options) == pytest.approx(0.1)
    assert rate_at(200, **options) == rate_at(400, **options) == pytest.approx((0.1 + 0.01) / 2)
    assert rate_at(299.99, **options) == pytest.approx(0.01, abs=1e-6)


def test_step_schedule_without_every_raises_value_error():
    with pytest.raises(ValueError, match="needs `every`"):
        ScheduleConfig(name="step")


def test_optimizer_rate_follows_images_not_iterations():
    run_config = toy_config(
        optimizer={"name": "rmsprop", "learning_rate": 0.1},
        schedule={"name": "step", "every": "64 images", "factor": 0.5},
    )
    generator = toy_generator()
    state = toy_state(run_config, generator, Content())
    step = ReplicaStep(Content(), state, StepPlan(global_batch=8))
    step(toy_batch())
    optimizer = state.networks["generator"].optimizer
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    state.images.assign(130)
    assert float(optimizer.learning_rate) == pytest.approx(0.025)
    assert state.learning_rates() == {"generator": pytest.approx(0.025)}
