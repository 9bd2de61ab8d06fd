"""The training step of one replica: losses, gradients and updates.

This is the only module that uses `tf.GradientTape`.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfdeblur.objectives.objective import GENERATOR, Objective, View
from tfdeblur.ops.imaging import data_range, to_range, uint8_to_unit
from tfdeblur.training.engines.engine import (
    SKIPPED,
    StepPlan,
    critic_updates,
    loss_and_scalars,
    scalar_names,
)
from tfdeblur.training.engines.tensorflow.determinism import add_in_order
from tfdeblur.training.engines.tensorflow.nonfinite import StepReverter
from tfdeblur.training.state import NetworkState, TrainingState

Batch = Mapping[str, tf.Tensor]
Outputs = tuple[tf.Tensor, ...]
Scalars = dict[str, tf.Tensor]

# Between the seeds of two updates of one step; a prime, so that seeds of runs do not coincide.
_UPDATE_STRIDE = 7919


@dataclasses.dataclass(frozen=True)
class MicroBatch:
    """Images that pass through the networks at once.

    Attributes:
        index: Position among the step's micro-batches.
        blurred: float32 [b, H, W, 3] in the generator's value range.
        sharp: float32 [b, H, W, 3] in the generator's value range.
        outputs: The generator's outputs for `blurred`, if they are known already.
    """

    index: int
    blurred: tf.Tensor
    sharp: tf.Tensor
    outputs: Outputs | None = None


class ReplicaStep:
    """Updates the critics, then the generator, on one replica's images.

    Called inside `strategy.run`. Losses are summed over the replica's images and divided by the
    *global* batch, so that summing gradients over replicas gives the gradient of the global mean;
    Keras's optimizers compute that sum.

    Several updates of a critic are a loop in the program, not copies, which makes the program
    smaller and faster to compile for a TPU. Under MirroredStrategy and with several workers they
    are copies, because the replicas synchronize in Python at every update. Micro-batches are
    unrolled, because a conditional around an update fails under two replicas.

    Args:
        objective: Defines the losses and the order of updates.
        state: Networks, optimizers and counters.
        plan: What the step does.
    """

    def __init__(self, objective: Objective, state: TrainingState, plan: StepPlan) -> None:
        self._objective = objective
        self._state = state
        self._generator = state.generator
        self._plan = plan
        self._reverter = StepReverter(state) if plan.skip_nonfinite else None

    # ----------------------------------------------------------------------------- the algorithm

    def __call__(self, *batches: Batch) -> Scalars:
        """Runs one training step.

        Args:
            *batches: As many as the plan has, each with ``blurred`` and ``sharp``, uint8
                [replica batch, H, W, 3], fully static.

        Returns:
            Scalars by name; their *sum* over replicas is the mean over the global batch.
        """
        before = self._reverter.snapshot() if self._reverter else []
        if self._plan.shares_pass and self._plan.micro_batches == 1:
            metrics = self._update_with_one_pass(batches[0])
        else:
            metrics = self._update_with_separate_passes(batches)
        self._state.update_average()
        if self._reverter:
            scalars = list(metrics.values())
            metrics[SKIPPED] = self._reverter.revert_unless_finite(before, scalars)
        return metrics

    def _update_with_one_pass(self, batch: Batch) -> Scalars:
        """Updates all networks with one taped pass of the generator."""
        (images,) = self._split(batch)
        with tf.GradientTape() as tape:
            images = dataclasses.replace(images, outputs=self._generate(images))
            with tape.stop_recording():
                metrics = self._update_critics(lambda update: [images])
            loss, scalars = self._loss(GENERATOR, len(self._objective.updates) - 1, images)
        gradients = _gradients(tape, loss, self._state.networks[GENERATOR].variables)
        return {**metrics, **scalars, **self._apply(GENERATOR, gradients)}

    def _update_with_separate_passes(self, batches: Sequence[Batch]) -> Scalars:
        """Updates all networks; the generator's own update has a pass of its own."""
        if self._plan.shares_pass and len(self._objective.updates) > 1:
            known = [
                dataclasses.replace(images, outputs=self._generate(images))
                for images in self._split(batches[0])
            ]
            metrics = self._update_critics(lambda update: known)
        else:
            choose = _chooser(batches)
            metrics = self._update_critics(lambda update: self._split(choose(update)))
        last = len(self._objective.updates) - 1
        return {**metrics, **self._update(GENERATOR, last, self._split(batches[-1]))}

    def _update_critics(self, images_of: Callable[[Any], Sequence[MicroBatch]]) -> Scalars:
        """Updates each critic as often as the objective asks; returns means over its updates.

        Args:
            images_of: Returns the micro-batches of an update by its position in the step, an int
                or an int32 scalar.
        """
        metrics: Scalars = {}
        for name, positions in critic_updates(self._objective):

            def update(position: Any, name: str = name) -> Scalars:
                return self._update(name, position, images_of(position))

            sums = _repeat(update, positions, scalar_names(self._objective, name))
            metrics |= {scalar: total / len(positions) for scalar, total in sums.items()}
        return metrics

    def _update(self, name: str, update: Any, parts: Sequence[MicroBatch]) -> Scalars:
        """Updates one network with the gradients accumulated over micro-batches."""
        each = (self._gradients(name, update, part) for part in parts)
        gradients, scalars = _add_up(each)
        return {**scalars, **self._apply(name, gradients)}

    def _gradients(
        self, name: str, update: Any, images: MicroBatch
    ) -> tuple[list[tf.Tensor], Scalars]:
        """Returns the gradients of one network's loss on a micro-batch, and the scalars."""
        if images.outputs is None and name != GENERATOR:
            images = dataclasses.replace(images, outputs=self._generate(images))
        with tf.GradientTape() as tape:
            if images.outputs is None:
                images = dataclasses.replace(images, outputs=self._generate(images))
            loss, scalars = self._loss(name, update, images)
        return _gradients(tape, loss, self._state.networks[name].variables), scalars

    # ------------------------------------------------------------------------------- its elements

    def _split(self, batch: Batch) -> list[MicroBatch]:
        """Splits a batch and scales it from uint8 to the generator's value range."""
        value_range = self._generator.value_range
        halves = [tf.split(batch[half], self._plan.micro_batches) for half in ("blurred", "sharp")]
        return [
            MicroBatch(index, *(to_range(uint8_to_unit(images), value_range) for images in pair))
            for index, pair in enumerate(zip(*halves, strict=True))
        ]

    def _generate(self, images: MicroBatch) -> Outputs:
        outputs = self._generator.network(images.blurred, training=True)
        return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)

    def _loss(self, name: str, update: Any, images: MicroBatch) -> tuple[tf.Tensor, Scalars]:
        """Returns one network's share of the global mean loss, and the scalars to report."""
        view = View(
            blurred=images.blurred,
            sharp=images.sharp,
            outputs=images.outputs or (),
            critics=self._state.critics,
            data_range=data_range(self._generator.value_range),
            gradient=taped_gradient,
            uniform=self._uniform(update, images.index),
            batch_mean=_batch_mean,
        )
        value_range, batch = self._generator.value_range, self._plan.global_batch
        return loss_and_scalars(name, view, self._objective, value_range, batch)

    def _uniform(self, update: Any, micro: int) -> tf.Tensor:
        """Draws a number per image, from seed, images seen, update, and position in the batch."""
        images = tf.convert_to_tensor(self._state.images.value)
        seed = [self._plan.seed + _UPDATE_STRIDE * tf.cast(update, tf.int64), images]
        # Philox on every device; XLA draws other numbers nevertheless.
        draws = tf.random.stateless_uniform([self._plan.global_batch], tf.stack(seed), alg="philox")
        context = tf.distribute.get_replica_context()
        # Not from the batch's shape, which the iterators of several workers do not know.
        share = self._plan.global_batch // context.num_replicas_in_sync
        count = share // self._plan.micro_batches
        first = context.replica_id_in_sync_group * share + micro * count
        return tf.slice(draws, [first], [count])

    def _apply(self, name: str, gradients: Sequence[tf.Tensor]) -> Scalars:
        """Applies gradients; returns this replica's share of their norm.

        Clipping by the global norm requires the gradient of the whole batch. So it is summed over
        replicas first, and divided again because the optimizer also sums. Without clipping nothing
        is transferred twice, and the norm is the mean of the replicas' norms.
        """
        trained: NetworkState = self._state.networks[name]
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        if trained.clip_norm is None:
            # A replica's gradient is its share of a sum; times their number it is a mean.
            norm = tf.linalg.global_norm(gradients) * replicas
        else:
            if replicas > 1:
                gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
            gradients, norm = tf.clip_by_global_norm(gradients, trained.clip_norm)
            gradients = [gradient / replicas for gradient in gradients]
        trained.optimizer.apply(gradients, trained.variables)
        limit = self._objective.weight_clip.get(name)
        if limit is not None:
            for variable in trained.variables:
                variable.assign(tf.clip_by_value(variable.value, -limit, limit))
        return {f"{name}/gradient_norm": norm / replicas}


def _gradients(tape: tf.GradientTape, loss: tf.Tensor, variables: Sequence[Any]) -> list[tf.Tensor]:
    # Zeros for weights that the loss does not reach, as under JAX. TensorFlow's own option for that
    # fails for Keras's variables (2.21).
    found = tape.gradient(loss, variables)
    if all(gradient is None for gradient in found):
        raise ValueError("The loss does not depend on any weight of the network.")
    return [
        tf.zeros(variable.shape, variable.dtype) if gradient is None else gradient
        for gradient, variable in zip(found, variables, strict=True)
    ]


# ------------------------------------------------------------------------------------- repetition


def _repeat(update: Callable[[Any], Scalars], positions: range, names: Sequence[str]) -> Scalars:
    """Runs an update at each position, as a loop if possible; returns sums of its scalars."""
    if len(positions) == 1 or not _can_loop():
        each = [update(position) for position in positions]
        return {name: add_in_order([scalars[name] for scalars in each]) for name in names}

    def body(position: tf.Tensor, sums: Scalars) -> tuple[tf.Tensor, Scalars]:
        scalars = update(position)
        return position + 1, {name: sums[name] + scalars[name] for name in sums}

    start = (tf.constant(positions.start), dict.fromkeys(names, tf.constant(0.0)))
    # One iteration at a time, because each update starts from the one before.
    sums: Scalars = tf.while_loop(
        lambda position, _: position < positions.stop, body, start, parallel_iterations=1
    )[1]
    return sums


def _can_loop() -> bool:
    """Returns whether an optimizer's update may be inside a loop of the program."""
    if not tf.distribute.has_strategy():
        return True
    strategies = (tf.distribute.OneDeviceStrategy, tf.distribute.TPUStrategy)
    return isinstance(tf.distribute.get_strategy(), strategies)


def _chooser(batches: Sequence[Batch]) -> Callable[[Any], Batch]:
    """Returns a function from a position, an int or a tensor, to its batch (or the only one)."""
    if len(batches) == 1:
        return lambda position: batches[0]
    if not _can_loop():
        return lambda position: batches[position]
    stacked = {half: tf.stack([batch[half] for batch in batches]) for half in batches[0]}
    return lambda position: {half: images[position] for half, images in stacked.items()}


def _add_up(each: Iterable[Any]) -> Any:
    """Adds nested structures of tensors, as they come."""
    return functools.reduce(functools.partial(tf.nest.map_structure, operator.add), each)


# -------------------------------------------------------------------------- operators of the losses


def taped_gradient(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of the sum of ``function(x)`` with respect to `x`; differentiable."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x)


def _batch_mean(values: tf.Tensor) -> tf.Tensor:
    """Means over all elements on all replicas; gradients flow back to every replica."""
    mean = tf.reduce_mean(tf.cast(values, tf.float32))
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return mean
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, mean)
