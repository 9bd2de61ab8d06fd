"""The state of a training run: networks, optimizers, counters, averaged weights (EMA), seeds."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from tfdeblur.checkpoints.arrays import (
    Arrays,
    assign_arrays,
    network_variables,
    optimizer_variables,
    to_arrays,
)
from tfdeblur.checkpoints.format_1 import read_format_1
from tfdeblur.config import OptimizerConfig, TrainConfig
from tfdeblur.config.fields import images_of
from tfdeblur.errors import ConfigError
from tfdeblur.models.critics.critic import Critic
from tfdeblur.models.generator import Generator
from tfdeblur.objectives.objective import GENERATOR
from tfdeblur.training.schedules import ImageClock, Rate, make_rate

# Prefix of the names of the averaged weights.
_AVERAGE = f"{GENERATOR}_average"


@dataclasses.dataclass(frozen=True)
class NetworkState:
    """A network in training, with its optimizer.

    Attributes:
        name: Its key in the state, the step and the checkpoint.
        network: The network.
        optimizer: Built for exactly `variables`; its learning rate follows the run's image count.
        rate: The learning rate as a function of images seen.
        clip_norm: Maximum global norm of the gradient, or None.
    """

    name: str
    network: keras.Model
    optimizer: keras.optimizers.Optimizer
    rate: Rate
    clip_norm: float | None

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables that the optimizer updates, in a fixed order."""
        variables: list[keras.Variable] = self.network.trainable_variables
        return variables


def make_optimizer(
    config: OptimizerConfig, learning_rate: keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    """Builds the optimizer; the training step clips, after gradients are summed over replicas."""
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


def freeze(
    optimizer: keras.optimizers.Optimizer,
    variables: Sequence[keras.Variable],
    images: keras.Variable,
    until: int,
) -> None:
    """Makes an optimizer keep variables unchanged until a number of images has been seen.

    Moments follow the gradients meanwhile, so that the first updates have the usual size. Weight
    decay never applies to the variables: it would pull them away from what was learned before.

    Args:
        optimizer: Not built yet.
        variables: The variables to keep.
        images: Counter of the images seen.
        until: The count from which they are updated.
    """
    optimizer.exclude_from_weight_decay(var_list=variables)
    kept = {optimizer._var_key(variable) for variable in variables}
    update = optimizer.update_step

    def update_step(gradient: Any, variable: Any, learning_rate: Any) -> None:
        if optimizer._var_key(variable) in kept:
            learning_rate = learning_rate * ops.cast(images >= until, learning_rate.dtype)
        update(gradient, variable, learning_rate)

    optimizer.update_step = update_step


def seed_variables(network: keras.Model) -> list[keras.Variable]:
    """Returns the states of all random generators in a network, such as those of dropout."""
    weights = {id(variable) for variable in network.weights}
    return [variable for variable in network.variables if id(variable) not in weights]


class TrainingState:
    """Everything that a run needs to resume. Built under the strategy's scope, if there is one.

    Args:
        config: Optimizers and schedules of the networks.
        generator: The network that restores images.
        critics: The critics by name.
        total_images: Length of the run.
        epoch_images: Images in one epoch.
        step_images: Images that one step takes; the global batch if unset.

    Attributes:
        generator: The generator with its value range.
        networks: All networks by name; ``generator`` is one of them.
        critics: The other networks by name, as the objective's losses receive them.
        images: Counter of the images used for updates, the clock of the run; int64, or int32 under
            JAX.
        epoch_images: Images in one epoch of the training data.
        average: Running averages of the generator's trainable weights; empty without EMA.
        rate_scale: Multiplies every learning rate; below 1 after a rollback from non-finite
            numbers. Not in the checkpoint: `training.resilience.incidents` stores it.
    """

    def __init__(
        self,
        config: TrainConfig,
        generator: Generator,
        critics: Mapping[str, Critic] | None = None,
        *,
        total_images: int,
        epoch_images: int,
        step_images: int | None = None,
    ) -> None:
        self.generator = generator
        self.critics = dict(critics or {})
        self.epoch_images = epoch_images
        # int32 under JAX, which has no int64 unless it is enabled for the whole process.
        self.images = _shared_variable(0, keras.backend.standardize_dtype("int"), "images")
        if total_images > (limit := np.iinfo(self.images.dtype).max):
            raise ConfigError(
                f"training.duration: {total_images:,} images; {keras.backend.backend()} counts up "
                f"to {limit:,}."
            )
        self.rate_scale = _shared_variable(1.0, "float32", "rate_scale")
        self._step_images = step_images or config.training.global_batch
        self.networks: dict[str, NetworkState] = {}
        roles: dict[str, Generator | Critic] = {GENERATOR: generator, **self.critics}
        for name, role in roles.items():
            optimizer_config, schedule = config.for_network(name)
            rate = make_rate(
                schedule,
                optimizer_config.learning_rate,
                total_images=total_images,
                epoch_images=epoch_images,
                global_batch=self._step_images,
            )
            optimizer = make_optimizer(
                optimizer_config, ImageClock(rate, self.images, self.rate_scale)
            )
            if name == GENERATOR and (backbone := generator.backbone) is not None:
                until = images_of(
                    backbone.frozen, epoch_images=epoch_images, global_batch=self._step_images
                )
                freeze(optimizer, backbone.variables, self.images, until)
            # A variable created inside a traced step would break the second trace.
            optimizer.build(role.network.trainable_variables)
            self.networks[name] = NetworkState(
                name, role.network, optimizer, rate, optimizer_config.clip_norm
            )
        self._decay = config.training.ema_decay
        self.average: list[keras.Variable] = []
        if self._decay is not None:
            self.average = [
                _shared_variable(ops.convert_to_numpy(variable), variable.dtype, f"average_{index}")
                for index, variable in enumerate(generator.network.trainable_variables)
            ]
        self._named = self._name_variables()

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """All variables by name: those of checkpoints and `rate_scale`."""
        return {**self._named, "rate_scale": self.rate_scale}

    @property
    def revertible(self) -> list[keras.Variable]:
        """The variables that a step with non-finite values must not change.

        Not the seeds of random generators, so that the draws of a skipped step are not repeated,
        and not the count of images, the clock of the run.
        """
        found = list(self.average)
        for trained in self.networks.values():
            found += [*trained.network.weights, *trained.optimizer.variables]
        return found

    @property
    def images_seen(self) -> int:
        """Images used for updates so far."""
        return int(ops.convert_to_numpy(self.images))

    def learning_rates(self) -> dict[str, float]:
        """Returns the present learning rate of each network."""
        images = float(self.images_seen)
        scale = float(ops.convert_to_numpy(self.rate_scale))
        return {
            name: float(trained.rate(images)) * scale for name, trained in self.networks.items()
        }

    def broken_networks(self) -> list[str]:
        """Returns the names of the networks that have non-finite weights."""
        return [
            name
            for name, trained in self.networks.items()
            if not all(np.isfinite(value).all() for value in trained.network.get_weights())
        ]

    # ----------------------------------------------------------------------------------- averages

    def update_average(self) -> None:
        """Moves the averages toward the weights; called once per step, inside the step.

        The decay starts small, at ``(1 + n) / (10 + n)`` after n steps, so that the initial
        weights fade quickly from the averages.
        """
        if self._decay is None:
            return
        steps = ops.cast(self.images, "float32") / self._step_images
        decay = ops.minimum(self._decay, (1.0 + steps) / (10.0 + steps))
        for average, variable in self._averages():
            average.assign(average * decay + variable * (1.0 - decay))

    def restart_average(self) -> None:
        """Sets the averages to the weights, after weights were loaded from elsewhere."""
        for average, variable in self._averages():
            average.assign(ops.convert_to_numpy(variable))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Puts the averaged weights into the generator while the block runs.

        Moving statistics of batch norm are averages already. Replicas that do not synchronize
        them get those of the first one, which are those that checkpoints hold.
        """
        for variable in self.generator.network.non_trainable_weights:
            variable.assign(ops.convert_to_numpy(variable))
        own = [ops.convert_to_numpy(variable) for _, variable in self._averages()]
        for average, variable in self._averages():
            variable.assign(ops.convert_to_numpy(average))
        try:
            yield
        finally:
            for (_, variable), value in zip(self._averages(), own, strict=True):
                variable.assign(value)

    def _averages(self) -> list[tuple[keras.Variable, keras.Variable]]:
        """Returns each average with the weight that it follows; empty without EMA."""
        if not self.average:
            return []
        return list(zip(self.average, self.networks[GENERATOR].variables, strict=True))

    # --------------------------------------------------------------------------------- checkpoints

    def arrays(self) -> Arrays:
        """Returns everything that training needs to resume: one array per variable.

        The names are ``images``, and paths below ``generator``, ``generator_optimizer``,
        ``generator_average`` and the same for the other networks. The seeds of random generators
        are variables of their network.
        """
        return to_arrays(self._named)

    def critic_arrays(self) -> Arrays:
        """Returns the arrays of the critics alone, under the names of `arrays`."""
        prefixes = tuple(f"{name}/" for name in self.critics)
        return to_arrays({n: v for n, v in self._named.items() if n.startswith(prefixes)})

    def load_arrays(self, arrays: Arrays) -> None:
        """Restores what `arrays` returned; averages are dropped if this run keeps none.

        Raises:
            ArrayMismatch: They are arrays of another network or optimizer.
        """
        if not self.average:
            arrays = {n: array for n, array in arrays.items() if not n.startswith(f"{_AVERAGE}/")}
        assign_arrays(self._named, arrays)

    def load_format_1(self, path: str) -> None:
        """Restores the training state of a checkpoint of format 1.

        Raises:
            ArrayMismatch: As for `load_arrays`.
            DataError: It cannot be read.
        """
        roots: dict[str, Any] = {"images": self.images}
        for name, trained in self.networks.items():
            roots[f"{name}_network"] = trained.network
            roots[f"{name}_optimizer"] = trained.optimizer
            seeds = seed_variables(trained.network)
            roots[f"{name}_seeds"] = {f"seed_{index}": seed for index, seed in enumerate(seeds)}
        if self.average:
            roots["average"] = {f"weight_{i}": value for i, value in enumerate(self.average)}
        self.load_arrays(read_format_1(path, roots, self._named))

    def _name_variables(self) -> dict[str, keras.Variable]:
        named = {"images": self.images}
        for name, trained in self.networks.items():
            network = network_variables(trained.network)
            optimizer = optimizer_variables(trained.optimizer, trained.network)
            named |= {f"{name}/{path}": variable for path, variable in network.items()}
            named |= {f"{name}_optimizer/{path}": slot for path, slot in optimizer.items()}
        names = {id(variable): name for name, variable in named.items()}
        for average, variable in self._averages():
            path = names[id(variable)].removeprefix(f"{GENERATOR}/")
            named[f"{_AVERAGE}/{path}"] = average
        return named


def _shared_variable(value: Any, dtype: str, name: str) -> keras.Variable:
    """Returns a variable whose replicas hold the same value: the first one's is used."""
    return keras.Variable(
        value,
        dtype=dtype,
        trainable=False,
        autocast=False,
        aggregation="only_first_replica",
        name=name,
    )


def with_batch_norm_per_replica(networks: Mapping[str, NetworkState]) -> list[str]:
    """Returns the names of networks whose batch norm uses statistics of one replica's images.

    Under JAX there are none: its statistics are those of the global batch.
    """
    if keras.backend.backend() == "jax":
        return []
    return [
        name
        for name, trained in networks.items()
        if any(
            isinstance(layer, keras.layers.BatchNormalization)
            and layer.trainable
            and not layer.synchronized
            for layer in trained.network._flatten_layers()
        )
    ]


def network_summary(networks: Mapping[str, NetworkState]) -> str:
    """Returns one line with the size of each network."""
    parts = (f"{p.name} {p.network.name}: {p.network.count_params():,}" for p in networks.values())
    return ", ".join(parts) + " parameters"
