"""Stages of progressive training: where they begin, and how durations are counted in them."""

import pytest
import yaml

from tfdeblur import config
from tfdeblur.config.stages import Timeline, shared_batch, stage_configs
from tfdeblur.errors import ConfigError


def run(**training):
    schedule = {"name": "cosine", "warmup": "5 steps", "start": "12 steps"}
    schedule["milestones"] = ["8 steps", "14 steps", "1 epochs"]
    return config.resolve(
        {"recipe": "quickstart", "workdir": "run", "training": training, "schedule": schedule}
    )


def timeline(run_config, epoch_images=100):
    batches = [stage.training.global_batch for stage in stage_configs(run_config)]
    return Timeline.of(run_config.training.stages, batches, epoch_images)


STAGES = [
    {"start": "10 steps", "crop": 64},
    {"start": "1.5 epochs", "global_batch": 4},
    {"start": "180 images", "crop": "80x72", "global_batch": 2},
]


def test_stages_keep_what_they_do_not_state():
    stages = stage_configs(run(global_batch=8, stages=STAGES))
    assert [str(stage.data.crop) for stage in stages] == ["48x48", "64x64", "64x64", "80x72"]
    assert [stage.training.global_batch for stage in stages] == [8, 8, 4, 2]


def test_steps_are_counted_across_stages():
    known = timeline(run(global_batch=8, stages=STAGES))
    # The third stage is rounded up to a whole step of 8, the fourth to one of 4.
    assert known.begins == (0, 80, 152, 180)
    assert [known.images(f"{steps} steps") for steps in (0, 1, 10, 19, 20, 26, 30)] == [
        0,
        8,
        80,
        152,
        156,
        180,
        188,
    ]
    assert known.images("2 epochs") == 200 and known.images("7 images") == 7
    assert [known.stage_at(images) for images in (0, 79, 80, 151, 152, 500)] == [0, 0, 1, 1, 2, 3]


def test_rates_follow_the_steps_of_all_stages():
    run_config = run(global_batch=8, stages=[{"start": "10 steps", "global_batch": 2}])
    schedule = timeline(run_config).in_images(run_config).schedule
    assert (schedule.warmup, schedule.start) == ("40 images", "84 images")
    assert schedule.milestones == ("64 images", "88 images", "100 images")


def test_stages_survive_their_file():
    run_config = run(global_batch=8, stages=STAGES)
    assert config.resolve(yaml.safe_load(config.to_yaml(run_config))) == run_config


@pytest.mark.parametrize("start", ["10 steps", "79 images", "0.5 epochs"])
def test_stages_in_another_order_are_refused(start):
    stages = [{"start": "10 steps", "crop": 64}, {"start": start, "crop": 80}]
    with pytest.raises(ConfigError, match=r"training\.stages\.1\.start"):
        timeline(run(global_batch=8, stages=stages))


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ({"start": "5 steps", "crops": 64}, "training.stages.0.crops"),
        ({"start": "soon"}, "training.stages.0.start"),
        ({"crop": 64}, "training.stages.0.start"),
        ({"start": "5 steps", "global_batch": 0}, "training.stages.0.global_batch"),
    ],
)
def test_mistakes_in_stages_name_their_key(stage, key):
    with pytest.raises(ConfigError) as error:
        run(stages=[stage])
    assert key in str(error.value)


def test_devices_share_what_the_batches_of_all_stages_have_in_common():
    assert shared_batch(run(global_batch=8, stages=STAGES)) == 2
    assert shared_batch(run(global_batch=8, stages=())) == 8
