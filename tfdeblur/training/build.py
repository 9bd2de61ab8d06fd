"""Builds the parts of a run that depend on the engine: the training state and the loop."""

import tensorflow as tf

from tfdeblur.config import TrainConfig
from tfdeblur.data.inputs import check_crop
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.models import critics
from tfdeblur.objectives.objective import CRITIC, Objective
from tfdeblur.training.engines.tensorflow import runtime
from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine
from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep
from tfdeblur.training.loop import Loop
from tfdeblur.training.state import TrainingState
from tfdeblur.training.supervisor import Supervisor
from tfdeblur.training.user_inputs import Model, make_generator


def build_state(
    config: TrainConfig,
    data: TrainingData,
    objective: Objective,
    model: Model | None,
    *,
    total_images: int,
    step_images: int,
) -> TrainingState:
    """Builds networks and optimizers; must be called under the strategy's scope.

    Args:
        config: The run.
        data: The training data.
        objective: Provides the losses; its networks are built.
        model: A network in place of the configured one.
        total_images: Images at the end of the run.
        step_images: Images per step.

    Raises:
        ConfigError: The generator cannot take images of this size.
    """
    generator = make_generator(config, model)
    check_crop(data, generator)
    # After the generator, whose initial weights depend on the seed alone.
    objective.prepare()
    built = {}
    if config.critic is not None:
        built[CRITIC] = critics.create(config.critic.name, config.critic.options)
    return TrainingState(
        config,
        generator,
        built,
        total_images=total_images,
        epoch_images=data.records,
        step_images=step_images,
    )


def build_loop(
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    state: TrainingState,
    objective: Objective,
    supervisor: Supervisor,
    *,
    micro_batches: int,
    step_images: int,
) -> Loop:
    """Builds the step, the engine that runs it, and the loop.

    Args:
        config: The run.
        strategy: Places the run on devices.
        state: The training state.
        objective: Provides the losses and the order of updates.
        supervisor: Watches the calls of the loop.
        micro_batches: Parts of a replica's batch whose gradients are accumulated.
        step_images: Images per step.
    """
    training = config.training
    step = ReplicaStep(
        state.generator,
        objective,
        state,
        global_batch=training.global_batch,
        micro_batches=micro_batches,
        share_generator_pass=training.share_generator_pass,
        fresh_critic_batches=training.fresh_critic_batches,
        seed=config.seed,
        skip_nonfinite=config.guards.on_nonfinite == "skip",
    )
    engine = TensorFlowEngine(
        strategy,
        step,
        state,
        step_images=step_images,
        jit_compile=config.runtime.xla == "on",
        several_workers=runtime.spans_workers(strategy),
    )
    return Loop(
        engine,
        state,
        step_images=step_images,
        epoch_images=state.epoch_images,
        steps_per_loop=config.runtime.steps_per_loop,
        max_skips=config.guards.max_consecutive_skips,
        watch=supervisor.watch,
    )
