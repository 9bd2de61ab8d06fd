"""What a run is made of: players, counters, averaged weights, and random state."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from tfdeblur.config import OptimizerConfig, TrainConfig
from tfdeblur.models.generator import Generator
from tfdeblur.objectives.objective import GENERATOR
from tfdeblur.training.schedules import ImageClock, Rate, make_rate


@dataclasses.dataclass(frozen=True)
class Player:
    """A network that learns, with the optimizer that teaches it.

    Attributes:
        name: Key in the state, the step and the checkpoint.
        network: The network.
        optimizer: Built for exactly `variables`; reads its rate off the run's image counter.
        rate: The learning rate as a function of images seen.
        clip_norm: Largest global norm of the gradient, or None.
    """

    name: str
    network: keras.Model
    optimizer: keras.optimizers.Optimizer
    rate: Rate
    clip_norm: float | None

    @property
    def variables(self) -> list[keras.Variable]:
        """What the optimizer updates, in a fixed order."""
        variables: list[keras.Variable] = self.network.trainable_variables
        return variables


def make_optimizer(
    config: OptimizerConfig, learning_rate: keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    """Builds the update rule; clipping is the training step's, after the sum over replicas."""
    if config.name == "rmsprop":
        return keras.optimizers.RMSprop(learning_rate, rho=config.rho, epsilon=config.epsilon)
    adam: dict[str, Any] = {
        "learning_rate": learning_rate,
        "beta_1": config.beta_1,
        "beta_2": config.beta_2,
        "epsilon": config.epsilon,
    }
    if config.name == "adamw":
        return keras.optimizers.AdamW(weight_decay=config.weight_decay, **adam)
    return keras.optimizers.Adam(**adam)


def seed_variables(network: keras.Model) -> list[keras.Variable]:
    """Returns the states of all random generators inside a network, such as those of dropout.

    `tf.train.Checkpoint(model=...)` leaves them out without a word, so they are saved by name.
    """
    found = []
    for layer in network._flatten_layers():
        for value in vars(layer).values():
            if isinstance(value, keras.random.SeedGenerator):
                found.append(value.state)
    return found


class HasNetwork(Protocol):
    """A player's role: a generator, a critic."""

    @property
    def network(self) -> keras.Model:
        """What learns."""


class TrainingState:
    """Everything that a run needs to go on: built under the strategy's scope.

    Args:
        config: Optimizers and schedules of the players.
        generator: The network that restores.
        opponents: The other players by name, such as a critic.
        total_images: Length of the run.
        epoch_images: Images in one epoch.
        step_images: Images that one step takes; the global batch where not given.

    Attributes:
        generator: The generator with its value range.
        players: All players by name; ``generator`` is one of them.
        opponents: What the other players' losses see of them, by name: a critic with its network.
        images: int64 counter of images that went into updates: the clock of the run.
        epoch_images: Images in one epoch of the training data.
        average: Running averages of the generator's trainable weights; empty without EMA.
        rate_scale: Multiplies every learning rate; below 1 after a run went back from numbers that
            were not finite. Not in the checkpoint: `training.incidents` remembers it.
    """

    def __init__(
        self,
        config: TrainConfig,
        generator: Generator,
        opponents: Mapping[str, HasNetwork] | None = None,
        *,
        total_images: int,
        epoch_images: int,
        step_images: int | None = None,
    ) -> None:
        self.generator = generator
        self.opponents = dict(opponents or {})
        self.epoch_images = epoch_images
        # Replicas hold the same count; writing it needs no vote among them.
        self.images = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            name="images",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self.rate_scale = tf.Variable(
            1.0,
            trainable=False,
            name="rate_scale",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self._step_images = step_images or config.training.global_batch
        self.players: dict[str, Player] = {}
        for name, role in {GENERATOR: generator, **self.opponents}.items():
            optimizer_config, schedule = config.player(name)
            rate = make_rate(
                schedule,
                optimizer_config.learning_rate,
                total_images=total_images,
                epoch_images=epoch_images,
                global_batch=self._step_images,
            )
            network = role.network
            optimizer = make_optimizer(
                optimizer_config, ImageClock(rate, self.images, self.rate_scale)
            )
            # A variable made inside a traced step would break the second trace.
            optimizer.build(network.trainable_variables)
            self.players[name] = Player(name, network, optimizer, rate, optimizer_config.clip_norm)
        self._decay = config.training.ema_decay
        self.average: list[tf.Variable] = []
        if self._decay is not None:
            self.average = [
                tf.Variable(
                    variable.numpy(),
                    trainable=False,
                    dtype=variable.dtype,
                    name=f"average_{index}",
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                )
                for index, variable in enumerate(generator.network.trainable_variables)
            ]

    @property
    def images_seen(self) -> int:
        """Images that went into updates so far."""
        return int(self.images.numpy())

    def learning_rates(self) -> dict[str, float]:
        """Returns each player's learning rate now."""
        images, scale = tf.cast(self.images, tf.float32), float(self.rate_scale.numpy())
        return {name: float(player.rate(images)) * scale for name, player in self.players.items()}

    def broken_players(self) -> list[str]:
        """Returns the names of the players with weights that are not finite."""
        return [
            name
            for name, player in self.players.items()
            if not all(np.isfinite(value).all() for value in player.network.get_weights())
        ]

    def update_average(self) -> None:
        """Moves the averages toward the weights; called once a step, inside the step.

        The decay begins small, as ``(1 + n) / (10 + n)`` after n steps, so that the initial
        weights do not linger in the averages of a young run.
        """
        if self._decay is None:
            return
        steps = tf.cast(self.images, tf.float32) / self._step_images
        decay = tf.minimum(self._decay, (1.0 + steps) / (10.0 + steps))
        for average, variable in zip(self.average, self.players[GENERATOR].variables, strict=True):
            value = tf.convert_to_tensor(variable.value)
            average.assign(average * decay + value * (1.0 - decay))

    def restart_average(self) -> None:
        """Sets the averages to the weights, after weights came from elsewhere."""
        if self.average:
            for average, variable in zip(
                self.average, self.players[GENERATOR].variables, strict=True
            ):
                average.assign(variable.numpy())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Puts the averaged weights into the generator for as long as the block runs.

        Moving statistics of batch norm are averages already and stay as they are.
        """
        if not self.average:
            yield
            return
        variables = self.players[GENERATOR].variables
        own = [variable.numpy() for variable in variables]
        for variable, average in zip(variables, self.average, strict=True):
            variable.assign(average.numpy())
        try:
            yield
        finally:
            for variable, value in zip(variables, own, strict=True):
                variable.assign(value)

    def checkpoint(self) -> tf.train.Checkpoint:
        """Returns what `tf.train` saves and restores: weights, optimizers, counters, seeds."""
        parts: dict[str, Any] = {"images": self.images}
        for name, player in self.players.items():
            parts[f"{name}_network"] = player.network
            parts[f"{name}_optimizer"] = player.optimizer
            seeds = [seed.value for seed in seed_variables(player.network)]
            parts[f"{name}_seeds"] = tf.train.Checkpoint(
                **{f"seed_{index}": seed for index, seed in enumerate(seeds)}
            )
        if self.average:
            parts["average"] = tf.train.Checkpoint(
                **{f"weight_{index}": value for index, value in enumerate(self.average)}
            )
        return tf.train.Checkpoint(**parts)


def network_summary(players: Mapping[str, Player]) -> str:
    """Returns one line that names each player's network and its size."""
    parts = (f"{p.name} {p.network.name}: {p.network.count_params():,}" for p in players.values())
    return ", ".join(parts) + " parameters"
