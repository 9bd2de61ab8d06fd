"""The training step is converted to HLO with uint8 input and all networks."""

import pytest
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from tfdeblur import config
from tfdeblur.errors import UserError
from tfdeblur.tpu import lowering
from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep

# Tracing time grows with the number of layers.
TINY = {"workdir": "w", "model": {"name": "srresnet", "width": 4, "blocks": 1}}
CONTENT = {**TINY, "objective": {"name": "content", "losses": {"mae": 1.0}}}
GAN = {
    **TINY,
    "objective": {"name": "wgan_gp", "losses": {"mae": 1.0}, "critic_updates": 2},
    "critic": {"name": "patch_gan", "width": 4, "layers": 1},
}

UINT8, FLOAT32 = 6, 11  # xla.PrimitiveType


def lower(tree, batch=2, **training):
    tree = {**tree, "training": {"global_batch": batch, **training}}
    return lowering.lower(config.resolve(tree), 16, 16)


def arguments(lowered, kind):
    """Returns the shapes of the step's arguments of one type."""
    module = hlo_pb2.HloModuleProto.FromString(lowered.hlo)
    shapes = module.host_program_shape.parameters
    return [list(shape.dimensions) for shape in shapes if shape.element_type == kind]


def convolutions(lowered):
    module = hlo_pb2.HloModuleProto.FromString(lowered.hlo)
    return sum(i.opcode == "convolution" for c in module.computations for i in c.instructions)


@pytest.mark.slow
def test_lower_takes_uint8_images_and_aliases_the_variables():
    lowered = lower(CONTENT)
    assert arguments(lowered, UINT8) == [[2, 16, 16, 3], [2, 16, 16, 3]]
    assert lowered.images == 2
    assert lowered.parameters > 0
    module = hlo_pb2.HloModuleProto.FromString(lowered.hlo)
    # Weights and both moments of the optimizer are updated in place.
    assert len(module.input_output_alias.entries) >= 3 * 8


def test_lower_with_an_unsupported_operation_names_it(monkeypatch):
    own = ReplicaStep.__call__

    def with_text(self, *batches):
        metrics = own(self, *batches)
        text = tf.strings.as_string(metrics["generator/loss"])
        return {**metrics, "generator/loss": tf.strings.to_number(text)}

    monkeypatch.setattr(ReplicaStep, "__call__", with_text)
    with pytest.raises(UserError, match="AsString"):
        lower(CONTENT)


def test_explain_without_an_operation_returns_the_first_line():
    sentence = lowering.explain("\nSomething else\nmore")
    assert "Something else" in sentence and "more" not in sentence
    assert lowering.explain("")


@pytest.mark.slow
def test_lower_includes_critic_averages_and_accumulation():
    content = lower(CONTENT)
    assert lower(GAN).parameters > content.parameters
    averaged = lower(CONTENT, ema_decay=0.9)
    # One average per trained weight: as many as there are first moments.
    averages = (len(arguments(averaged, FLOAT32)) - len(arguments(content, FLOAT32))) * 3
    assert 0 < averages <= len(arguments(content, FLOAT32))
    unsplit, parts = lower(CONTENT, batch=4), lower(CONTENT, batch=4, replica_batch=2)
    assert parts.images == unsplit.images == 4
    assert convolutions(parts) == 2 * convolutions(unsplit) > 0


@pytest.mark.slow
def test_lower_with_fresh_critic_batches_counts_all_images():
    lowered = lower(GAN, fresh_critic_batches=True)
    assert lowered.images == 2 * 3
    assert arguments(lowered, UINT8) == [[2, 16, 16, 3]] * 6


@pytest.mark.slow
def test_lower_of_a_perceptual_loss_downloads_nothing():
    objective = {"name": "content", "losses": {"perceptual": 1.0}}
    chosen = {**objective, "perceptual": {"layer": "block1_conv2"}}
    lowered = lower({**CONTENT, "objective": chosen})
    assert [3, 3, 64, 64] in arguments(lowered, FLOAT32)
