"""The training step under JAX: a pure function of the values of all variables and a batch.

It computes what `engines.tensorflow.train_step` computes, for the whole global batch at once: XLA
divides the work over the devices of the mesh. Batch norm therefore takes the statistics of the
global batch (of a micro-batch, with gradient accumulation).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import keras
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tfdeblur.execution.jax import BATCH, FULL_FLOAT32
from tfdeblur.execution.stateless import call_with
from tfdeblur.objectives.objective import GENERATOR, Objective, View
from tfdeblur.ops.imaging import data_range, to_range, uint8_to_unit
from tfdeblur.training.engines.engine import (
    SKIPPED,
    StepPlan,
    critic_updates,
    loss_and_scalars,
)
from tfdeblur.training.engines.jax.recomputing import keep_joined, recomputed
from tfdeblur.training.state import TrainingState

Values = dict[str, jax.Array]
Scalars = dict[str, jax.Array]
Images = Mapping[str, Any]
"""``blurred`` and ``sharp``, float32 [b, H, W, 3] in the generator's value range, and ``uniform``,
float32 [b]; ``outputs``, the generator's, if they are known already."""


class TrainStep:
    """Updates the critics, then the generator.

    Methods take the values of variables by name and return them with their updates. With
    micro-batches, arrays have an additional first axis.

    Args:
        objective: Defines the losses and the order of updates.
        state: Networks, optimizers and counters.
        plan: What the step does.
        mesh: The devices, with an axis ``batch``.

    Attributes:
        variables: The variables of the state by name.
        frozen: Variables of networks that are not trained, by id; found while tracing.
        names: Names of the scalars that a call returns.
    """

    def __init__(
        self, objective: Objective, state: TrainingState, plan: StepPlan, mesh: Mesh
    ) -> None:
        self._objective = objective
        self._state = state
        self._generator = state.generator
        self._plan = plan
        self._mesh = mesh
        self.variables = state.variables
        self.frozen: dict[int, keras.Variable] = {}
        self.names = plan.metric_names(objective)
        names = {id(variable): name for name, variable in self.variables.items()}
        self._trained = {
            key: [names[id(variable)] for variable in network.variables]
            for key, network in state.networks.items()
        }
        self._reverted = [names[id(variable)] for variable in state.revertible]
        if plan.remat:
            keep_joined(state.generator.network)

    # ----------------------------------------------------------------------------- the algorithm

    def __call__(self, values: Values, batches: Mapping[str, jax.Array]) -> tuple[Values, Any]:
        """Runs one training step.

        Args:
            values: Values of all variables.
            batches: ``blurred`` and ``sharp``, uint8 [batches, B, H, W, 3].

        Returns:
            The values afterwards, and the scalars in the order of `names`, float32 [names].
        """
        with jax.default_matmul_precision(FULL_FLOAT32):
            before = values
            if self._plan.shares_pass and self._plan.micro_batches == 1:
                values, scalars = self._update_with_one_pass(values, _at(batches, 0))
            else:
                values, scalars = self._update_with_separate_passes(values, batches)
            values, _ = self._call(values, self._state.update_average)
            if self._plan.skip_nonfinite:
                values, scalars[SKIPPED] = self._revert_unless_finite(before, values, scalars)
            images = values["images"] + self._plan.step_images(self._objective)
            row = jnp.stack([scalars[name].astype("float32") for name in self.names])
            return {**values, "images": images}, row

    def _update_with_one_pass(self, values: Values, batch: Any) -> tuple[Values, Scalars]:
        """Updates all networks with one differentiated pass of the generator."""
        last = len(self._objective.updates) - 1

        def generate(trained: Values) -> tuple[Any, Values]:
            after, outputs = self._call({**values, **trained}, lambda: self._generate(images))
            return outputs, _without(after, trained)

        images = self._split(values, batch, last)
        outputs, pull_back, after = jax.vjp(
            self._recomputed(generate), self._trained_values(values, GENERATOR), has_aux=True
        )
        values = {**values, **after}
        known = jax.lax.stop_gradient(outputs)
        values, metrics = self._update_critics(
            values,
            lambda values, position: {**self._split(values, batch, position), "outputs": known},
        )

        def loss(outputs: Any) -> tuple[jax.Array, Any]:
            after, (total, scalars) = self._call(
                values, lambda: self._loss(GENERATOR, {**images, "outputs": outputs})
            )
            return total, (scalars, after)

        slope, (scalars, values) = jax.grad(loss, has_aux=True)(outputs)
        (gradients,) = pull_back(slope)
        values, norm = self._apply(values, GENERATOR, gradients)
        return values, {**metrics, **scalars, **norm}

    def _update_with_separate_passes(
        self, values: Values, batches: Mapping[str, Any]
    ) -> tuple[Values, Scalars]:
        """Updates all networks; the generator's own update has a pass of its own."""
        updates = self._objective.updates
        if self._plan.shares_pass and len(updates) > 1:
            values, known = self._over_parts(
                values,
                self._split(values, _at(batches, 0), 0),
                lambda values, part: self._call(values, lambda: self._generate(part)),
                jnp.stack,
            )

            def images_of(values: Values, position: Any) -> Images:
                return {**self._split(values, _at(batches, 0), position), "outputs": known}
        else:

            def images_of(values: Values, position: Any) -> Images:
                index = position if self._plan.fresh_critic_batches else 0
                return self._split(values, _at(batches, index), position)

        values, metrics = self._update_critics(values, images_of)
        last = len(updates) - 1
        images = self._split(values, _at(batches, -1), last)
        values, scalars = self._update(values, GENERATOR, images)
        return values, {**metrics, **scalars}

    def _update_critics(
        self, values: Values, images_of: Callable[[Values, Any], Images]
    ) -> tuple[Values, Scalars]:
        """Updates each critic as often as the objective asks; returns means over its updates.

        Args:
            values: Values of all variables.
            images_of: Returns the images of an update by its position in the step.
        """
        metrics: Scalars = {}
        for name, positions in critic_updates(self._objective):

            def update(values: Values, position: Any, name: str = name) -> tuple[Values, Scalars]:
                return self._update(values, name, images_of(values, position))

            # One program for all updates, which is smaller and faster to compile.
            values, found = jax.lax.scan(
                update, values, jnp.arange(positions.start, positions.stop)
            )
            metrics |= {scalar: jnp.mean(column) for scalar, column in found.items()}
        return values, metrics

    def _update(self, values: Values, name: str, images: Images) -> tuple[Values, Scalars]:
        """Updates one network with the gradients accumulated over micro-batches."""
        values, (gradients, scalars) = self._over_parts(
            values, images, lambda values, part: self._gradients(values, name, part), jnp.sum
        )
        values, norm = self._apply(values, name, gradients)
        return values, {**scalars, **norm}

    def _gradients(
        self, values: Values, name: str, images: Images
    ) -> tuple[Values, tuple[Values, Scalars]]:
        """Returns the gradients of one network's loss on a micro-batch, and the scalars."""
        if "outputs" not in images and name != GENERATOR:
            given = images
            values, outputs = self._call(values, lambda: self._generate(given))
            images = {**images, "outputs": outputs}

        def loss(trained: Values) -> tuple[jax.Array, Any]:
            def compute() -> tuple[jax.Array, Scalars]:
                known = images.get("outputs")
                outputs = self._generate(images) if known is None else known
                return self._loss(name, {**images, "outputs": outputs})

            after, (total, scalars) = self._call({**values, **trained}, compute)
            return total, (scalars, _without(after, trained))

        trained = self._trained_values(values, name)
        differentiated = self._recomputed(loss) if name == GENERATOR else loss
        gradients, (scalars, after) = jax.grad(differentiated, has_aux=True)(trained)
        return {**values, **after}, (gradients, scalars)

    # ------------------------------------------------------------------------------- its elements

    def _call(self, values: Values, function: Callable[[], Any]) -> tuple[Values, Any]:
        """Calls Keras code on the given values; returns the values afterwards and its result."""
        return call_with(self.variables, values, function, self.frozen)

    def _trained_values(self, values: Values, name: str) -> Values:
        return {variable: values[variable] for variable in self._trained[name]}

    def _split(self, values: Values, batch: Mapping[str, Any], update: Any) -> Images:
        """Scales a batch to the generator's value range, with the draws of an update.

        Micro-batches hold the images that a device's share is divided into, so that each device
        has a part of every micro-batch.
        """
        value_range = self._generator.value_range
        images = {
            half: to_range(uint8_to_unit(batch[half]), value_range) for half in ("blurred", "sharp")
        }
        images["uniform"] = self._uniform(values, update)
        return {name: self._in_parts(array) for name, array in images.items()}

    def _uniform(self, values: Values, update: Any) -> jax.Array:
        """Draws a number per image of the batch, from seed, images seen and update."""
        key = jax.random.key(self._plan.seed)
        for number in (values["images"], update):
            key = jax.random.fold_in(key, number)
        return jax.random.uniform(key, [self._plan.global_batch])

    def _in_parts(self, array: jax.Array) -> jax.Array:
        parts = self._plan.micro_batches
        if parts == 1:
            return array
        devices = self._mesh.shape[BATCH]
        count = array.shape[0] // devices // parts
        array = array.reshape(devices, parts, count, *array.shape[1:]).swapaxes(0, 1)
        array = array.reshape(parts, devices * count, *array.shape[3:])
        sharding = NamedSharding(self._mesh, PartitionSpec(None, BATCH))
        return jax.lax.with_sharding_constraint(array, sharding)

    def _over_parts(
        self,
        values: Values,
        images: Images,
        function: Callable[[Values, Images], tuple[Values, Any]],
        join: Callable[..., Any],
    ) -> tuple[Values, Any]:
        """Calls a function on each micro-batch, one after another, and joins its results.

        Args:
            values: Values of all variables.
            images: The images of all micro-batches.
            function: Maps values and the images of one micro-batch to values and a result.
            join: `jnp.sum` or `jnp.stack` of the results.
        """
        if self._plan.micro_batches == 1:
            return function(values, images)
        if join is jnp.stack:
            return jax.lax.scan(function, values, images)
        shapes = jax.eval_shape(function, values, _at(images, 0))[1]
        start = jax.tree.map(lambda part: jnp.zeros(part.shape, part.dtype), shapes)

        def add(carry: tuple[Values, Any], part: Images) -> tuple[tuple[Values, Any], None]:
            values, total = carry
            values, result = function(values, part)
            return (values, jax.tree.map(jnp.add, total, result)), None

        return jax.lax.scan(add, (values, start), images)[0]

    def _recomputed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Recomputes the generator's activations for gradients if the plan asks for it."""
        return recomputed(function) if self._plan.remat else function

    def _generate(self, images: Images) -> tuple[jax.Array, ...]:
        outputs = self._generator.network(images["blurred"], training=True)
        return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)

    def _loss(self, name: str, images: Images) -> tuple[jax.Array, Scalars]:
        """Returns one network's share of the global mean loss, and the scalars to report."""
        view = View(
            blurred=images["blurred"],
            sharp=images["sharp"],
            outputs=images["outputs"],
            critics=self._state.critics,
            data_range=data_range(self._generator.value_range),
            gradient=lambda function, x: jax.grad(lambda x: jnp.sum(function(x)))(x),
            uniform=images["uniform"],
            batch_mean=lambda values: jnp.mean(values.astype("float32")),
        )
        value_range, batch = self._generator.value_range, self._plan.global_batch
        return loss_and_scalars(name, view, self._objective, value_range, batch)

    def _apply(self, values: Values, name: str, gradients: Values) -> tuple[Values, Scalars]:
        """Applies gradients; returns the values and the norm of the gradients."""
        trained = self._state.networks[name]
        limit = self._objective.weight_clip.get(name)
        ordered = [gradients[variable] for variable in self._trained[name]]
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(gradient)) for gradient in ordered))
        if trained.clip_norm is not None:
            scale = trained.clip_norm / jnp.maximum(norm, trained.clip_norm)
            ordered = [gradient * scale for gradient in ordered]

        def apply() -> None:
            trained.optimizer.apply(ordered, trained.variables)
            if limit is not None:
                for variable in trained.variables:
                    variable.assign(jnp.clip(variable.value, -limit, limit))

        values, _ = self._call(values, apply)
        return values, {f"{name}/gradient_norm": norm}

    def _revert_unless_finite(
        self, before: Values, values: Values, scalars: Scalars
    ) -> tuple[Values, jax.Array]:
        """Returns the old values unless scalars and weights are finite, and 1 in that case."""
        weights = [values[name] for names in self._trained.values() for name in names]
        finite = jnp.isfinite(jnp.stack([*scalars.values(), *(jnp.sum(w) for w in weights)]))
        sound = jnp.all(finite)
        chosen = {name: jnp.where(sound, values[name], before[name]) for name in self._reverted}
        return {**values, **chosen}, 1.0 - sound.astype("float32")


def _at(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda array: array[index], tree)


def _without(values: Values, names: Mapping[str, Any]) -> Values:
    return {name: value for name, value in values.items() if name not in names}
