"""One replica's update against a plain loop, over micro-batches, replicas and XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tfdeblur.training.toys import (
    Content,
    TwoPlayers,
    toy_batch,
    toy_config,
    toy_generator,
    toy_state,
    two_replicas,
    weights,
)
from tfdeblur.objectives._objective import GENERATOR
from tfdeblur.training.step import ReplicaStep, taped_gradient


def build(objective, run_config=None, micro_batches=1, **toy):
    generator = toy_generator(**toy)
    state = toy_state(run_config or toy_config(), generator, objective)
    step = ReplicaStep(generator, objective, state, global_batch=8, micro_batches=micro_batches)
    return state, step


def assert_same_weights(left, right, atol=1e-6):
    for name in left:
        for a, b in zip(left[name], right[name], strict=True):
            np.testing.assert_allclose(a, b, atol=atol)


def test_content_step_equals_plain_keras():
    state, step = build(Content())
    metrics = step(toy_batch())

    reference = toy_generator().network
    optimizer = keras.optimizers.Adam(0.01)
    batch = {name: value.astype("float32") / 255 for name, value in toy_batch().items()}
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            tf.square(reference(batch["blurred"], training=True) - batch["sharp"])
        )
    gradients = tape.gradient(loss, reference.trainable_variables)
    optimizer.apply(gradients, reference.trainable_variables)

    np.testing.assert_allclose(metrics["generator/loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["generator/gradient_norm"], tf.linalg.global_norm(gradients), rtol=1e-5
    )
    assert_same_weights(weights(state), {GENERATOR: reference.get_weights()})


def test_signed_generators_are_fed_minus_one_to_one():
    class Extremes(Content):
        def loss(self, player, view):
            self.seen = (tf.reduce_min(view.sharp), tf.reduce_max(view.sharp), view.data_range)
            return super().loss(player, view)

    objective = Extremes()
    _, step = build(objective, value_range="signed")
    batch = toy_batch()
    batch["sharp"][0, 0, 0] = (0, 255, 7)
    step(batch)
    assert [float(value) for value in objective.seen] == [-1.0, 1.0, 2.0]


def test_both_players_move_and_the_critic_moves_twice():
    state, step = build(TwoPlayers())
    before = weights(state)
    metrics = step(toy_batch())
    assert set(metrics) == set(step.metric_names)
    assert int(state.players["critic"].optimizer.iterations) == 2
    assert int(state.players[GENERATOR].optimizer.iterations) == 1
    for name, old in before.items():
        assert any(np.any(a != b) for a, b in zip(old, weights(state)[name], strict=True))


def test_the_critics_loss_leaves_the_generator_alone():
    class CriticOnly(TwoPlayers):
        moves = ("critic",)

    state, step = build(CriticOnly())
    before = weights(state)[GENERATOR]
    step(toy_batch())
    assert_same_weights({GENERATOR: before}, {GENERATOR: weights(state)[GENERATOR]}, atol=0)


@pytest.mark.parametrize("objective", [Content, TwoPlayers])
def test_micro_batches_add_up_to_the_whole_batch(objective):
    whole, whole_step = build(objective())
    parts, parts_step = build(objective(), micro_batches=4)
    for seed in range(3):
        expected, got = whole_step(toy_batch(seed=seed)), parts_step(toy_batch(seed=seed))
        for name in expected:
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-6)
    assert_same_weights(weights(whole), weights(parts), atol=2e-5)


@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("objective", [Content, TwoPlayers])
def test_two_replicas_make_the_step_of_one(objective, clip_norm):
    run_config = toy_config(optimizer={"learning_rate": 0.01, "clip_norm": clip_norm})
    one, one_step = build(objective(), run_config)
    strategy = two_replicas()
    with strategy.scope():
        two, two_step = build(objective(), run_config)

    @tf.function
    def distributed(batch):
        results = strategy.run(two_step, args=(batch,))
        return {k: strategy.reduce("SUM", v, axis=None) for k, v in results.items()}

    for seed in range(3):
        batch = toy_batch(seed=seed)

        def half(context, batch=batch):
            first = context.replica_id_in_sync_group * 4
            return {k: tf.constant(v[first : first + 4]) for k, v in batch.items()}

        got = distributed(strategy.experimental_distribute_values_from_function(half))
        expected = one_step(batch)
        for name in expected:
            if clip_norm is None and name.endswith("gradient_norm"):
                continue  # the mean of the replicas' own norms, by definition another number
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-6)
    assert_same_weights(weights(one), weights(two), atol=2e-5)


def test_clipping_limits_the_gradient_and_reports_its_norm_before():
    run_config = toy_config(optimizer={"name": "rmsprop", "learning_rate": 1.0, "clip_norm": 1e-3})
    state, step = build(Content(), run_config)
    applied = []
    optimizer = state.players[GENERATOR].optimizer
    original = optimizer.apply
    optimizer.apply = lambda gradients, variables: (
        applied.append(float(tf.linalg.global_norm(gradients))),
        original(gradients, variables),
    )
    metrics = step(toy_batch())
    assert applied == [pytest.approx(1e-3, rel=1e-4)]
    assert float(metrics["generator/gradient_norm"]) > 1e-2


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("objective", [Content, TwoPlayers])
def test_the_step_compiles_with_xla_with_static_shapes(objective, policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        run_config = toy_config(training={"ema_decay": 0.9, "global_batch": 8})
        _, step = build(objective(), run_config, batch_norm=True)
        _, eager_step = build(objective(), run_config, batch_norm=True)
        batch = {name: tf.constant(value) for name, value in toy_batch().items()}
        compiled = tf.function(step, jit_compile=True)
        got, expected = compiled(batch), eager_step(batch)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    tolerance = {"float32": 1e-4, "mixed_bfloat16": 5e-2}[policy]
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=tolerance, atol=1e-4)
    # A TPU refuses shapes that depend on data; XLA on CPU accepts some of them.
    for operation in compiled.get_concrete_function(batch).graph.get_operations():
        for output in operation.outputs:
            if output.dtype not in (tf.resource, tf.variant):
                assert output.shape.is_fully_defined(), operation.name


def test_gradient_operator_is_differentiable():
    x = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        slope = taped_gradient(lambda y: y**3, x)
    np.testing.assert_allclose(slope, [3.0, 12.0])
    np.testing.assert_allclose(tape.gradient(slope, x), [6.0, 12.0])
