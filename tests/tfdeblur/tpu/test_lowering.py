"""A run's own step becomes HLO: uint8 in, all players in it, the same for the same settings."""

import pytest
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from tfdeblur import config
from tfdeblur.errors import UserError
from tfdeblur.tpu import lowering
from tfdeblur.training.engines.tensorflow.step import ReplicaStep

# Tracing costs as much as there are layers.
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
    """Returns the sizes of the step's arguments of one type."""
    module = hlo_pb2.HloModuleProto.FromString(lowered.hlo)
    shapes = module.host_program_shape.parameters
    return [list(shape.dimensions) for shape in shapes if shape.element_type == kind]


def convolutions(lowered):
    module = hlo_pb2.HloModuleProto.FromString(lowered.hlo)
    return sum(i.opcode == "convolution" for c in module.computations for i in c.instructions)


def test_pixels_come_in_as_uint8_and_variables_keep_their_place():
    lowered = lower(CONTENT)
    assert arguments(lowered, UINT8) == [[2, 16, 16, 3], [2, 16, 16, 3]]
    assert lowered.images == 2
    assert lowered.parameters > 0
    module = hlo_pb2.HloModuleProto.FromString(lowered.hlo)
    # What the optimizer moves, with both of its moments, is written where it was read.
    assert len(module.input_output_alias.entries) >= 3 * 8


def test_an_operation_that_no_tpu_has_is_named(monkeypatch):
    own = ReplicaStep.__call__

    def with_text(self, *batches):
        metrics = own(self, *batches)
        text = tf.strings.as_string(metrics["generator/loss"])
        return {**metrics, "generator/loss": tf.strings.to_number(text)}

    monkeypatch.setattr(ReplicaStep, "__call__", with_text)
    with pytest.raises(UserError, match=r"no TPU can run .*AsString"):
        lower(CONTENT)


def test_a_complaint_without_an_operations_name():
    assert "cannot compile the step: Something else" in lowering.explain("\nSomething else\nmore")
    assert lowering.explain("").endswith("it says no more")


@pytest.mark.slow
def test_the_same_step_has_the_same_fingerprint_and_another_has_not():
    first = lower(CONTENT)
    assert lower(CONTENT).fingerprint == first.fingerprint
    assert lower(CONTENT, batch=4).fingerprint != first.fingerprint
    slower = {**CONTENT, "optimizer": {"learning_rate": 0.5}}
    assert lower(slower).fingerprint != first.fingerprint


@pytest.mark.slow
def test_all_players_averages_and_accumulation_are_in_it():
    content = lower(CONTENT)
    assert lower(GAN).parameters > content.parameters
    averaged = lower(CONTENT, ema_decay=0.9)
    # One average for each weight that learns: as many as there are first moments.
    learned = (len(arguments(averaged, FLOAT32)) - len(arguments(content, FLOAT32))) * 3
    assert 0 < learned <= len(arguments(content, FLOAT32))
    whole, parts = lower(CONTENT, batch=4), lower(CONTENT, batch=4, replica_batch=2)
    assert parts.images == whole.images == 4
    assert convolutions(parts) == 2 * convolutions(whole) > 0


@pytest.mark.slow
def test_a_batch_for_each_move_counts_all_images():
    lowered = lower(GAN, fresh_critic_batches=True)
    assert lowered.images == 2 * 3
    assert arguments(lowered, UINT8) == [[2, 16, 16, 3]] * 6


@pytest.mark.slow
def test_perceptual_losses_need_no_download():
    objective = {"name": "content", "losses": {"perceptual": 1.0}}
    chosen = {**objective, "perceptual": {"layer": "block1_conv2"}}
    lowered = lower({**CONTENT, "objective": chosen})
    assert [3, 3, 64, 64] in arguments(lowered, FLOAT32)
