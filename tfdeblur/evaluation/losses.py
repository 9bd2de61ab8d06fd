"""The loss of a run's generator on single images, for validation and evaluation."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from tfdeblur import objectives
from tfdeblur.checkpoints.arrays import (
    ArrayMismatch,
    assign_arrays,
    network_variables,
    read_arrays,
)
from tfdeblur.checkpoints.manifest import CRITICS, STATE
from tfdeblur.checkpoints.weights import CHECKPOINTS
from tfdeblur.config import settings
from tfdeblur.config.train import resolve_plug_in
from tfdeblur.errors import DataError, UserError
from tfdeblur.inference import tlc
from tfdeblur.io import files
from tfdeblur.metrics.generator_loss import ADVERSARIAL_LOSS, LOSS
from tfdeblur.models import critics
from tfdeblur.models.critics.critic import Critic
from tfdeblur.models.generator import Generator
from tfdeblur.models.keras_settings import standard_settings
from tfdeblur.objectives.adversarial import ADVERSARIAL
from tfdeblur.objectives.objective import CRITIC, GENERATOR, Objective, View
from tfdeblur.ops import imaging

OMITTED = "omitted_loss"
"""Key of a score card's `about` with the reason why there is no loss."""


class GeneratorLoss:
    """Restores images, and computes the generator's loss on them without a second pass.

    Networks are in inference mode: nothing that training uses changes. No image affects the loss
    of another, so that it does not depend on the batch.

    Args:
        generator: The generator.
        objective: Defines the loss, already prepared.
        critics: The critics by name, as the objective receives them.

    Attributes:
        keys: Keys of the metrics that `per_example` returns.
        critics: As passed.
    """

    def __init__(
        self, generator: Generator, objective: Objective, critics: Mapping[str, Any]
    ) -> None:
        self._generator = generator
        self._objective = objective
        self.critics = critics
        self._in_inference = {name: _in_inference(critic) for name, critic in critics.items()}
        adversarial = ADVERSARIAL in objective.term_names(GENERATOR)
        self.keys = (LOSS, ADVERSARIAL_LOSS) if adversarial else (LOSS,)

    def restore(self, images: Any) -> tuple[Any, tuple[Any, ...]]:
        """Restores images.

        Args:
            images: float32 [B, H, W, 3] in [0, 1].

        Returns:
            The restored images, of the same shape and range but not clipped, and the network's
            outputs, which `per_example` takes.
        """
        with standard_settings():
            outputs = self._generator.network(self._prepared(images), training=False)
        outputs = tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)
        height, width = images.shape[1:3]
        finest = ops.cast(outputs[0][:, :height, :width], "float32")
        return imaging.to_unit(finest, self._generator.value_range), outputs

    def per_example(self, sharp: Any, blurred: Any, outputs: tuple[Any, ...]) -> Any:
        """Computes the loss.

        Args:
            sharp: Target images, float32 [B, H, W, 3] in [0, 1].
            blurred: Their inputs, same shape and range.
            outputs: From `restore`.

        Returns:
            float32 [B, keys].
        """
        view = View(
            blurred=self._prepared(blurred),
            sharp=self._prepared(sharp),
            outputs=outputs,
            critics=self._in_inference,
            data_range=imaging.data_range(self._generator.value_range),
            gradient=_no_gradient,
            uniform=ops.zeros(blurred.shape[0]),
            batch_mean=_mean_of_image,
        )
        with standard_settings():
            loss = self._objective.loss(GENERATOR, view)
        found = {LOSS: loss.per_example, ADVERSARIAL_LOSS: loss.terms.get(ADVERSARIAL)}
        return ops.stack([ops.cast(found[key], "float32") for key in self.keys], axis=1)

    def _prepared(self, images: Any) -> Any:
        padded = imaging.pad_to_multiple(images, self._generator.multiple)
        return imaging.to_range(padded, self._generator.value_range)


def find_loss(
    folder: str | None, generator: Generator | None
) -> tuple[GeneratorLoss | None, dict[str, str]]:
    """Returns the loss that the run of a checkpoint minimizes, if it can be computed.

    Args:
        folder: The checkpoint; None for a network without one.
        generator: Its generator; None for a SavedModel.

    Returns:
        The loss or None, and for a score card the reason if it was omitted.
    """
    if folder is None or generator is None:
        return None, {}
    try:
        return open_loss(folder, generator), {}
    except UserError as error:
        return None, {OMITTED: str(error)}


def open_loss(folder: str, generator: Generator) -> GeneratorLoss:
    """Returns the loss that the run of a checkpoint minimizes.

    Args:
        folder: The checkpoint; its run's `config.yaml` names the objective.
        generator: The generator of the checkpoint.

    Raises:
        UserError: It cannot be computed: the objective or the weights of the critic are not known,
            or the weights of VGG19 are missing.
    """
    config = tlc.config_of(folder)
    if config is None:
        raise UserError(f"{folder} belongs to no run, so its objective is not known.")
    tree = settings.parse_yaml(files.read_text(config), config)
    chosen, problems = resolve_plug_in("objective", tree.get("objective"))
    settings.raise_problems(problems)
    with standard_settings():
        objective = objectives.create(chosen.name, chosen.options)
        objective.prepare()
        built = {}
        if CRITIC in objective.updates:
            critic, problems = resolve_plug_in("critic", tree.get("critic"))
            settings.raise_problems(problems)
            built[CRITIC] = critics.create(critic.name, critic.options)
    read_critics(folder, built)
    return GeneratorLoss(generator, objective, built)


def read_critics(folder: str, built: Mapping[str, Critic]) -> None:
    """Reads the weights of critics that were trained together with a checkpoint's generator.

    Args:
        folder: The checkpoint.
        built: Critics by name; their weights are replaced.

    Raises:
        UserError: They are stored nowhere.
        DataError: They do not fit the critic.
    """
    if not built:
        return
    beside = files.join(files.parent(files.parent(folder)), CHECKPOINTS, files.base_name(folder))
    places = [files.join(folder, CRITICS), files.join(folder, STATE), files.join(beside, STATE)]
    path = next((place for place in places if files.exists(place)), None)
    if path is None:
        raise UserError(
            f"{folder} holds no critic, and {CHECKPOINTS} no state of the same image count. "
            "Evaluate the newest checkpoint, with --checkpoint last."
        )
    stored = read_arrays(path)
    for name, critic in built.items():
        prefix = f"{name}/"
        arrays = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
        try:
            assign_arrays(network_variables(critic.network), arrays)
        except ArrayMismatch as error:
            raise DataError(f"{path} does not hold the weights of the {name}: {error}.") from error


class _Inference:
    """A network that is never in training mode."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.outputs = network.outputs

    def __call__(self, images: Any, training: bool | None = None) -> Any:
        return self._network(images, training=False)


def _in_inference(critic: Any) -> Any:
    """Returns a critic whose scores update no statistics and mix no examples."""
    return dataclasses.replace(critic, network=_Inference(critic.network), mixes_examples=False)


def _mean_of_image(values: Any) -> Any:
    """Means over each image, in place of the batch."""
    axes = tuple(range(1, len(values.shape)))
    return ops.mean(ops.cast(values, "float32"), axis=axes, keepdims=True)


def _no_gradient(function: Any, x: Any) -> Any:
    raise NotImplementedError("The generator's loss takes no gradients.")
