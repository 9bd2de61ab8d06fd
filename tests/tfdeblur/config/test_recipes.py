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


@pytest.mark.parametrize(
    ("name", "frame", "patch"),
    [
        *(
            (f"{network}_reds", "512x288", "128x96")
            for network in ("unet16", "resnet16", "rednet30")
        ),
        ("msdeblurwgan_reds", "256x144", "64x48"),
    ],
)
def test_data_of_system_e_are_built_in_patches_of_the_paper(name, frame, patch):
    command = f"{recipes.load(name).about['data']} "
    assert f"--resize {frame} --tile {patch} --test-tile {patch} " in command
    counts = [
        int(whole) // int(part)
        for whole, part in zip(frame.split("x"), patch.split("x"), strict=True)
    ]
    assert counts == [4, 3]


NETWORKS = ("unet16", "resnet16", "rednet30")
AUTOENCODERS = [f"{network}_{data}" for network in NETWORKS for data in ("cifar10", "reds")]
WGANS = ["msdeblurwgan_cifar10", "msdeblurwgan_reds", "rednet30wgan_cifar10"]
# What each paper states, by recipe and key.
STATEMENTS = [
    ("deblurgan_resnet9", "model.blocks", 9),
    ("deblurgan_resnet9", "model.norm", "batch"),
    ("deblurgan_resnet9", "critic.norm_first", True),
    ("deblurgan_resnet9", "objective.name", "wgan_gp"),
    ("deblurgan_resnet9", "objective.penalty_weight", 10.0),
    ("deblurgan_resnet9", "objective.losses", {"perceptual": 100.0}),
    ("deblurgan_resnet9", "objective.perceptual.layer", "block3_conv3"),
    ("deblurgan_resnet9", "objective.critic_updates", 5),
    ("deblurgan_resnet9", "optimizer.name", "adam"),
    ("deblurgan_resnet9", "optimizer.learning_rate", 1e-4),
    ("deblurgan_resnet9", "optimizer.beta_1", 0.5),
    ("deblurgan_resnet9", "optimizer.beta_2", 0.9999),
    ("deblurgan_resnet9", "schedule.name", "linear"),
    ("deblurgan_resnet9", "schedule.start", f"{150 * 2100} images"),
    ("deblurgan_resnet9", "schedule.final", 0.0),
    ("deblurgan_resnet9", "training.global_batch", 4),
    ("deblurgan_resnet9", "output.save_every", f"{20 * 2100} images"),
    ("deblurgan_resnet9", "output.validate_every", f"{20 * 2100} images"),
    ("deblurgan_resnet6", "model.blocks", 6),
    ("improved_deblurgan", "objective.name", "wgan_gp"),
    ("improved_deblurgan", "objective.critic_updates", 5),
    ("improved_deblurgan", "objective.losses", {"perceptual": 100.0}),
    ("improved_deblurgan", "optimizer.name", "adam"),
    ("improved_deblurgan", "optimizer.learning_rate", 1e-3),
    ("improved_deblurgan", "data.crop", "256x256"),
    ("improved_deblurgan", "training.global_batch", 4),
    ("improved_deblurgan", "training.duration", f"{400 * 2103} images"),
    ("deblurgan_pro_mimo_gan", "critic.residual", True),
    ("deblurgan_pro_mimo_gan", "objective.name", "gan"),
    ("deblurgan_pro_mimo_gan", "objective.losses", {"mse": 1.0, "perceptual": 0.006}),
    ("deblurgan_pro_srresnet_gan", "objective.adversarial_weight", 1e-3),
    ("deblurgan_pro_srresnet_ragan_ls", "critic.conditional", True),
    # The study states no weights for these: they are of DeblurGAN, DeblurGAN-v2 and MIMO-UNet.
    ("deblurgan_pro_mimo_wgan_gp", "objective.name", "wgan_gp"),
    ("deblurgan_pro_mimo_wgan_gp", "objective.losses", {"perceptual": 100.0}),
    ("deblurgan_pro_mimo_ragan_ls", "objective.name", "ragan_ls"),
    ("deblurgan_pro_mimo_ragan_ls", "objective.losses", {"mse": 0.5, "perceptual": 0.006}),
    ("deblurgan_pro_mimo_ragan_ls", "objective.adversarial_weight", 0.01),
    ("deblurgan_pro_mimo_fft", "objective.losses", {"mae": 1.0, "fft": 0.1}),
    ("deblurgan_study_clip", "objective.name", "wgan"),
    ("deblurgan_study_clip", "objective.critic_updates", 5),
    ("deblurgan_study_clip", "objective.weight_clip", 0.01),
    ("deblurgan_study_clip", "optimizer.name", "rmsprop"),
    ("deblurgan_study_clip", "optimizer.learning_rate", 5e-5),
    ("deblurgan_study_gp", "objective.name", "wgan_gp"),
    *(
        (name, *stated)
        for name in AUTOENCODERS + WGANS
        for stated in (
            ("objective.losses", {"log_cosh": 1.0}),
            ("data.horizontal_flips", True),
            ("data.vertical_flips", True),
            ("optimizer.name", "adam"),
        )
    ),
    *((name, "optimizer.learning_rate", 1e-3) for name in AUTOENCODERS),
    *((name, "training.global_batch", 8 * 32) for name in AUTOENCODERS),
    ("unet16_cifar10", "training.duration", "120 epochs"),
    ("resnet16_cifar10", "training.duration", "120 epochs"),
    ("rednet30_cifar10", "training.duration", "200 epochs"),
    *((f"{name}_reds", "training.duration", "100 epochs") for name in NETWORKS),
    ("rednet30_cifar10", "schedule.start", "120 epochs"),
    ("rednet30_cifar10", "schedule.drop", 0.1),
    ("rednet30_cifar10", "schedule.every", "5 epochs"),
    ("rednet30_cifar10", "schedule.factor", 0.7),
    *(
        (name, *stated)
        for name in WGANS
        for stated in (
            ("critic.norm", "layer"),
            ("objective.name", "wgan_gp"),
            ("objective.adversarial_weight", 1e-4),
            ("objective.critic_updates", 5),
            ("objective.penalty_weight", 10.0),
            ("optimizer.learning_rate", 2e-4),
            ("optimizer.beta_1", 0.5),
            ("optimizer.beta_2", 0.9),
        )
    ),
    ("msdeblurwgan_cifar10", "model.blocks", 19),
    ("msdeblurwgan_cifar10", "objective.pyramid", "half_mean"),
    ("msdeblurwgan_cifar10", "training.duration", "150 epochs"),
    ("msdeblurwgan_reds", "model.blocks", 5),
    ("msdeblurwgan_reds", "objective.pyramid", "half_mean"),
    ("msdeblurwgan_reds", "training.duration", "150 epochs"),
    ("rednet30wgan_cifar10", "model.output", "tanh"),
    ("rednet30wgan_cifar10", "training.duration", "350 epochs"),
]


@pytest.mark.parametrize(("name", "key", "stated"), STATEMENTS)
def test_value_is_that_of_the_paper(name, key, stated):
    value = yaml.safe_load(config.to_yaml(config.resolve({"recipe": name, "workdir": "w"})))
    for part in key.split("."):
        value = value[part]
    assert value == stated
