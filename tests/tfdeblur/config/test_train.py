"""The tree of a training run: precedence, two stages of validation, recipes."""

import subprocess
import sys

import pytest
import yaml

from tfdeblur import config
from tfdeblur.config import recipes, settings
from tfdeblur.config.fields import images_of
from tfdeblur.errors import ConfigError

BASE = {"workdir": "w", "model": "unet16", "objective": "content"}


def test_defaults_recipe_file_flags():
    recipe = config.resolve({"recipe": "unet16_cifar10", "workdir": "w"})
    assert recipe.training.global_batch == 256
    changed = config.resolve(
        {"recipe": "unet16_cifar10", "workdir": "w", "training": {"global_batch": 8}},
        {"training": {"duration": "5 steps"}},
    )
    assert (changed.training.global_batch, changed.training.duration) == (8, "5 steps")
    assert changed.optimizer.learning_rate == recipe.optimizer.learning_rate


def test_another_model_than_the_recipes_drops_its_options():
    resolved = config.resolve(
        {"recipe": "rednet30_cifar10", "workdir": "w", "model": {"depth": 20}}
    )
    assert resolved.model.options["depth"] == 20
    resolved = config.resolve({"recipe": "rednet30_cifar10", "workdir": "w"}, {"model": "unet16"})
    assert resolved.model.name == "unet16"
    assert "depth" not in resolved.model.options


def test_errors_of_both_stages_come_together():
    with pytest.raises(ConfigError) as error:
        config.resolve(
            {
                "model": {"name": "rednet30", "depht": 20, "width": -1},
                "objective": "contnt",
                "training": {"global_batch": 0},
                "schedule": {"name": "step"},
                "data": {"crop": "axb"},
            }
        )
    message = str(error.value)
    for part in (
        "model.depht: unknown key. Did you mean 'depth'",
        "model.width: Input should be greater than",
        "objective.name: unknown objective 'contnt'. Did you mean 'content'",
        "training.global_batch",
        "needs `every`",
        "data.crop: must look like 256 or 128x96",
        "workdir: is needed",
    ):
        assert part in message


def test_unknown_recipe_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown recipe 'unet16_cifar'. Did you mean 'unet16_c"):
        config.resolve({"recipe": "unet16_cifar", "workdir": "w"})


def test_unknown_content_loss_suggests_the_nearest():
    with pytest.raises(
        ConfigError, match=r"unknown content loss 'log_cos'. Did you mean 'log_cosh"
    ):
        config.resolve({**BASE, "objective": {"name": "content", "losses": {"log_cos": 1.0}}})


def test_without_a_model_the_known_ones_are_named():
    with pytest.raises(ConfigError, match=r"model: name one of: .*rednet30, resnet16, .*unet16"):
        config.resolve({"workdir": "w", "objective": "content"})


def test_yaml_reads_back_as_the_same_configuration():
    first = config.resolve(
        {
            **BASE,
            "data": {"crop": "128x96", "paths": ["a", "b"], "weights": [0.25, 0.75]},
            "players": {"critic": {"optimizer": {"name": "rmsprop"}}},
            "schedule": {"name": "cosine", "warmup": "500 steps"},
        }
    )
    assert first.data.crop == (96, 128)
    assert config.resolve(yaml.safe_load(config.to_yaml(first))) == first


@pytest.mark.parametrize(
    ("text", "images"),
    [("3 epochs", 300), ("7 steps", 56), ("2.5 epochs", 250), (1234, 1234), ("1e6 images", 10**6)],
)
def test_durations(text, images):
    resolved = config.resolve({**BASE, "training": {"duration": text}})
    duration = resolved.training.duration
    assert images_of(duration, epoch_images=100, global_batch=8) == images


@pytest.mark.parametrize("text", ["3 epoch", "-1 steps", "", "many", True, "1 2 steps"])
def test_durations_that_are_none(text):
    with pytest.raises(ConfigError, match=r"training.duration: must look like"):
        config.resolve({**BASE, "training": {"duration": text}})


@pytest.mark.parametrize(
    ("text", "size"), [("256", (256, 256)), (64, (64, 64)), ("128x96", (96, 128))]
)
def test_sizes(text, size):
    assert config.resolve({**BASE, "data": {"crop": text}}).data.crop == size


@pytest.mark.parametrize(("given", "kept"), [(3, 3), ("5", 5), ("all", "all")])
def test_checkpoints_kept(given, kept):
    resolved = config.resolve({**BASE, "output": {"keep": given}})
    assert resolved.output.keep == kept
    assert config.resolve(yaml.safe_load(config.to_yaml(resolved))) == resolved


@pytest.mark.parametrize("given", [0, -1, True, 2.5, None, "al"])
def test_checkpoints_kept_are_at_least_one(given):
    with pytest.raises(ConfigError, match=r"^output.keep: must be a number of at least 1, or"):
        config.resolve({**BASE, "output": {"keep": given}})


def test_players_fall_back_to_the_common_settings():
    resolved = config.resolve(
        {**BASE, "optimizer": {"learning_rate": 0.1}, "players": {"critic": {"schedule": {}}}}
    )
    optimizer, schedule = resolved.player("critic")
    assert optimizer.learning_rate == 0.1
    assert schedule == config.ScheduleConfig()


def test_players_change_what_they_name_and_keep_the_rest():
    common = {"learning_rate": 0.1, "beta_1": 0.5}
    own = {"optimizer": {"clip_norm": 2.0}, "schedule": {"warmup": "5 steps"}}
    tree = {
        **BASE,
        "optimizer": common,
        "schedule": {"name": "cosine", "final": 0.01},
        "players": {"critic": own},
    }
    optimizer, schedule = config.resolve(tree).player("critic")
    assert optimizer == config.OptimizerConfig(learning_rate=0.1, beta_1=0.5, clip_norm=2.0)
    assert schedule == config.ScheduleConfig(name="cosine", final=0.01, warmup="5 steps")
    assert config.resolve(tree).player("generator")[0].clip_norm is None
    assert own == {"optimizer": {"clip_norm": 2.0}, "schedule": {"warmup": "5 steps"}}


@pytest.mark.parametrize(
    ("player", "hint"),
    [
        ("generater", "Did you mean 'generator'?"),
        ("critics", "Did you mean 'critic'?"),
        ("x", "Known: critic, generator."),
    ],
)
def test_players_that_are_none_are_told(player, hint):
    tree = {"workdir": "w", "recipe": "quickstart"}
    tree["players"] = {player: {"optimizer": {"learning_rate": 3.0}}}
    with pytest.raises(ConfigError, match=f"players.{player}: there is no such player") as told:
        config.resolve(tree)
    assert str(told.value).endswith(hint)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_a_player_with_another_optimizer_begins_with_its_defaults(name):
    tree = {**BASE, "optimizer": {"learning_rate": 0.1}}
    resolved = config.resolve({**tree, "players": {"critic": {"optimizer": {"name": name}}}})
    rate = 0.1 if name == "adam" else 1e-3
    assert resolved.player("critic")[0] == config.OptimizerConfig(name=name, learning_rate=rate)


@pytest.mark.parametrize("part", ["optimizer", "schedule"])
@pytest.mark.parametrize("wrong", [3, "adam", []])
def test_wrong_players_are_told(part, wrong):
    for players in ({"critic": {part: wrong}}, {"critic": wrong}, wrong):
        with pytest.raises(ConfigError, match=r"players"):
            config.resolve({**BASE, "players": players})


@pytest.mark.parametrize(
    "key", ["training.duration", "output.log_every", "output.validate_every", "output.save_every"]
)
@pytest.mark.parametrize("nothing", ["0 steps", "0 images", 0, "0.0 epochs"])
def test_periods_are_more_than_nothing(key, nothing):
    section, name = key.split(".")
    with pytest.raises(ConfigError, match=rf"^{key}: must be more than 0"):
        config.resolve({**BASE, section: {name: nothing}})


def test_the_shortest_period_is_an_image():
    assert images_of("0.2 images", epoch_images=100, global_batch=8) == 1
    assert images_of("0.001 epochs", epoch_images=100, global_batch=8) == 1
    assert images_of("0 epochs", epoch_images=100, global_batch=8) == 0


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_resolves_and_says_where_it_comes_from(name):
    recipe = recipes.load(name)
    resolved = config.resolve({"recipe": name, "workdir": "w"})
    assert resolved.recipe == name
    assert {"paper", "data", "command", "reported", "measured"} <= recipe.about.keys()
    assert f"--recipe {name}" in recipe.about["command"]


def test_help_is_possible_without_tensorflow_or_keras():
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras'): sys.modules[name] = None\n"
        "from tfdeblur import train\n"
        "train.main(['--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--recipe" in done.stdout


def test_to_plain_takes_dataclasses_apart():
    plain = settings.to_plain(config.PlayerConfig(schedule=config.ScheduleConfig()))
    assert plain["schedule"]["name"] == "constant"
    assert plain["optimizer"] is None
