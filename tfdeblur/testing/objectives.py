"""Checks of an objective."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdeblur.models import critics
from tfdeblur.models.critics.critic import Critic
from tfdeblur.objectives.objective import CRITIC, GENERATOR, Objective, View
from tfdeblur.ops.precision import precision_scope
from tfdeblur.training.engines.tensorflow.train_step import taped_gradient

_BATCH = 3


def tiny_critic(name: str = "patch_gan", **options: Any) -> Critic:
    """Returns a small critic, the same each time."""
    keras.utils.set_random_seed(2)
    small = {"layers": 1, "width": 4} if name == "patch_gan" else {}
    return critics.create(name, {**small, **options})


def make_view(critic: Critic | None = None, batch: int = _BATCH) -> tuple[keras.Model, View]:
    """Returns a small generator, and what an objective sees of its batch of images."""
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


def generator_is_updated_once_and_last(objective: Objective) -> None:
    """A step updates the generator once, after all updates of the critic."""
    assert objective.updates.count(GENERATOR) == 1, f"updates are {objective.updates}"
    assert objective.updates[-1] == GENERATOR, f"updates are {objective.updates}"
    assert set(objective.updates) <= {GENERATOR, CRITIC}, f"updates are {objective.updates}"
    assert set(objective.weight_clip) <= {CRITIC}


def losses_are_finite_float32_per_example(objective: Objective) -> None:
    """Losses and terms are one finite float32 per example, and the terms have their names."""
    _, view = make_view()
    for network in set(objective.updates):
        loss = objective.loss(network, view)
        assert tuple(loss.terms) == objective.term_names(network), f"terms of the {network} differ"
        for name, value in {"loss": loss.per_example, **loss.terms}.items():
            assert value.shape == (_BATCH,), f"{name} of the {network} has shape {value.shape}"
            assert value.dtype == "float32", f"{name} of the {network} is {value.dtype}"
            assert np.all(np.isfinite(value)), f"{name} of the {network} is not finite"


def losses_have_gradients_for_their_network(
    objective: Objective, critic: Critic | None = None
) -> None:
    """The loss of each network has a gradient for all its weights."""
    keras.utils.set_random_seed(5)
    generator, view = make_view(critic or tiny_critic(norm="none"))
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
                assert variable.path.endswith("scores/bias"), f"{variable.path} has no gradient"


def losses_with_bfloat16_critic_are_float32_and_close(objective: Objective) -> None:
    """Losses stay float32 with a critic in mixed precision."""
    with precision_scope("mixed_bfloat16"):
        half = tiny_critic(norm="none")
    exact = tiny_critic(norm="none")
    half.network.set_weights(exact.network.get_weights())
    _, view = make_view(exact)
    for name in set(objective.updates):
        expected = objective.loss(name, view).per_example
        got = objective.loss(name, dataclasses.replace(view, critics={CRITIC: half})).per_example
        assert got.dtype == "float32", f"the loss of the {name} is {got.dtype}"
        np.testing.assert_allclose(got, expected, rtol=0.05, atol=0.05)


OBJECTIVE_CHECKS = (
    generator_is_updated_once_and_last,
    losses_are_finite_float32_per_example,
    losses_have_gradients_for_their_network,
    losses_with_bfloat16_critic_are_float32_and_close,
)
"""Checks of an objective; each takes one, from `testing.build("objective", ...)`."""
