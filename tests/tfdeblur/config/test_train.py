"""The configuration of a training run: precedence, validation, recipes."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field

from tfdeblur import config, models, objectives, presets
from tfdeblur.config import recipes, settings
from tfdeblur.config.fields import images_of
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import ConfigError

BASE = {"workdir": "w", "model": "unet16", "objective": "content"}


def test_layers_override_recipe_and_defaults():
    recipe = config.resolve({"recipe": "unet16_cifar10", "workdir": "w"})
    assert recipe.training.global_batch == 256
    changed = config.resolve(
        {"recipe": "unet16_cifar10", "workdir": "w", "training": {"global_batch": 8}},
        {"training": {"duration": "5 steps"}},
    )
    assert (changed.training.global_batch, changed.training.duration) == (8, "5 steps")
    assert changed.optimizer.learning_rate == recipe.optimizer.learning_rate


def test_model_other_than_that_of_recipe_drops_its_options():
    resolved = config.resolve(
        {"recipe": "rednet30_cifar10", "workdir": "w", "model": {"depth": 20}}
    )
    assert resolved.model.options.depth == 20
    resolved = config.resolve({"recipe": "rednet30_cifar10", "workdir": "w"}, {"model": "unet16"})
    assert resolved.model.name == "unet16"
    assert not hasattr(resolved.model.options, "depth")


def test_errors_of_plug_ins_and_core_are_listed_together():
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
    assert message.startswith("7 configuration errors:")
    for part in (
        r"model\.depht: .*'depth'",
        r"model\.width: .*; got -1",
        r"objective\.name: .*'contnt'.*'content'",
        r"training\.global_batch: must be at least 1; got 0",
        r"schedule: .*`every`",
        r"data\.crop: .*; got 'axb'",
        r"workdir: is required",
    ):
        assert re.search(part, message), part


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"critic": 3}, "critic"),
        ({"critic": ["patch_gan"]}, "critic"),
        ({"data": {"crop": [256, None]}}, r"data\.crop"),
        ({"data": {"crop": [256, "x"]}}, r"data\.crop"),
        ({"seed": 2**32}, "seed"),
    ],
)
def test_values_of_another_type_are_named(change, key):
    tree = {"recipe": "rednet30wgan_cifar10", "workdir": "w", **change}
    with pytest.raises(ConfigError, match=rf"^{key}"):
        config.resolve(tree)


def test_unknown_recipe_suggests_near_name():
    with pytest.raises(ConfigError, match=r"'unet16_cifar'.*'unet16_cifar10'"):
        config.resolve({"recipe": "unet16_cifar", "workdir": "w"})


def test_unknown_content_loss_suggests_near_name():
    with pytest.raises(ConfigError, match=r"^objective\.losses: .*'log_cos'.*'log_cosh'"):
        config.resolve({**BASE, "objective": {"name": "content", "losses": {"log_cos": 1.0}}})


def test_missing_model_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"^model: is required: .*rednet30, resnet16, .*unet16"):
        config.resolve({"workdir": "w", "objective": "content"})


def test_to_yaml_resolves_to_equal_configuration():
    first = config.resolve(
        {
            **BASE,
            "data": {"crop": "128x96", "paths": ["a", "b"], "weights": [0.25, 0.75]},
            "networks": {"critic": {"optimizer": {"name": "rmsprop"}}},
            "schedule": {"name": "cosine", "warmup": "500 steps"},
        }
    )
    assert first.data.crop == (96, 128)
    assert config.resolve(yaml.safe_load(config.to_yaml(first))) == first


@pytest.mark.parametrize(
    ("text", "images"),
    [("3 epochs", 300), ("7 steps", 56), ("2.5 epochs", 250), (1234, 1234), ("1e6 images", 10**6)],
)
def test_duration_is_converted_to_images(text, images):
    resolved = config.resolve({**BASE, "training": {"duration": text}})
    duration = resolved.training.duration
    assert images_of(duration, epoch_images=100, global_batch=8) == images


@pytest.mark.parametrize("text", ["3 epoch", "-1 steps", "", "many", True, "1 2 steps"])
def test_invalid_duration_is_an_error(text):
    with pytest.raises(ConfigError, match=r"^training\.duration: "):
        config.resolve({**BASE, "training": {"duration": text}})


@pytest.mark.parametrize(
    ("text", "size"), [("256", (256, 256)), (64, (64, 64)), ("128x96", (96, 128))]
)
def test_size_is_height_and_width(text, size):
    assert config.resolve({**BASE, "data": {"crop": text}}).data.crop == size


@pytest.mark.parametrize(("given", "kept"), [(3, 3), ("5", 5), ("all", "all")])
def test_keep_reads_back_from_yaml(given, kept):
    resolved = config.resolve({**BASE, "output": {"keep": given}})
    assert resolved.output.keep == kept
    assert config.resolve(yaml.safe_load(config.to_yaml(resolved))) == resolved


@pytest.mark.parametrize("given", [0, -1, True, 2.5, None, "al"])
def test_invalid_keep_is_an_error(given):
    with pytest.raises(ConfigError, match=r"^output\.keep: "):
        config.resolve({**BASE, "output": {"keep": given}})


def test_network_without_own_settings_has_the_common_ones():
    resolved = config.resolve(
        {**BASE, "optimizer": {"learning_rate": 0.1}, "networks": {"critic": {"schedule": {}}}}
    )
    optimizer, schedule = resolved.for_network("critic")
    assert optimizer.learning_rate == 0.1
    assert schedule == config.ScheduleConfig()


def test_network_settings_override_single_common_values():
    common = {"learning_rate": 0.1, "beta_1": 0.5}
    own = {"optimizer": {"clip_norm": 2.0}, "schedule": {"warmup": "5 steps"}}
    tree = {
        **BASE,
        "optimizer": common,
        "schedule": {"name": "cosine", "final": 0.01},
        "networks": {"critic": own},
    }
    optimizer, schedule = config.resolve(tree).for_network("critic")
    assert optimizer == config.OptimizerConfig(learning_rate=0.1, beta_1=0.5, clip_norm=2.0)
    assert schedule == config.ScheduleConfig(name="cosine", final=0.01, warmup="5 steps")
    assert config.resolve(tree).for_network("generator")[0].clip_norm is None
    assert own == {"optimizer": {"clip_norm": 2.0}, "schedule": {"warmup": "5 steps"}}


@pytest.mark.parametrize(
    ("network", "hint"),
    [("generater", "'generator'"), ("critics", "'critic'"), ("x", "critic, generator")],
)
def test_unknown_network_suggests_near_name(network, hint):
    tree = {"workdir": "w", "recipe": "quickstart"}
    tree["networks"] = {network: {"optimizer": {"learning_rate": 3.0}}}
    with pytest.raises(ConfigError, match=rf"^networks\.{network}: .*{hint}"):
        config.resolve(tree)


def test_unknown_key_in_network_suggests_near_name():
    tree = {**BASE, "networks": {"critic": {"optimizer": {"lerning_rate": 3.0}}}}
    with pytest.raises(
        ConfigError, match=r"^networks\.critic\.optimizer\.lerning_rate: .*'learning_rate'"
    ):
        config.resolve(tree)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_network_with_another_optimizer_has_its_defaults(name):
    tree = {**BASE, "optimizer": {"learning_rate": 0.1}}
    resolved = config.resolve({**tree, "networks": {"critic": {"optimizer": {"name": name}}}})
    rate = 0.1 if name == "adam" else 1e-3
    assert resolved.for_network("critic")[0] == config.OptimizerConfig(
        name=name, learning_rate=rate
    )


@pytest.mark.parametrize("part", ["optimizer", "schedule"])
@pytest.mark.parametrize("wrong", [3, "adam", []])
def test_invalid_network_section_is_an_error(part, wrong):
    for networks in ({"critic": {part: wrong}}, {"critic": wrong}, wrong):
        with pytest.raises(ConfigError, match=r"^networks"):
            config.resolve({**BASE, "networks": networks})


@pytest.mark.parametrize(
    "key", ["training.duration", "output.log_every", "output.validate_every", "output.save_every"]
)
@pytest.mark.parametrize("nothing", ["0 steps", "0 images", 0, "0.0 epochs"])
def test_period_of_zero_is_an_error(key, nothing):
    section, name = key.split(".")
    with pytest.raises(ConfigError, match=rf"^{key}: "):
        config.resolve({**BASE, section: {name: nothing}})


def test_short_period_is_at_least_one_image():
    assert images_of("0.2 images", epoch_images=100, global_batch=8) == 1
    assert images_of("0.001 epochs", epoch_images=100, global_batch=8) == 1
    assert images_of("0 epochs", epoch_images=100, global_batch=8) == 0


@pytest.mark.parametrize("name", recipes.names())
def test_recipe_resolves_and_cites_its_source(name):
    recipe = recipes.load(name)
    resolved = config.resolve({"recipe": name, "workdir": "w"})
    assert resolved.recipe == name
    about = {"paper", "trained_on", "data", "command", "reported", "measured", "chosen"}
    assert about <= recipe.about.keys()
    assert f"--recipe {name}" in recipe.about["command"]


@pytest.mark.parametrize(
    "name", [name for name in recipes.names() if recipes.load(name).about["measured"]]
)
def test_measured_scores_state_their_training(name):
    measured = recipes.load(name).about["measured"]
    scores = {"psnr_db", "ssim", "mse", "mae", "log_cosh"}
    required = {*scores, "images", "device"}
    own = {"loss", "adversarial_loss"} if "critic" in recipes.load(name).config else set()
    required |= own
    assert required <= measured.keys() <= required | {"hours", "preset"}
    if "preset" in measured:
        training = presets.load(measured["preset"]).training
        expected = (training.images, training.device, training.hours)
        assert (measured["images"], measured["device"], measured.get("hours")) == expected


@pytest.mark.parametrize("name", recipes.names())
def test_values_marked_as_chosen_are_those_of_the_recipe(name):
    tree = yaml.safe_load(config.to_yaml(config.resolve({"recipe": name, "workdir": "w"})))
    for key in recipes.load(name).about["chosen"]:
        value = tree
        for part in key.split("."):
            value = value[part]
        assert value is not None, key


def recipe_config(name, *layers):
    return config.resolve({"recipe": name, "workdir": "w"}, *layers)


@pytest.mark.parametrize("name", [n for n in recipes.names() if n.startswith("deblurgan_pro_mimo")])
def test_networks_of_system_c_are_pure_and_share_a_range(name):
    options = recipe_config(name).model.options
    assert (options.mise, options.mosd, options.aff) == (False, False, False)
    assert options.value_range == "signed"


@pytest.mark.parametrize("name", [n for n in recipes.names() if n.startswith("deblurgan_study")])
def test_networks_of_system_d_have_instance_norm(name):
    assert recipe_config(name).model.options.norm == "instance"


def test_synthetic_paths_of_system_d_suit_the_size_of_its_frames():
    for name in ("deblurgan_study_gp_synthetic", "deblurgan_study_clip_synthetic"):
        words = recipes.load(name).about["data"].split()
        assert words[words.index("--resize") + 1] == "256x256"
        whole = Degradation(blur="trajectory").length
        length = whole * 256 / (1280 * 720) ** 0.5
        assert float(words[words.index("--length") + 1]) == pytest.approx(length)


@pytest.mark.parametrize(
    ("name", "pairs", "epochs"),
    [
        ("deblurgan_resnet9", 2103, 300),
        ("deblurgan_mse", 2103, 300),
        ("deblurgan_study_gp", round(2103 * 0.1667), 300),
    ],
)
def test_epochs_of_systems_a_and_d_drop_the_remainder(name, pairs, epochs):
    training = recipe_config(name).training
    steps = epochs * (pairs // training.global_batch)
    assert training.duration == f"{steps * training.global_batch} images"


def test_ablations_of_system_a_differ_in_one_place():
    whole, equal = recipe_config("deblurgan_resnet9"), recipe_config("deblurgan_equal_updates")
    once = dataclasses.replace(whole.objective.options, critic_updates=1)
    assert equal.objective.options == once
    assert (equal.model, equal.critic, equal.training) == (
        whole.model,
        whole.critic,
        whole.training,
    )
    plain = recipe_config("deblurgan_mse")
    assert plain.critic is None and plain.objective.options.losses == {"mse": 1.0}
    assert (plain.model, plain.optimizer) == (whole.model, whole.optimizer)


def test_both_columns_of_system_b_share_their_protocol():
    improved = recipe_config("improved_deblurgan")
    baseline = recipe_config("improved_deblurgan_baseline")
    assert (improved.model.name, baseline.model.name) == ("dense_deblurgan", "deblurgan")
    same = dataclasses.replace(baseline, model=improved.model, recipe=improved.recipe)
    assert same == improved


def test_recipe_of_the_ablation_takes_its_parts_as_flags():
    first = recipe_config("mimo_unet_ablation")
    assert first.objective.options.losses == {"mae": 1.0, "fft": 0.0}
    parts = {"mise": True, "mosd": True, "aff": True}
    last = recipe_config(
        "mimo_unet_ablation", {"model": parts, "objective": {"losses": {"fft": 0.1}}}
    )
    paper = recipe_config("mimo_unet_gopro")
    assert dataclasses.replace(last, recipe=paper.recipe) == paper


def test_help_without_tensorflow_and_keras_is_printed():
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras'): sys.modules[name] = None\n"
        "from tfdeblur import train\n"
        "train.main(['--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--recipe" in done.stdout


def test_to_plain_of_nested_dataclass_is_nested_dict():
    plain = settings.to_plain(config.NetworkConfig(schedule=config.ScheduleConfig()))
    assert plain["schedule"]["name"] == "constant"
    assert plain["optimizer"] is None


def test_key_without_its_section_suggests_the_section():
    with pytest.raises(ConfigError, match=r"^learning_rate: .*'optimizer\.learning_rate'"):
        config.resolve({**BASE, "learning_rate": 0.1})


def test_plug_in_options_are_validated_once(monkeypatch):
    checked = []
    check = settings.check

    def counted(config_class, *arguments):
        checked.append(config_class)
        return check(config_class, *arguments)

    monkeypatch.setattr(settings, "check", counted)
    resolved = config.resolve(BASE, {"model": {"width": 4}})
    generator = models.create(resolved.model.name, resolved.model.options)
    objectives.create(resolved.objective.name, resolved.objective.options)
    assert generator.options["width"] == 4
    assert checked.count(config.MODELS.options("unet16")) == 1
    assert checked.count(config.OBJECTIVES.options("content")) == 1


@pytest.mark.parametrize(("value", "read"), [(True, "on"), (False, "off"), ("auto", "auto")])
def test_yaml_on_and_off_are_choices_of_xla(value, read):
    assert config.resolve({**BASE, "runtime": {"xla": value}}).runtime.xla == read


@pytest.mark.parametrize(
    ("value", "read"),
    [(True, "on"), (False, "off"), ("true", "on"), ("off", "off"), (None, "auto")],
)
def test_cache_takes_switches_of_earlier_versions(value, read):
    layers = [] if value is None else [{"data": {"cache": value}}]
    assert config.resolve(BASE, *layers).data.cache == read


def test_home_directory_in_paths_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    weights = {"name": "content", "perceptual": {"weights": "~/vgg.npz"}}
    resolved = config.resolve(
        {
            **BASE,
            "workdir": "~/run",
            "objective": weights,
            "data": {"paths": ["~/data", "a~/b"]},
            "training": {"init_from": "~"},
        }
    )
    assert resolved.workdir == f"{tmp_path}/run"
    assert resolved.data.paths == (f"{tmp_path}/data", "a~/b")
    assert resolved.training.init_from == str(tmp_path)
    assert resolved.objective.options.perceptual.weights == f"{tmp_path}/vgg.npz"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    rate: Annotated[float, Field(gt=0)] = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Union:
    window: Annotated[int, Field(ge=1)] | Literal["auto", "off"] | None = None
    sizes: tuple[int, ...] | Annotated[int, Field(ge=1)] = 1
    weights: Mapping[str, Annotated[float, Field(gt=0)]] | None = None
    part: Part | Literal["none"] = "none"


@pytest.mark.parametrize(
    ("tree", "path", "parts"),
    [
        ({"window": "x"}, "window", ("integer", "'auto' or 'off'", "got 'x'")),
        ({"window": "atuo"}, "window", ("Did you mean 'auto'?",)),
        ({"sizes": [1, "x"]}, "sizes.1", ("integer",)),
        ({"weights": {"int": 1.0, "float": -1.0}}, "weights.float", ("0", "got -1")),
        ({"part": {"rate": 0}}, "part.rate", ("0", "got 0")),
    ],
)
def test_error_in_union_names_the_key_only(tree, path, parts):
    """Pydantic's location also has the alternatives of the union, such as `tuple[int, ...]`."""
    _, problems = settings.check(Union, tree)
    (problem,) = [problem for problem in problems if problem.path == path]
    assert all(part in problem.message for part in parts)
    known = {path, path.partition(".")[0]}  # the other alternatives fail at the key itself
    assert {problem.path for problem in problems} <= known
