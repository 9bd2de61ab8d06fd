"""Training steps of every model and objective: one device, two devices, XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny_models import TINY
from tests.helpers.toys import toy_batch, toy_config, toy_generator, two_replicas
from tfdeblur import config, models, objectives
from tfdeblur.models import critics
from tfdeblur.objectives.objective import CRITIC, GENERATOR
from tfdeblur.training.engines.engine import StepPlan
from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep
from tfdeblur.training.state import TrainingState

MODELS = config.MODELS.names()
OBJECTIVES = config.OBJECTIVES.names()


class FixedDraws(ReplicaStep):
    """A step whose draws are the same under XLA, which has its own random numbers."""

    def _uniform(self, update, micro):
        context = tf.distribute.get_replica_context()
        count = 4 // context.num_replicas_in_sync
        draws = tf.constant(np.linspace(0.1, 0.9, 4), tf.float32)
        return tf.slice(draws, [context.replica_id_in_sync_group * count], [count])


class Run:
    """A training step with everything it needs, built under a strategy."""

    def __init__(self, model, objective, strategy=None):
        self.strategy = strategy or tf.distribute.get_strategy()
        keras.utils.set_random_seed(11)
        adversarial = objective != "content"
        # Two critic updates instead of five, to save time.
        options = {"critic_updates": 2} if adversarial else {}
        self.objective = objectives.create(objective, options)
        with self.strategy.scope():
            generator = models.create(model, TINY.get(model)) if model else toy_generator()
            self.side = max(16, 2 * generator.multiple)
            built = {}
            if adversarial:
                built[CRITIC] = critics.create("patch_gan", {"layers": 1, "width": 4})
            # Adam at the usual rate would amplify rounding errors.
            run_config = toy_config(optimizer={"name": "rmsprop", "learning_rate": 1e-4})
            self.state = TrainingState(
                run_config, generator, built, total_images=640, epoch_images=64
            )
        self.step = FixedDraws(self.objective, self.state, StepPlan(4))

    def train(self, steps=2, jit_compile=False):
        replicas = self.strategy.num_replicas_in_sync
        share = 4 // replicas
        step = (
            tf.function(self.step, jit_compile=True, autograph=False) if jit_compile else self.step
        )
        self.compiled = step

        @tf.function(autograph=False)
        def run(batch):
            results = self.strategy.run(step, args=(batch,))
            return {k: self.strategy.reduce("SUM", v, axis=None) for k, v in results.items()}

        for seed in range(steps):
            batch = toy_batch(4, self.side, seed)

            def of(context, batch=batch):
                first = context.replica_id_in_sync_group * share
                return {k: tf.constant(v[first : first + share]) for k, v in batch.items()}

            metrics = run(self.strategy.experimental_distribute_values_from_function(of))
            self.state.images.assign_add(4)
        return {name: float(value) for name, value in metrics.items()}

    def weights(self):
        return [
            value
            for network in self.state.networks.values()
            for value in network.network.get_weights()
        ]


def assert_close(got, expected, but=()):
    for name, value in expected.items():
        assert np.isfinite(value), name
        if not name.endswith(but):
            assert got[name] == pytest.approx(value, rel=2e-3, abs=1e-4), name


@pytest.mark.parametrize(
    "objective",
    [
        # The penalty of WGAN-GP differentiates twice.
        name if name in ("content", "wgan_gp") else pytest.param(name, marks=pytest.mark.slow)
        for name in OBJECTIVES
    ],
)
def test_objective_gives_equal_steps_on_one_device_two_and_xla(objective):
    one = Run(None, objective)
    expected = one.train()
    two = Run(None, objective, two_replicas())
    # With two replicas the gradient norm is the mean of their norms.
    assert_close(two.train(), expected, but=("gradient_norm",))
    compiled = Run(None, objective)
    assert_close(compiled.train(jit_compile=True), expected)
    # TPUs reject shapes that depend on data.
    batch = {k: tf.constant(v) for k, v in toy_batch(4).items()}
    for operation in compiled.compiled.get_concrete_function(batch).graph.get_operations():
        for output in operation.outputs:
            if output.dtype not in (tf.resource, tf.variant):
                assert output.shape.is_fully_defined(), operation.name
    for run in (two, compiled):
        for a, b in zip(run.weights(), one.weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


def marks_of(model):
    if model.startswith("fpn_"):
        return pytest.mark.long  # their many layers take minutes on two devices
    return () if model in ("nafnet", "unet16") else pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [pytest.param(name, marks=marks_of(name)) for name in MODELS],
)
def test_model_with_content_loss_trains_on_one_device_and_two(model):
    for strategy in (None, two_replicas()):
        run = Run(model, "content", strategy)
        before = run.state.generator.network.get_weights()
        metrics = run.train(1)
        assert all(np.isfinite(value) for value in metrics.values())
        after = run.state.generator.network.get_weights()
        assert any(np.any(a != b) for a, b in zip(after, before, strict=True))
        losses = {f"{GENERATOR}/{k}" for k in ("loss", "mse", "gradient_norm")}
        assert set(metrics) == {*losses, "train/psnr_db", "train/differing"}


@pytest.mark.parametrize(
    ("model", "objective"),
    [
        # The penalty of WGAN-GP differentiates twice.
        pytest.param(
            model,
            objective,
            marks=pytest.mark.slow
            if objective == "wgan_gp" and model in ("deblurgan", "nafnet", "srresnet")
            else pytest.mark.long,
        )
        for model in MODELS
        for objective in OBJECTIVES
    ],
)
def test_model_with_objective_gives_finite_metrics(model, objective):
    expected = Run(model, objective).train(1)
    assert all(np.isfinite(value) for value in expected.values())
    two = Run(model, objective, two_replicas()).train(1)
    assert all(np.isfinite(value) for value in two.values())
    compiled = Run(model, objective).train(1, jit_compile=True)
    assert all(np.isfinite(value) for value in compiled.values())
