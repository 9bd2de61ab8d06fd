"""Steps with non-finite values are reverted, under every strategy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toys import (
    TwoNetworks,
    toy_batch,
    toy_config,
    toy_generator,
    toy_state,
    two_replicas,
)
from tfdeblur.objectives.objective import Loss
from tfdeblur.training.engines.engine import SKIPPED, StepPlan
from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep


class Spoiled(TwoNetworks):
    """NaN for a white image, in the loss of one network only."""

    def __init__(self, network):
        self._spoiled = network

    def loss(self, network, view):
        loss = super().loss(network, view)
        if network != self._spoiled:
            return loss
        darkness = 1.0 - tf.reduce_mean(view.sharp, axis=[1, 2, 3])
        nothing = tf.where(darkness < 1e-6, float("nan"), 0.0)
        return Loss(loss.per_example + nothing, loss.terms)


class Run:
    def __init__(self, strategy=None, jit_compile=False, objective=None, skip=True):
        self.strategy = strategy or tf.distribute.get_strategy()
        objective = objective or Spoiled("critic")
        keras.utils.set_random_seed(4)
        with self.strategy.scope():
            generator = toy_generator(batch_norm=True, dropout=0.3)
            self.state = toy_state(
                toy_config(training={"ema_decay": 0.9}), generator, objective, None
            )
        step = ReplicaStep(objective, self.state, StepPlan(global_batch=8, skip_nonfinite=skip))
        self.step = tf.function(step, jit_compile=True, autograph=False) if jit_compile else step
        self.names = StepPlan(8, skip_nonfinite=skip).metric_names(objective)

        @tf.function(autograph=False)
        def run(batch):
            results = self.strategy.run(self.step, args=(batch,))
            return {k: self.strategy.reduce("SUM", v, axis=None) for k, v in results.items()}

        self._run = run

    def train(self, batch):
        share = 8 // self.strategy.num_replicas_in_sync

        def of(context):
            first = context.replica_id_in_sync_group * share
            return {k: tf.constant(v[first : first + share]) for k, v in batch.items()}

        metrics = self._run(self.strategy.experimental_distribute_values_from_function(of))
        self.state.images.assign_add(8)
        return {name: float(value) for name, value in metrics.items()}

    def everything(self):
        values = [value.numpy() for value in self.state.average]
        for network in self.state.networks.values():
            values += network.network.get_weights()
            values += [variable.numpy() for variable in network.optimizer.variables]
        return values

    def of_each_device(self):
        """Each device's copy of the generator's first kernel."""
        kernel = self.state.generator.network.weights[0].value
        return [value.numpy() for value in self.strategy.experimental_local_results(kernel)]


def white(index):
    batch = toy_batch(seed=5)
    batch["sharp"][index] = 255
    return batch


@pytest.mark.parametrize(
    ("how", "network"),
    [
        ("one device", "critic"),
        ("two devices", "generator"),
        pytest.param("one device", "generator", marks=pytest.mark.slow),
        pytest.param("two devices", "critic", marks=pytest.mark.slow),
        pytest.param("XLA", "critic", marks=pytest.mark.slow),
        pytest.param("XLA", "generator", marks=pytest.mark.slow),
    ],
)
def test_nonfinite_step_changes_nothing_and_the_next_one_trains(how, network):
    strategy = two_replicas() if how == "two devices" else None
    run = Run(strategy, jit_compile=how == "XLA", objective=Spoiled(network))
    assert run.train(toy_batch(seed=1))[SKIPPED] == 0
    before = run.everything()
    # One image of one replica: the other replica must revert its step as well.
    metrics = run.train(white(6))
    assert metrics[SKIPPED] == 1
    assert np.isnan(metrics[f"{network}/loss"])
    for got, expected in zip(run.everything(), before, strict=True):
        np.testing.assert_array_equal(got, expected)
    metrics = run.train(toy_batch(seed=2))
    assert metrics[SKIPPED] == 0
    assert all(np.isfinite(value) for value in metrics.values())
    assert any(np.any(a != b) for a, b in zip(run.everything(), before, strict=True))
    for copy in run.of_each_device()[1:]:
        np.testing.assert_array_equal(copy, run.of_each_device()[0])


@pytest.mark.parametrize("how", ["one device", pytest.param("two devices", marks=pytest.mark.slow)])
def test_finite_steps_are_bit_identical_with_and_without_reverter(how):
    tf.config.experimental.enable_op_determinism()
    runs = [Run(two_replicas() if how == "two devices" else None, skip=s) for s in (True, False)]
    assert SKIPPED not in runs[1].names
    for seed in range(3):
        for run in runs:
            run.train(toy_batch(seed=seed))
    for got, expected in zip(*(run.everything() for run in runs), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_nonfinite_weights_after_an_update_are_reverted():
    run = Run(objective=TwoNetworks())
    run.train(toy_batch(seed=1))
    before = run.everything()
    run.state.rate_scale.assign(np.inf)
    assert run.train(toy_batch(seed=2))[SKIPPED] == 1
    for got, expected in zip(run.everything(), before, strict=True):
        np.testing.assert_array_equal(got, expected)
