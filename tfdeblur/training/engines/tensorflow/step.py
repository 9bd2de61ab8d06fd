"""One replica's update: gradients, the order of the players' moves, optimizers.

This is the only module that knows `tf.GradientTape`.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfdeblur.models.generator import Generator
from tfdeblur.objectives.objective import GENERATOR, Objective, View
from tfdeblur.ops.imaging import data_range, to_range, uint8_to_unit
from tfdeblur.training.engines.tensorflow.determinism import add_in_turn
from tfdeblur.training.engines.tensorflow.nonfinite import Undo
from tfdeblur.training.state import Player, TrainingState

Batch = Mapping[str, tf.Tensor]
Pair = tuple[tf.Tensor, tf.Tensor]
Outputs = tuple[tf.Tensor, ...]
Scalars = dict[str, tf.Tensor]

# Between the seeds of two moves of one step; a prime, so that seeds of runs do not meet.
_MOVE_STRIDE = 7919

# Among a step's scalars: 1 where it was taken back.
SKIPPED = "skipped"


def taped_gradient(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of the sum of ``function(x)`` with respect to `x`; differentiable."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x)


class ReplicaStep:
    """Updates every player once through the objective's moves, on one replica's images.

    Called inside `strategy.run`. Losses are summed over the replica's images and divided by the
    *global* batch, so that summing gradients over replicas gives the gradient of the global mean;
    Keras's optimizers do that sum.

    While a critic moves, the generator stands still. So a batch is restored once, and that serves
    the critic's updates and then the generator's own. Two things differ from restoring it anew for
    each update, which `share_generator_pass=False` does: dropout draws one mask a step, and moving
    averages of batch norm move once. Where gradients are accumulated, keeping what the gradient
    needs of all micro-batches would cost the memory that they are to save: then the images alone
    are kept, and the generator's own update restores them once more.

    A critic that moves five times in a row is a loop in the program, not five copies of itself:
    the program is smaller and a TPU's compiler is done sooner. Under MirroredStrategy and with
    several workers it is five copies, since their replicas meet in Python at every update.

    Args:
        generator: The network that restores, with its value range.
        objective: Gives the losses and the order of moves.
        state: Players and counters.
        global_batch: Images in one update over all replicas and micro-batches.
        micro_batches: Into how many parts a replica's images are cut; their gradients are added
            up in Python-unrolled code before one update (a conditional around the update fails
            under two replicas).
        share_generator_pass: Restore each batch once a step.
        fresh_critic_batches: Every move has a batch of its own.
        seed: Of the draws that a loss may make.
        skip_nonfinite: Take the whole step back, on all replicas, where a loss, a gradient or a
            weight is not finite; costs a copy of all variables a step. `SKIPPED` says whether.
    """

    def __init__(
        self,
        generator: Generator,
        objective: Objective,
        state: TrainingState,
        *,
        global_batch: int,
        micro_batches: int = 1,
        share_generator_pass: bool = True,
        fresh_critic_batches: bool = False,
        seed: int = 0,
        skip_nonfinite: bool = False,
    ) -> None:
        self._generator = generator
        self._objective = objective
        self._state = state
        self._global_batch = global_batch
        self._micro_batches = micro_batches
        self._fresh = fresh_critic_batches
        # With a batch for each move there is nothing to share.
        self._shares = share_generator_pass and not fresh_critic_batches
        self._seed = seed
        self._undo = Undo(state) if skip_nonfinite else None

    @property
    def batches(self) -> int:
        """How many batches one step takes."""
        return len(self._objective.moves) if self._fresh else 1

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the scalars that a call returns, each a mean over the global batch."""
        names = []
        for player in dict.fromkeys(self._objective.moves):
            terms = self._objective.term_names(player)
            names += [f"{player}/{part}" for part in ("loss", *terms, "gradient_norm")]
        return (*names, SKIPPED) if self._undo else tuple(names)

    def __call__(self, *batches: Batch) -> Scalars:
        """Makes one training step.

        Args:
            *batches: As many as `batches` says, each with ``blurred`` and ``sharp``, uint8
                [replica batch, H, W, 3], fully static.

        Returns:
            Scalars by name; their *sum* over replicas is the mean over the global batch.
        """
        before = self._undo.before() if self._undo else []
        # A player that moves several times a step reports the mean over its moves.
        metrics = dict.fromkeys(self.metric_names, tf.constant(0.0))
        if self._shares and self._micro_batches == 1:
            self._restore_once(batches[0], metrics)
        else:
            self._restore_often(batches, metrics)
        self._state.update_average()
        if self._undo:
            metrics[SKIPPED] = self._undo.unless_sound(before, list(metrics.values()))
        return metrics

    def _restore_once(self, batch: Batch, metrics: Scalars) -> None:
        """Makes all moves with one taped pass of the generator."""
        *others, (name, last, _) = self._rows()
        pair = self._micro(batch)[0]
        with tf.GradientTape() as tape:
            outputs = self._outputs(pair[0])
            with tape.stop_recording():
                for row in others:
                    self._report(row[0], self._moves(*row, [batch], [outputs]), metrics)
            scaled, scalars = self._loss(name, last, 0, pair, outputs)
        gradients = tape.gradient(scaled, self._state.players[name].variables)
        self._report(name, self._update(name, gradients, scalars), metrics)

    def _restore_often(self, batches: Sequence[Batch], metrics: Scalars) -> None:
        """Makes all moves, the generator's own with a pass of its own."""
        kept: list[Outputs] | None = None
        for name, first, count in self._rows():
            own = batches[first : first + count] if self._fresh else batches
            if self._shares and kept is None and name != GENERATOR:
                kept = [self._outputs(blurred) for blurred, _ in self._micro(own[0])]
            restored = None if name == GENERATOR else kept
            self._report(name, self._moves(name, first, count, own, restored), metrics)

    def _rows(self) -> list[tuple[str, int, int]]:
        """Returns each player's moves in a row: its name, its first move and their number."""
        rows = []
        first = 0
        for name, group in itertools.groupby(self._objective.moves):
            count = len(list(group))
            rows.append((name, first, count))
            first += count
        return rows

    def _moves(
        self,
        name: str,
        first: int,
        count: int,
        batches: Sequence[Batch],
        restored: Sequence[Outputs] | None,
    ) -> Scalars:
        """Moves one player several times in a row.

        Args:
            name: The player's.
            first: Place of the first move among all of the step.
            count: How many.
            batches: One for all moves, or one for each.
            restored: By micro-batch, what the generator makes of the one batch, where it is known.

        Returns:
            The sums of the moves' scalars.
        """
        if count == 1 or not _can_loop():
            made = [
                self._move(name, first + i, batches[i % len(batches)], restored)
                for i in range(count)
            ]
            return {key: add_in_turn([scalars[key] for scalars in made]) for key in made[0]}
        stacked = {half: tf.stack([batch[half] for batch in batches]) for half in batches[0]}

        def move_and_add(index: tf.Tensor, sums: Scalars) -> tuple[tf.Tensor, Scalars]:
            place = 0 if len(batches) == 1 else index
            batch = {half: images[place] for half, images in stacked.items()}
            scalars = self._move(name, first + index, batch, restored)
            return index + 1, {key: sums[key] + scalars[key] for key in sums}

        names = [key for key in self.metric_names if key.startswith(f"{name}/")]
        start = (tf.constant(0), dict.fromkeys(names, tf.constant(0.0)))
        # One move at a time, as their order asks: kernels of a CPU may keep what they work on.
        sums: Scalars = tf.while_loop(
            lambda index, _: index < count, move_and_add, start, parallel_iterations=1
        )[1]
        return sums

    def _move(
        self, name: str, move: Any, batch: Batch, restored: Sequence[Outputs] | None
    ) -> Scalars:
        """Updates one player; the generator restores the batch under its own tape.

        Args:
            name: The player's.
            move: Place among the step's moves, an int or an int32 scalar.
            batch: What it learns from.
            restored: As for `_moves`.
        """
        pairs = self._micro(batch)
        if restored is None and name != GENERATOR:
            restored = [self._outputs(blurred) for blurred, _ in pairs]
        variables = self._state.players[name].variables
        gradients: list[Any] = []
        scalars: Scalars = {}
        for micro, pair in enumerate(pairs):
            with tf.GradientTape() as tape:
                outputs = self._outputs(pair[0]) if restored is None else restored[micro]
                scaled, parts = self._loss(name, move, micro, pair, outputs)
            part = tape.gradient(scaled, variables)
            gradients = _add(gradients, part) if micro else part
            scalars = {key: scalars[key] + parts[key] for key in scalars} if micro else parts
        return self._update(name, gradients, scalars)

    def _loss(
        self, name: str, move: Any, micro: int, pair: Pair, outputs: Outputs
    ) -> tuple[tf.Tensor, Scalars]:
        """Returns a player's share of the global mean loss, and the scalars to report."""
        view = self._view(move, micro, pair, outputs)
        loss = self._objective.loss(name, view)
        scaled = tf.reduce_sum(loss.per_example) / self._global_batch
        terms = {
            f"{name}/{term}": tf.reduce_sum(value) / self._global_batch
            for term, value in loss.terms.items()
        }
        return scaled, {f"{name}/loss": scaled, **terms}

    def _micro(self, batch: Batch) -> list[Pair]:
        """Cuts the batch, and turns uint8 into the generator's range at the last moment."""
        blurred = tf.split(batch["blurred"], self._micro_batches)
        sharp = tf.split(batch["sharp"], self._micro_batches)
        value_range = self._generator.value_range
        return [
            tuple(to_range(uint8_to_unit(images), value_range) for images in pair)
            for pair in zip(blurred, sharp, strict=True)
        ]

    def _outputs(self, blurred: tf.Tensor) -> Outputs:
        outputs = self._generator.network(blurred, training=True)
        return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)

    def _view(self, move: Any, micro: int, pair: Pair, outputs: Outputs) -> View:
        blurred, sharp = pair
        return View(
            blurred=blurred,
            sharp=sharp,
            outputs=outputs,
            networks=self._state.opponents,
            data_range=data_range(self._generator.value_range),
            gradient=taped_gradient,
            uniform=self._uniform(move, micro),
            batch_mean=_batch_mean,
        )

    def _uniform(self, move: Any, micro: int) -> tf.Tensor:
        """Draws one number for each image: by seed, images seen, move, and place in the batch."""
        seed = [self._seed + _MOVE_STRIDE * tf.cast(move, tf.int64), self._state.images.value()]
        # Philox whatever the device; XLA has its own numbers even so.
        draws = tf.random.stateless_uniform([self._global_batch], tf.stack(seed), alg="philox")
        context = tf.distribute.get_replica_context()
        # Not the batch's own shape: several workers' iterators do not know theirs.
        share = self._global_batch // context.num_replicas_in_sync
        count = share // self._micro_batches
        first = context.replica_id_in_sync_group * share + micro * count
        return tf.slice(draws, [first], [count])

    def _update(self, name: str, gradients: Sequence[tf.Tensor], parts: Scalars) -> Scalars:
        """Moves one player; returns what is to be reported of it."""
        norm = self._apply(self._state.players[name], gradients)
        return {**parts, f"{name}/gradient_norm": norm}

    def _report(self, name: str, sums: Scalars, metrics: Scalars) -> None:
        """Adds a player's share of the means over its moves."""
        for key, value in sums.items():
            metrics[key] += value / self._objective.moves.count(name)

    def _apply(self, player: Player, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Updates one player; returns its share of the reported gradient norm.

        Clipping by the global norm needs the gradient of the whole batch, so it is summed over
        replicas first and divided again, since the optimizer sums as well. Without clipping
        nothing travels twice, and the norm is the mean of the replicas' own.
        """
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        if player.clip_norm is None:
            # A replica's gradient is its share of a sum; times the count it is a mean itself.
            norm = tf.linalg.global_norm(gradients) * replicas
        else:
            if replicas > 1:
                gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
            gradients, norm = tf.clip_by_global_norm(gradients, player.clip_norm)
            gradients = [gradient / replicas for gradient in gradients]
        player.optimizer.apply(gradients, player.variables)
        limit = self._objective.weight_clip.get(player.name)
        if limit is not None:
            for variable in player.variables:
                variable.assign(tf.clip_by_value(variable.value, -limit, limit))
        return norm / replicas


def _can_loop() -> bool:
    """Tells whether an update may stand in a loop of the program."""
    if not tf.distribute.has_strategy():
        return True
    strategies = (tf.distribute.OneDeviceStrategy, tf.distribute.TPUStrategy)
    return isinstance(tf.distribute.get_strategy(), strategies)


def _batch_mean(values: tf.Tensor) -> tf.Tensor:
    """Means over all elements on all replicas; gradients flow back to every replica."""
    mean = tf.reduce_mean(tf.cast(values, tf.float32))
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return mean
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, mean)


def _add(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    return [a + b for a, b in zip(left, right, strict=True)]
