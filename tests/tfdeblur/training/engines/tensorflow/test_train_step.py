"""The training step, compared with plain Keras and across micro-batches, replicas and XLA."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toys import (
    Content,
    TwoNetworks,
    toy_batch,
    toy_config,
    toy_generator,
    toy_state,
    two_replicas,
    weights,
)
from tfdeblur import objectives
from tfdeblur.metrics.psnr import psnr_db
from tfdeblur.models import critics
from tfdeblur.models.generator import Backbone
from tfdeblur.objectives.objective import GENERATOR, Loss
from tfdeblur.training.engines.engine import TRAIN_PSNR, StepPlan, training_psnr
from tfdeblur.training.engines.tensorflow import train_step as step_module
from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep, taped_gradient


def build(objective, run_config=None, micro_batches=1, **toy):
    generator = toy_generator(**toy)
    state = toy_state(run_config or toy_config(), generator, objective)
    step = ReplicaStep(objective, state, StepPlan(global_batch=8, micro_batches=micro_batches))
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


def test_signed_generator_receives_images_from_minus_one_to_one():
    class Extremes(Content):
        def loss(self, network, view):
            self.seen = (tf.reduce_min(view.sharp), tf.reduce_max(view.sharp), view.data_range)
            return super().loss(network, view)

    objective = Extremes()
    _, step = build(objective, value_range="signed")
    batch = toy_batch()
    batch["sharp"][0, 0, 0] = (0, 255, 7)
    step(batch)
    assert [float(value) for value in objective.seen] == [-1.0, 1.0, 2.0]


def test_step_updates_the_critic_twice_and_the_generator_once():
    state, step = build(TwoNetworks())
    before = weights(state)
    metrics = step(toy_batch())
    assert set(metrics) == set(StepPlan(8).metric_names(TwoNetworks()))
    assert int(state.networks["critic"].optimizer.iterations) == 2
    assert int(state.networks[GENERATOR].optimizer.iterations) == 1
    for name, old in before.items():
        assert any(np.any(a != b) for a, b in zip(old, weights(state)[name], strict=True))


def test_critic_loss_does_not_change_the_generator():
    class CriticOnly(TwoNetworks):
        def loss(self, network, view):
            loss = super().loss(network, view)
            # With a zero gradient of its own, only critic updates could change the generator.
            factor = 1.0 if network == "critic" else 0.0
            return Loss(loss.per_example * factor, loss.terms)

    state, step = build(CriticOnly())
    before = weights(state)[GENERATOR]
    step(toy_batch())
    assert_same_weights({GENERATOR: before}, {GENERATOR: weights(state)[GENERATOR]}, atol=0)


@pytest.mark.parametrize("objective", [Content, TwoNetworks])
def test_micro_batches_give_the_step_of_the_full_batch(objective):
    whole, whole_step = build(objective())
    parts, parts_step = build(objective(), micro_batches=4)
    for seed in range(3):
        expected, got = whole_step(toy_batch(seed=seed)), parts_step(toy_batch(seed=seed))
        for name in expected:
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-6)
    assert_same_weights(weights(whole), weights(parts), atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("objective", [Content, TwoNetworks])
def test_two_replicas_give_the_step_of_one(objective, clip_norm):
    run_config = toy_config(optimizer={"learning_rate": 0.01, "clip_norm": clip_norm})
    one, one_step = build(objective(), run_config)
    strategy = two_replicas()
    with strategy.scope():
        two, two_step = build(objective(), run_config)

    @tf.function(autograph=False)
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
                continue  # by definition the mean of the replicas' norms, which is different
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-6)
    assert_same_weights(weights(one), weights(two), atol=2e-5)


@pytest.mark.parametrize("replicas", [1, 2])
def test_backbone_is_frozen_until_its_images_are_seen(replicas):
    strategy = two_replicas() if replicas == 2 else tf.distribute.get_strategy()
    with strategy.scope():
        generator = toy_generator()
        backbone = tuple(generator.network.trainable_variables[:2])
        generator = dataclasses.replace(
            generator, backbone=Backbone(load=lambda: None, variables=backbone, frozen="2 steps")
        )
        # Weight decay does not depend on the gradient.
        run_config = toy_config(optimizer={"name": "adamw", "weight_decay": 0.1})
        state = toy_state(run_config, generator, Content())
    run = tf.function(ReplicaStep(Content(), state, StepPlan(global_batch=8)), autograph=False)

    def train():
        strategy.run(run, args=(toy_batch(8 // replicas),))
        state.images.assign_add(8)  # as the engine does
        return [np.array(value) for value in generator.network.get_weights()]

    first = [np.array(value) for value in generator.network.get_weights()]
    for _ in range(2):
        after = train()
        for value, other in zip(first[:2], after[:2], strict=True):
            np.testing.assert_array_equal(value, other)
        assert all(np.any(a != b) for a, b in zip(first[2:], after[2:], strict=True))
    for before, now in zip(first[:2], train()[:2], strict=True):
        # The moments are known: an update has at most the size of the learning rate.
        assert 0 < np.abs(now - before).max() < 0.011


def test_clip_norm_limits_the_gradient_and_reports_the_unclipped_norm():
    run_config = toy_config(optimizer={"name": "rmsprop", "learning_rate": 1.0, "clip_norm": 1e-3})
    state, step = build(Content(), run_config)
    applied = []
    optimizer = state.networks[GENERATOR].optimizer
    original = optimizer.apply
    optimizer.apply = lambda gradients, variables: (
        applied.append(float(tf.linalg.global_norm(gradients))),
        original(gradients, variables),
    )
    metrics = step(toy_batch())
    assert applied == [pytest.approx(1e-3, rel=1e-4)]
    assert float(metrics["generator/gradient_norm"]) > 1e-2


@pytest.mark.parametrize(("settings", "micro_batches"), [({}, 1), ({"clip_norm": 1.0}, 1), ({}, 2)])
def test_weights_that_the_loss_does_not_reach_get_zeros(settings, micro_batches):
    run_config = toy_config(optimizer={"learning_rate": 1.0, **settings})
    toy = toy_generator()
    unused = keras.layers.Conv2D(3, 1, bias_initializer="ones")
    outputs = [toy.network.output, unused(toy.network.input)]
    generator = dataclasses.replace(toy, network=keras.Model(toy.network.input, outputs))
    state = toy_state(run_config, generator, Content())
    plan = StepPlan(global_batch=8, micro_batches=micro_batches)
    before = unused.get_weights()
    used = toy.network.get_weights()
    ReplicaStep(Content(), state, plan)(toy_batch())
    for old, new in zip(before, unused.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert not np.array_equal(toy.network.get_weights()[0], used[0])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("objective", [Content, TwoNetworks])
def test_step_compiles_with_xla_and_static_shapes(objective, policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        run_config = toy_config(training={"ema_decay": 0.9, "global_batch": 8})
        _, step = build(objective(), run_config, batch_norm=True)
        _, eager_step = build(objective(), run_config, batch_norm=True)
        batch = {name: tf.constant(value) for name, value in toy_batch().items()}
        compiled = tf.function(step, jit_compile=True, autograph=False)
        got, expected = compiled(batch), eager_step(batch)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    tolerance = {"float32": 1e-4, "mixed_bfloat16": 5e-2}[policy]
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=tolerance, atol=1e-4)
    # TPUs reject shapes that depend on data; XLA on CPUs accepts some of them.
    for operation in compiled.get_concrete_function(batch).graph.get_operations():
        for output in operation.outputs:
            if output.dtype not in (tf.resource, tf.variant):
                assert output.shape.is_fully_defined(), operation.name


class Adversarial:
    """A run with a small real critic."""

    def __init__(self, name="wgan_gp", options=None, micro_batches=1, toy=None, **step_options):
        # A smooth loss: with one that depends on signs, rounding errors grow.
        chosen = {"losses": {"mse": 1.0}, "critic_updates": 2, **(options or {})}
        self.objective = objectives.create(name, chosen)
        generator = toy_generator(**(toy or {}))
        critic = critics.create("patch_gan", {"layers": 1, "width": 4, "norm": "layer"})
        self.state = toy_state(toy_config(), generator, self.objective, {"critic": critic})
        self.plan = StepPlan(8, micro_batches, **step_options)
        self.step = ReplicaStep(self.objective, self.state, self.plan)

    def train(self, steps=2):
        run = tf.function(self.step, autograph=False)
        for seed in range(steps):
            count = self.plan.batches(self.objective)
            batches = [
                {k: tf.constant(v) for k, v in toy_batch(seed=seed * count + i).items()}
                for i in range(count)
            ]
            metrics = run(*batches)
            self.state.images.assign_add(8 * count)
        return {name: float(value) for name, value in metrics.items()}


@pytest.mark.slow
def test_shared_pass_equals_separate_passes():
    literal, shared = Adversarial(share_generator_pass=False), Adversarial()
    expected, got = literal.train(), shared.train()
    for name in expected:
        assert got[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name
    assert_same_weights(weights(literal.state), weights(shared.state), atol=2e-5)


@pytest.mark.slow
def test_shared_and_separate_passes_differ_in_moving_averages_only():
    literal = Adversarial(share_generator_pass=False, toy={"batch_norm": True})
    shared = Adversarial(toy={"batch_norm": True})
    literal.train(1)
    shared.train(1)
    pairs = zip(
        literal.state.generator.network.variables,
        shared.state.generator.network.variables,
        strict=True,
    )
    for a, b in pairs:
        if a.name.startswith("moving"):
            # Three passes update them three times: by 1 - 0.99^3 instead of 1 - 0.99.
            assert np.abs(a.numpy() - b.numpy()).max() > 1e-4
        else:
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-5)


@pytest.mark.slow
def test_micro_batches_run_one_pass_for_critics_and_one_for_the_generator():
    whole, parts = Adversarial(), Adversarial(micro_batches=2)
    calls = []
    network = parts.state.generator.network
    original = network.call
    network.call = lambda *args, **kwargs: (calls.append(1), original(*args, **kwargs))[1]
    expected, got = whole.train(), parts.train()
    assert len(calls) == 4  # two micro-batches, for the critic updates and again under the tape
    for name in expected:
        assert got[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5), name
    assert_same_weights(weights(whole.state), weights(parts.state), atol=5e-5)


def test_fresh_batches_give_each_update_its_own():
    class Seen(TwoNetworks):
        def __init__(self):
            self.means = []

        def loss(self, network, view):
            self.means.append((network, float(tf.reduce_mean(view.sharp))))
            return super().loss(network, view)

    objective, generator = Seen(), toy_generator()
    state = toy_state(toy_config(), generator, objective)
    step = ReplicaStep(objective, state, StepPlan(global_batch=8, fresh_critic_batches=True))
    assert StepPlan(8, fresh_critic_batches=True).batches(objective) == 3
    batches = [toy_batch(seed=seed) for seed in range(3)]
    step(*batches)
    expected = [batch["sharp"].mean() / 255 for batch in batches]
    assert [network for network, _ in objective.means] == ["critic", "critic", GENERATOR]
    np.testing.assert_allclose([mean for _, mean in objective.means], expected, rtol=1e-5)


ROWS = [
    {},
    {"share_generator_pass": False},
    {"fresh_critic_batches": True},
    {"micro_batches": 2},
    {"fresh_critic_batches": True, "micro_batches": 2},
    {"options": {"critic_updates": 3}, "skip_nonfinite": True},
]


@pytest.mark.parametrize(
    "options",
    [pytest.param(row, marks=pytest.mark.slow) if row and row != ROWS[2] else row for row in ROWS],
    ids=lambda options: "-".join(options) or "shared",
)
def test_loop_of_updates_equals_copies(options, monkeypatch):
    looped = Adversarial(**options)
    got = looped.train()
    monkeypatch.setattr(step_module, "_can_loop", lambda: False)
    copies = Adversarial(**options)
    expected = copies.train()
    assert got.keys() == expected.keys()
    for name in expected:
        assert got[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name
    assert_same_weights(weights(copies.state), weights(looped.state), atol=2e-5)


def operations(run, wanted):
    """Counts ops of some kinds in a step and in all functions that it calls."""
    batch = {k: tf.constant(v) for k, v in toy_batch().items()}
    batches = [batch] * run.plan.batches(run.objective)
    graph = (
        tf.function(run.step, autograph=False).get_concrete_function(*batches).graph.as_graph_def()
    )
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return sum(node.op in wanted for node in nodes)


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True])
def test_program_size_is_independent_of_critic_updates(fresh):
    convolutions = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
    runs = [
        Adversarial(options={"critic_updates": count}, fresh_critic_batches=fresh)
        for count in (2, 6)
    ]
    few, many = (operations(run, convolutions) for run in runs)
    assert few == many > 0
    assert operations(runs[0], ("While", "StatelessWhile")) == 1


def test_weight_clip_bounds_the_critic_only():
    run = Adversarial("wgan", {"weight_clip": 0.005})
    run.train()
    critic = run.state.networks["critic"].network
    assert max(np.abs(v).max() for v in critic.trainable_variables) == pytest.approx(0.005)
    generator = run.state.generator.network
    assert max(np.abs(v).max() for v in generator.trainable_variables) > 0.1


def test_draws_depend_on_seed_images_update_and_position():
    class Draws(TwoNetworks):
        def __init__(self):
            self.seen = []

        def loss(self, network, view):
            self.seen.append(view.uniform.numpy())
            return super().loss(network, view)

    def draws(seed=0, images=0, **options):
        objective, generator = Draws(), toy_generator()
        state = toy_state(toy_config(), generator, objective)
        state.images.assign(images)
        step = ReplicaStep(objective, state, StepPlan(global_batch=8, seed=seed, **options))
        step(toy_batch())
        return objective.seen

    first = draws()
    assert len({value for move in first for value in move.tolist()}) == 3 * 8
    np.testing.assert_array_equal(first, draws())
    assert not np.array_equal(first, draws(seed=1))
    assert not np.array_equal(first, draws(images=8))
    halves = np.reshape(draws(micro_batches=2), (3, 8))
    np.testing.assert_array_equal(first, halves)


def test_taped_gradient_is_differentiable():
    x = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        slope = taped_gradient(lambda y: y**3, x)
    np.testing.assert_allclose(slope, [3.0, 12.0])
    np.testing.assert_allclose(tape.gradient(slope, x), [6.0, 12.0])


@pytest.mark.parametrize("value_range", ["unit", "signed"])
def test_training_psnr_is_of_the_images_whose_input_differs(value_range):
    batch = toy_batch()
    batch["blurred"][:3] = batch["sharp"][:3]
    _, step = build(TwoNetworks(), micro_batches=2, value_range=value_range)
    means = {name: float(value) for name, value in step(batch).items()}
    unit = toy_generator(value_range=value_range).as_unit_model()
    restored = np.clip(unit(batch["blurred"] / np.float32(255)), 0, 1)
    expected = psnr_db(batch["sharp"] / np.float32(255), restored)
    found = training_psnr(means)
    assert found[TRAIN_PSNR] == pytest.approx(float(np.mean(expected[3:])), abs=1e-4)
    assert found.keys() == means.keys() - {"train/differing"}
    same = step({"blurred": batch["sharp"], "sharp": batch["sharp"]})
    assert TRAIN_PSNR not in training_psnr({name: float(v) for name, v in same.items()})
