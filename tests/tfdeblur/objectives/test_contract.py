"""Contract of every registered objective; a new file in the folder is tested automatically."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import config, objectives
from tfdeblur.config import settings
from tfdeblur.models import critics
from tfdeblur.objectives.objective import CRITIC, GENERATOR, View
from tfdeblur.training.engines.tensorflow.train_step import taped_gradient

NAMES = config.OBJECTIVES.names()


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
        critics={CRITIC: critic or tiny_critic()},
        data_range=1.0,
        gradient=taped_gradient,
        uniform=tf.constant(rng.uniform(size=batch).astype("float32")),
        batch_mean=tf.reduce_mean,
    )
    return generator, view


def test_options_are_documented_and_declare_the_critic(name, objective):
    options = config.OBJECTIVES.options(name)
    assert options.__dataclass_params__.frozen
    assert all(field.description for field in settings.fields_of(options))
    assert getattr(options, "needs_critic", False) == (CRITIC in objective.updates)


def test_generator_is_updated_once_and_last(objective):
    assert objective.updates.count(GENERATOR) == 1
    assert objective.updates[-1] == GENERATOR
    assert set(objective.updates) <= {GENERATOR, CRITIC}
    assert set(objective.weight_clip) <= {CRITIC}


def test_losses_are_finite_float32_per_example(objective):
    _, view = make_view()
    for name in set(objective.updates):
        loss = objective.loss(name, view)
        assert tuple(loss.terms) == objective.term_names(name)
        for value in (loss.per_example, *loss.terms.values()):
            assert value.shape == (3,)
            assert value.dtype == "float32"
            assert np.all(np.isfinite(value))


@pytest.mark.parametrize("critic", ["patch_gan", "double_scale"])
def test_loss_of_each_network_has_gradients_for_its_weights(objective, critic):
    keras.utils.set_random_seed(5)
    widths = {"width": 4}
    widths |= {"layers": 1} if critic == "patch_gan" else {"local_layers": 1, "global_layers": 2}
    generator, view = make_view(critics.create(critic, {**widths, "norm": "none"}))
    networks = {GENERATOR: generator, CRITIC: view.critics[CRITIC].network}
    for name in set(objective.updates):
        with tf.GradientTape() as tape:
            outputs = (generator(view.blurred),)
            loss = objective.loss(name, dataclasses.replace(view, outputs=outputs))
        variables = networks[name].trainable_variables
        gradients = tape.gradient(loss.per_example, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            # If scores are only compared, shifting all of them has no effect.
            if gradient is None or not np.any(gradient != 0):
                assert variable.path.endswith("scores/bias"), variable.path


def test_losses_with_bfloat16_critic_are_float32_and_close(objective):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        half = tiny_critic(norm="none")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    exact = tiny_critic(norm="none")
    half.network.set_weights(exact.network.get_weights())
    _, view = make_view(exact)
    for name in set(objective.updates):
        expected = objective.loss(name, view).per_example
        got = objective.loss(name, dataclasses.replace(view, critics={CRITIC: half})).per_example
        assert got.dtype == "float32"
        np.testing.assert_allclose(got, expected, rtol=0.05, atol=0.05)
