"""Targets: the size of samples, the batch, and micro-batches."""

import pytest

from tfdeblur import config
from tfdeblur.config import recipes
from tfdeblur.errors import ConfigError
from tfdeblur.tpu.targets import file_target, recipe_target, target_of


def settings(**sections):
    base = {"workdir": "w", "model": "unet16", "objective": "content"}
    return config.resolve({**base, **sections})


def test_recipe_target_of_every_recipe_has_a_size():
    for name in recipes.names():
        target = recipe_target(name)
        assert target.height > 0 and target.width > 0, name


def test_recipe_target_takes_the_size_from_crop_or_build_command():
    def size(name):
        target = recipe_target(name)
        return target.width, target.height

    assert size("nafnet32_gopro") == (256, 256)
    assert size("unet16_cifar10") == (32, 32)
    assert size("unet16_reds") == (128, 96)
    assert size("deblurgan_resnet9") == (256, 256)
    chosen = recipe_target("unet16_reds", image_size=(40, 64))
    assert (chosen.width, chosen.height) == (64, 40)


def test_target_of_samples_of_unknown_size_raises_config_error():
    with pytest.raises(ConfigError, match="--image-size"):
        target_of("mine", settings(), {})


def test_recipe_target_has_the_recipes_batch_by_default():
    assert recipe_target("unet16_cifar10").batch == 256
    assert recipe_target("unet16_cifar10", global_batch=48).batch == 48


def test_stages_are_targets_of_their_own():
    found = recipe_target("restormer_gopro").stages()
    assert [(target.width, target.batch) for target in found] == [
        (128, 64),
        (160, 40),
        (192, 32),
        (256, 16),
        (320, 8),
        (384, 8),
    ]
    # All devices share the batches of all stages.
    assert {target.shared for target in found} == {8}
    assert recipe_target("unet16_reds").stages() == [recipe_target("unet16_reds")]


def test_request_has_another_batch_and_the_same_settings():
    run = settings(
        training={"global_batch": 64, "replica_batch": 3}, data={"crop": 16, "paths": ["d"]}
    )
    target = target_of("mine", run, {})
    assert (target.batch, target.micro_batches(8)) == (64, 4)
    request = target.request(256, 8)
    resolved = config.resolve(request["config"])
    assert (resolved.training.global_batch, resolved.training.replica_batch) == (256, 8)
    assert resolved.model == run.model
    assert request["width"] == 16


def test_file_target_reads_the_configuration(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(settings(recipe="quickstart")))
    target = file_target(str(path))
    assert target.name == str(path)
    assert (target.width, target.batch) == (48, 16)
