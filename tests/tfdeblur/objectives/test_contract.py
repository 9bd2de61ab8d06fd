"""What every registered objective must do: being a file in the folder is enough to be tested."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import objectives
from tfdeblur.objectives._objective import GENERATOR, View
from tfdeblur.training.step import taped_gradient


@pytest.fixture(params=objectives.REGISTRY.names())
def objective(request):
    return objectives.create(request.param)


def make_view(objective, batch=3):
    rng = np.random.default_rng(0)
    blurred, sharp = rng.uniform(size=(2, batch, 16, 16, 3)).astype("float32")
    inputs = keras.Input((None, None, 3))
    generator = keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same")(inputs))
    networks = {GENERATOR: generator}
    networks |= {name: build() for name, build in objective.players().items()}
    return View(
        blurred=tf.constant(blurred),
        sharp=tf.constant(sharp),
        outputs=(generator(blurred),),
        networks=networks,
        data_range=1.0,
        gradient=taped_gradient,
    )


def test_the_generator_moves_once_and_last(objective):
    assert objective.moves.count(GENERATOR) == 1
    assert objective.moves[-1] == GENERATOR
    assert set(objective.moves) == {GENERATOR, *objective.players()}


def test_losses_are_one_finite_float32_value_an_example(objective):
    view = make_view(objective)
    for player in set(objective.moves):
        loss = objective.loss(player, view)
        assert tuple(loss.terms) == objective.term_names(player)
        for value in (loss.per_example, *loss.terms.values()):
            assert value.shape == (3,)
            assert value.dtype == "float32"
            assert np.all(np.isfinite(value))


def test_each_player_learns_from_its_own_loss(objective):
    view = make_view(objective)
    for player in set(objective.moves):
        variables = view.networks[player].trainable_variables
        with tf.GradientTape() as tape:
            outputs = (view.networks[GENERATOR](view.blurred),)
            loss = objective.loss(player, View(**{**vars(view), "outputs": outputs}))
        gradients = tape.gradient(loss.per_example, variables)
        assert all(g is not None and np.any(g != 0) for g in gradients)
