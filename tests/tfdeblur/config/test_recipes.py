"""What recipes say about their papers, against their configurations."""

import pytest
import yaml

from tfdeblur import config
from tfdeblur.config import recipes

_PLAIN = {"data.vertical_flips"}  # off, because no paper mentions them
_OBJECTIVE = {
    "objective.name",
    "objective.losses",
    "objective.adversarial_weight",
    "objective.critic_updates",
    "objective.perceptual.layer",
    "objective.perceptual.after_activation",
}
# Keys and sections that each paper states.
STATED = {
    "A": _OBJECTIVE
    | {"model.name", "model.blocks", "model.norm", "critic.name", "objective.penalty_weight"}
    | {"optimizer", "schedule", "training", "output"},
    "B": _OBJECTIVE
    | {"model.name", "critic.name", "data.crop", "optimizer.name", "optimizer.learning_rate"}
    | {"training.global_batch"},
    "C": {"model", "critic.name", "critic.conditional", "objective.name", "objective.losses"}
    | {"objective.adversarial_weight"},
    "D": _OBJECTIVE
    | {"model.name", "model.norm", "critic.name", "objective.weight_clip", "optimizer", "output"},
    "E": {"model", "critic", "objective", "data", "optimizer", "schedule", "training"},
}
SYSTEMS = {name: recipes.load(name).about["system"] for name in recipes.names()}
# Its values are those of MIMO-UNet's own paper.
OF_PAPERS = [n for n, system in SYSTEMS.items() if system in STATED and n != "mimo_unet_ablation"]


def leaves(tree, prefix=""):
    """Yields the keys of values that are set, such as `model.width`."""
    for key, value in tree.items():
        path = prefix + key
        if isinstance(value, dict) and not path.endswith("losses"):
            yield from leaves(value, f"{path}.")
        elif value is not None:
            yield path


def covered(key, names):
    return any(key == name or key.startswith(f"{name}.") for name in names)


@pytest.mark.parametrize("name", OF_PAPERS)
def test_values_are_stated_by_the_paper_or_marked_as_chosen(name):
    recipe = recipes.load(name)
    chosen = set(recipe.about["chosen"])
    # One mark says where all of an optimizer or of a schedule is from.
    for section in ("optimizer", "schedule"):
        if any(key.startswith(f"{section}.") for key in chosen):
            chosen.add(section)
    known = chosen | STATED[recipe.about["system"]] | _PLAIN | {"runtime"}
    assert [key for key in leaves(recipe.config) if not covered(key, known)] == []


@pytest.mark.parametrize("name", OF_PAPERS)
def test_values_that_no_paper_states_are_marked(name):
    resolved = yaml.safe_load(config.to_yaml(config.resolve({"recipe": name, "workdir": "w"})))
    chosen = recipes.load(name).about["chosen"]
    of_deblurgan = resolved["model"]["name"] == "deblurgan"
    assert ("model.dropout" in chosen) == of_deblurgan
    assert ("critic.layers" in chosen) == bool(resolved["critic"])
    slope = "slope" in chosen.get("critic.layers", "slope")
    assert slope or SYSTEMS[name] == "A"  # which states it
    with_penalty = resolved["objective"]["name"] == "wgan_gp"
    assert ("objective.penalty_weight" in chosen) == (with_penalty and SYSTEMS[name] in "BCD")


@pytest.mark.parametrize(
    "name", [n for n in recipes.names() if "data_prep.build gopro" in recipes.load(n).about["data"]]
)
def test_recipes_on_gopro_say_how_many_images_their_paper_trained_on(name):
    about = recipes.load(name).about
    if not about["paper"].startswith("none"):
        assert "2,103 pairs" in about["trained_on"] and "--val-share 0" in about["trained_on"]


# What each paper states, by recipe and key.
STATEMENTS = [
    ("deblurgan_resnet9", "optimizer.beta_2", 0.9999),
    ("deblurgan_resnet9", "optimizer.learning_rate", 1e-4),
    ("deblurgan_resnet9", "objective.penalty_weight", 10.0),
    ("deblurgan_resnet9", "objective.losses", {"perceptual": 100.0}),
    ("deblurgan_resnet9", "objective.critic_updates", 5),
    ("deblurgan_resnet9", "critic.norm_first", True),
    ("deblurgan_resnet9", "schedule.start", f"{150 * 2100} images"),
    ("deblurgan_resnet9", "output.save_every", f"{20 * 2100} images"),
    ("deblurgan_resnet6", "model.blocks", 6),
    ("improved_deblurgan", "optimizer.learning_rate", 1e-3),
    ("improved_deblurgan", "data.crop", "256x256"),
    ("improved_deblurgan", "training.duration", f"{400 * 2103} images"),
    ("deblurgan_pro_mimo_gan", "objective.losses", {"mse": 1.0, "perceptual": 0.006}),
    ("deblurgan_pro_srresnet_gan", "objective.adversarial_weight", 1e-3),
    ("deblurgan_pro_srresnet_ragan_ls", "critic.conditional", True),
    ("deblurgan_study_clip", "optimizer.name", "rmsprop"),
    ("deblurgan_study_clip", "optimizer.learning_rate", 5e-5),
    ("deblurgan_study_clip", "objective.weight_clip", 0.01),
    ("unet16_cifar10", "training.duration", "120 epochs"),
    ("resnet16_cifar10", "objective.losses", {"log_cosh": 1.0}),
    ("rednet30_cifar10", "schedule.start", "120 epochs"),
    ("rednet30_cifar10", "schedule.factor", 0.7),
    ("rednet30_reds", "training.duration", "100 epochs"),
    ("rednet30_reds", "training.global_batch", 8 * 32),
    ("msdeblurwgan_cifar10", "objective.adversarial_weight", 1e-4),
    ("msdeblurwgan_cifar10", "training.duration", "150 epochs"),
    ("msdeblurwgan_cifar10", "optimizer.beta_2", 0.9),
    ("msdeblurwgan_reds", "model.blocks", 5),
    ("rednet30wgan_cifar10", "training.duration", "350 epochs"),
]


@pytest.mark.parametrize(("name", "key", "stated"), STATEMENTS)
def test_value_is_that_of_the_paper(name, key, stated):
    value = yaml.safe_load(config.to_yaml(config.resolve({"recipe": name, "workdir": "w"})))
    for part in key.split("."):
        value = value[part]
    assert value == stated
