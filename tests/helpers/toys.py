"""Small networks, objectives and batches for the tests of training."""

from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from tfdeblur import config
from tfdeblur.models.generator import Generator
from tfdeblur.objectives.objective import GENERATOR, Loss, Objective
from tfdeblur.training.engines.engine import StepPlan
from tfdeblur.training.engines.tensorflow import runtime
from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine
from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep
from tfdeblur.training.loop import Loop
from tfdeblur.training.state import TrainingState


def toy_generator(seed=0, batch_norm=False, dropout=0.0, value_range="unit", width=4):
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(width, 3, padding="same", activation="tanh")(x)
    if batch_norm:
        x = keras.layers.BatchNormalization()(x)
    if dropout:
        x = keras.layers.Dropout(dropout, seed=seed)(x)
    x = keras.layers.Conv2D(3, 3, padding="same", dtype="float32")(x)
    network = keras.Model(inputs, x, name="toy")
    return Generator(network, value_range=value_range, multiple=1, name="toy")


def two_replicas():
    """Returns a strategy of the two logical CPU devices of the tests."""
    return runtime.make_strategy("mirrored")


def toy_critic():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 4, strides=2)(inputs)
    x = keras.layers.LeakyReLU(0.2)(x)
    return keras.Model(inputs, keras.layers.Conv2D(1, 4, dtype="float32")(x), name="toy_critic")


class TwoNetworks(Objective):
    """Least-squares GAN with a content term: enough to need a second network."""

    updates = ("critic", "critic", GENERATOR)

    def term_names(self, network):
        return ("real", "fake") if network == "critic" else ("content",)

    def loss(self, network, view):
        critic = view.critics["critic"].network
        fake = tf.reduce_mean(critic(view.restored), axis=[1, 2, 3])
        if network == "critic":
            real = tf.reduce_mean(critic(view.sharp), axis=[1, 2, 3])
            return Loss(tf.square(real - 1) + tf.square(fake), {"real": real, "fake": fake})
        content = tf.reduce_mean(tf.square(view.restored - view.sharp), axis=[1, 2, 3])
        return Loss(content + 0.01 * tf.square(fake - 1), {"content": content})


class Content(Objective):
    """Mean squared error."""

    def term_names(self, network):
        return ()

    def loss(self, network, view):
        return Loss(tf.reduce_mean(tf.square(view.restored - view.sharp), axis=[1, 2, 3]))


class Ratio(Content):
    """0 / 0 for a black image."""

    def loss(self, network, view):
        loss = super().loss(network, view)
        brightness = tf.reduce_mean(view.sharp, axis=[1, 2, 3])
        return Loss(loss.per_example * brightness / brightness)


def toy_config(**sections):
    tree = {"workdir": "w", "model": "unet16", "objective": "content"}
    tree["training"] = {"global_batch": 8, "duration": "64 images"}
    tree["optimizer"] = {"learning_rate": 0.01}
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section}
    return config.resolve(tree)


def toy_state(run_config, generator, objective, critics=None):
    if critics is None and "critic" in objective.updates:
        critics = {"critic": SimpleNamespace(network=toy_critic())}
    return TrainingState(run_config, generator, critics, total_images=640, epoch_images=64)


def toy_loop(
    objective,
    steps_per_loop,
    strategy=None,
    jit_compile=False,
    skip_nonfinite=False,
    several_workers=False,
    **options,
):
    """Returns the loop of a toy run under TensorFlow, and its state."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        state = toy_state(toy_config(), toy_generator(), objective)
    engine = TensorFlowEngine(strategy, jit_compile)
    if several_workers:
        engine.worker_names = ("the chief", "worker 1")
    engine.compile(state, objective, StepPlan(8, skip_nonfinite=skip_nonfinite))
    loop = Loop(
        engine, state, step_images=8, epoch_images=64, steps_per_loop=steps_per_loop, **options
    )
    return loop, state


def toy_batch(count=8, side=16, seed=0):
    rng = np.random.default_rng(seed)
    sharp = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return {"blurred": sharp // 2 + 64, "sharp": sharp}


def weights(state):
    return {name: network.network.get_weights() for name, network in state.networks.items()}


def toy_run(seed=0, dropout=0.5):
    """Two networks with averages, dropout and batch norm: all that a checkpoint can hold."""
    objective = TwoNetworks()
    generator = toy_generator(seed=seed, batch_norm=True, dropout=dropout)
    run_config = toy_config(training={"ema_decay": 0.9})
    state = toy_state(run_config, generator, objective)
    return state, ReplicaStep(objective, state, StepPlan(global_batch=8))
