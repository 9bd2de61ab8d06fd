"""What every registered objective must do: being a file in the folder is enough to be tested."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import objectives
from tfdeblur.models import critics
from tfdeblur.objectives.objective import CRITIC, GENERATOR, View
from tfdeblur.training.engines.tensorflow.step import taped_gradient

NAMES = objectives.REGISTRY.names()


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def objective(name):
    made = objectives.create(name)
    made.prepare()
    return made


def tiny_critic(**options):
    keras.utils.set_random_seed(2)
    return critics.create("patch_gan", {"layers": 1, "width": 4, **options})


def make_view(critic=None, batch=3):
    rng = np.random.default_rng(0)
    blurred, sharp = rng.uniform(size=(2, batch, 16, 16, 3)).astype("float32")
    inputs = keras.Input((None, None, 3))
    generator = keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same")(inputs))
    view = View(
        blurred=tf.constant(blurred),
        sharp=tf.constant(sharp),
        outputs=(generator(blurred),),
        networks={CRITIC: critic or tiny_critic()},
        data_range=1.0,
        gradient=taped_gradient,
        uniform=tf.constant(rng.uniform(size=batch).astype("float32")),
        batch_mean=tf.reduce_mean,
    )
    return generator, view


def test_options_are_documented_and_say_whether_there_is_a_critic(name, objective):
    options = objectives.REGISTRY.options(name)
    assert options.__dataclass_params__.frozen
    for field in dataclasses.fields(options):
        assert any(getattr(m, "description", None) for m in field.type.__metadata__), field.name
    assert getattr(options, "needs_critic", False) == (CRITIC in objective.moves)


def test_the_generator_moves_once_and_last(objective):
    assert objective.moves.count(GENERATOR) == 1
    assert objective.moves[-1] == GENERATOR
    assert set(objective.moves) <= {GENERATOR, CRITIC}
    assert set(objective.weight_clip) <= {CRITIC}


def test_losses_are_one_finite_float32_value_an_example(objective):
    _, view = make_view()
    for player in set(objective.moves):
        loss = objective.loss(player, view)
        assert tuple(loss.terms) == objective.term_names(player)
        for value in (loss.per_example, *loss.terms.values()):
            assert value.shape == (3,)
            assert value.dtype == "float32"
            assert np.all(np.isfinite(value))


@pytest.mark.parametrize("critic", ["patch_gan", "double_scale"])
def test_each_player_learns_from_its_own_loss(objective, critic):
    keras.utils.set_random_seed(5)
    widths = {"width": 4}
    widths |= {"layers": 1} if critic == "patch_gan" else {"local_layers": 1, "global_layers": 2}
    generator, view = make_view(critics.create(critic, {**widths, "norm": "none"}))
    networks = {GENERATOR: generator, CRITIC: view.networks[CRITIC].network}
    for player in set(objective.moves):
        with tf.GradientTape() as tape:
            outputs = (generator(view.blurred),)
            loss = objective.loss(player, dataclasses.replace(view, outputs=outputs))
        variables = networks[player].trainable_variables
        gradients = tape.gradient(loss.per_example, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            # Where scores are only compared, shifting all of them changes nothing.
            if gradient is None or not np.any(gradient != 0):
                assert variable.path.endswith("scores/bias"), variable.path


def test_losses_do_not_depend_on_the_precision_of_the_critic(objective):
    # A critic that computes in 16 bits still hands over float32 losses, near the exact ones.
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        half = tiny_critic(norm="none")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    exact = tiny_critic(norm="none")
    half.network.set_weights(exact.network.get_weights())
    _, view = make_view(exact)
    for player in set(objective.moves):
        expected = objective.loss(player, view).per_example
        networks = {CRITIC: half}
        got = objective.loss(player, dataclasses.replace(view, networks=networks)).per_example
        assert got.dtype == "float32"
        np.testing.assert_allclose(got, expected, rtol=0.05, atol=0.05)
