"""Runs training steps under the engine of Keras's backend, for comparisons between engines.

    KERAS_BACKEND=jax python -m tests.helpers.engine_steps REQUEST.json

The request names cases, a folder and a number of devices. The TensorFlow engine writes each
case's initial state, from which the JAX engine starts; both write scalars and final weights.
Draws of the penalty and dropout masks are fixed, so that they are equal in both.
"""

import dataclasses
import json
import os
import re
import sys
from typing import Any

STEPS = 5
BATCH = 16


@dataclasses.dataclass(frozen=True)
class Case:
    """A training run of a few steps.

    Attributes:
        name: Its key, and the name of its files.
        objective: Name of the objective.
        options: Options of the objective.
        model: Name of the generator; a toy network if None.
        model_options: Options of the generator.
        toy: Arguments of `toy_generator`.
        plan: Fields of the step plan beside the batch.
        sections: Sections of the run's configuration.
        optimizer: ``sgd``, or None for the configured one.
        size: Height and width of the images.
        black: Index of the step that receives an image which gives NaN, if any.
        frozen: How long the first layer of a toy network is frozen, such as ``2 steps``, if it is.
    """

    name: str
    objective: str = "content"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    model: str | None = None
    model_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    toy: dict[str, Any] = dataclasses.field(default_factory=dict)
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)
    sections: dict[str, Any] = dataclasses.field(default_factory=dict)
    critic: dict[str, Any] = dataclasses.field(default_factory=lambda: {"layers": 1, "width": 4})
    optimizer: str | None = None
    size: int = 16
    black: int | None = None
    frozen: str | None = None


def main() -> None:
    """Runs the cases of a request."""
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    backend = os.environ["KERAS_BACKEND"]
    devices = request["devices"]
    if backend == "jax":
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    for case in request["cases"]:
        run_case(Case(**case), request["folder"], f"{backend}{devices}")


def run_case(case: Case, folder: str, suffix: str) -> None:
    """Trains one case and writes its scalars and arrays."""
    import keras
    import numpy as np

    from tfdeblur import config, models, objectives
    from tfdeblur.config.train import RuntimeConfig
    from tfdeblur.models import critics
    from tfdeblur.models.generator import Backbone
    from tfdeblur.objectives.objective import CRITIC
    from tfdeblur.training import engines
    from tfdeblur.training import state as state_module
    from tfdeblur.training.engines.engine import StepPlan

    fix_draws()
    engine = engines.create()
    strategy = "one" if suffix.startswith("tensorflow") else "auto"
    # Else TensorFlow's sums depend on timing, and the penalty magnifies their rounding.
    engine.start(0, RuntimeConfig(strategy=strategy, deterministic=True))
    tree: dict[str, Any] = {"workdir": "unused", "model": "unet16", "objective": "content"}
    tree["training"] = {"global_batch": BATCH, "duration": "640 images"}
    tree["optimizer"] = {"learning_rate": 0.003}
    for section, values in case.sections.items():
        tree[section] = {**tree.get(section, {}), **values}
    run_config = config.resolve(tree)
    if case.optimizer == "sgd":
        state_module.make_optimizer = lambda config, rate: keras.optimizers.SGD(rate, momentum=0.9)
    objective = objectives.create(case.objective, case.options)
    if case.black is not None:
        objective = with_nan(objective)
    keras.utils.set_random_seed(1)
    if case.model is None:
        generator = toy_generator(**case.toy)
        if case.frozen:
            variables = generator.network.trainable_variables[:2]
            backbone = Backbone(load=lambda: None, variables=variables, frozen=case.frozen)
            generator = dataclasses.replace(generator, backbone=backbone)
    else:
        generator = models.create(case.model, case.model_options)
    objective.prepare()
    built = (
        {CRITIC: critics.create("patch_gan", case.critic)} if CRITIC in objective.updates else {}
    )
    plan = StepPlan(BATCH, **case.plan)
    state = state_module.TrainingState(
        run_config,
        generator,
        built,
        total_images=640,
        epoch_images=64,
        step_images=plan.step_images(objective),
    )
    start = os.path.join(folder, f"{case.name}-start.npz")
    if suffix == "tensorflow1":
        np.savez(start, **state.arrays())
    with np.load(start) as arrays:
        state.load_arrays(dict(arrays))
    engine.compile(state, objective, plan)
    batches = place(make_batches(case, STEPS * plan.batches(objective)), engine)
    results = [engine.run_steps(batches, 1, 0)]
    gradients = {}
    if case.optimizer == "sgd":
        # Velocities begin at zero: after the generator's first update they are -rate * gradient.
        rate, arrays = run_config.optimizer.learning_rate, state.arrays()
        velocity = re.compile("generator_optimizer/(.*)/momentum")
        gradients = {m[1]: -v / rate for k, v in arrays.items() if (m := velocity.fullmatch(k))}
    results += [engine.run_steps(batches, 1, 0) for _ in range(STEPS - 1)]
    scalars = {
        name: np.array([result.sums[name] for result in results]) for name in results[0].sums
    }
    skipped = np.array([result.skipped for result in results])
    outcome = {f"scalars/{k}": v for k, v in scalars.items()} | {"skipped": skipped}
    outcome |= {f"state/{k}": v for k, v in state.arrays().items()}
    outcome |= {f"gradients/{k}": v for k, v in gradients.items()}
    np.savez(os.path.join(folder, f"{case.name}-{suffix}.npz"), **outcome)


def make_batches(case: Case, count: int) -> list[dict[str, Any]]:
    """Returns random pairs, the same for every engine."""
    import numpy as np

    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        sharp = rng.integers(1, 256, (BATCH, case.size, case.size, 3), dtype=np.uint8)
        if seed == case.black:
            sharp[3] = 0
        found.append({"blurred": sharp // 2 + 64, "sharp": sharp})
    return found


def place(batches: list[dict[str, Any]], engine: Any) -> Any:
    """Returns an iterator of batches in the form that an engine takes."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return iter(jax.device_put(batch, engine._parts) for batch in batches)
    import tensorflow as tf

    return iter(
        tf.data.Dataset.from_generator(
            lambda: iter(batches),
            output_signature={k: tf.TensorSpec(v.shape, tf.uint8) for k, v in batches[0].items()},
        )
    )


def toy_generator(batch_norm=False, dropout=0.0, value_range="unit"):
    """Returns two convolutions, with batch norm and dropout if requested."""
    import keras

    from tfdeblur.models.generator import Generator

    inputs = x = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="tanh")(x)
    if batch_norm:
        x = keras.layers.BatchNormalization()(x)
    if dropout:
        x = keras.layers.Dropout(dropout, seed=1)(x)
    x = keras.layers.Conv2D(3, 3, padding="same", dtype="float32")(x)
    network = keras.Model(inputs, x, name="toy")
    return Generator(network, value_range=value_range, multiple=1, name="toy")


def with_nan(objective):
    """Makes the generator's loss 0 / 0 for a black target."""
    from keras import ops

    from tfdeblur.objectives.objective import GENERATOR

    own = objective.loss

    def loss(network, view):
        found = own(network, view)
        if network != GENERATOR:
            return found
        brightness = ops.mean(view.sharp, axis=(1, 2, 3))
        return dataclasses.replace(found, per_example=found.per_example * (brightness / brightness))

    objective.loss = loss
    return objective


def fix_draws() -> None:
    """Replaces random draws by fixed ones that are equal under both engines."""
    import keras
    import numpy as np
    from keras import ops

    from tfdeblur.models import layers

    table = (np.arange(16 * BATCH).reshape(16, BATCH) * 0.377 % 1.0).astype(np.float32)
    if keras.backend.backend() == "jax":
        import jax.numpy as jnp

        from tfdeblur.training.engines.jax.train_step import TrainStep

        TrainStep._uniform = lambda self, values, update: jnp.asarray(table)[update]
    else:
        import tensorflow as tf

        from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep

        def uniform(self, update, micro):
            count = BATCH // self._plan.micro_batches
            return tf.constant(table)[update][micro * count : (micro + 1) * count]

        ReplicaStep._uniform = uniform

    def dropped(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        height, width, channels = inputs.shape[1:]
        places = np.arange(height * width * channels).reshape(1, height, width, channels)
        mask = ((places * 7919) % 1000 >= 1000 * self.rate).astype(np.float32)
        return inputs * ops.cast(mask / (1 - self.rate), inputs.dtype)

    keras.layers.Dropout.call = layers.Dropout.call = dropped


if __name__ == "__main__":
    main()
