"""Every recipe trains under both engines: two steps of a narrow network on small images."""

import itertools
import math

import numpy as np
import pytest

from tests.helpers import jax_process
from tests.helpers.runs import history
from tests.helpers.tiny_data import write_data_set
from tfdeblur import config, train
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.config import recipes
from tfdeblur.io import files
from tfdeblur.losses import perceptual

# VGG19 up to the layer of the recipes.
LAYERS = perceptual.LAYERS[: perceptual.LAYERS.index("block3_conv3") + 1]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a data set of 32x32 pixels, and VGG19 with random weights."""
    path = tmp_path_factory.mktemp("recipes")
    write_data_set(str(path / "data"), side=32)
    rng = np.random.default_rng(0)
    arrays = {}
    widths = [3, *(perceptual._CHANNELS[layer] for layer in LAYERS)]
    for layer, (before, after) in zip(LAYERS, itertools.pairwise(widths), strict=True):
        kernel = rng.normal(0, math.sqrt(2 / (9 * before)), (3, 3, before, after))
        arrays |= {f"{layer}/kernel": np.float32(kernel), f"{layer}/bias": np.zeros(after, "f")}
    np.savez(path / "vgg19.npz", **arrays)
    return path


def train_under_tensorflow(run_config, repository):
    train.run(run_config)


def train_under_jax(run_config, repository):
    """Trains in a process of its own, since Keras has one backend in a process."""
    pytest.importorskip("jax")
    file = f"{run_config.workdir}.yaml"
    files.write_text(file, config.to_yaml(run_config))
    program = "import sys; from tfdeblur import train; sys.exit(train.main())"
    jax_process.run(program, repository, "--config", file, "--engine", "jax")


@pytest.mark.long
@pytest.mark.timeout(3600)  # deep networks take minutes to compile
@pytest.mark.parametrize("train_with", [train_under_tensorflow, train_under_jax])
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        *((name, ()) for name in recipes.names()),
        ("improved_deblurgan", ({"model": {"separable": "all"}},)),
        ("deblurgan_mse", ({"objective": {"losses": {"fft": 0.1}}},)),
        ("deblurgan_pro_mimo_gan", ({"objective": {"losses": {"fft": 0.1}}},)),
        ("deblurgan_resnet9", ({"objective": {"losses": {"perceptual": 0, "mse": 100}}},)),
        ("deblurgan_resnet9", ({"objective": {"perceptual": {"reduction": "positions"}}},)),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value)),
)
def test_recipe_trains(name, layers, train_with, desk, tmp_path, repository):
    narrow = config.resolve({"recipe": name, "workdir": str(tmp_path)}, *layers)
    tree = {
        "data": {"paths": [str(desk / "data")], "crop": None},
        "model": {"width": 8},
        "training": {"duration": "2 steps", "global_batch": 2, "stages": [], "init_from": None},
        "output": {
            "log_every": "1 steps",
            "validate_every": "2 steps",
            "save_every": "1 steps",
            "keep": "all",
        },
        "schedule": {"name": "constant"},
    }
    if narrow.model.name.startswith("fpn_"):
        tree["model"]["backbone_weights"] = "random"
    if narrow.model.name == "fpn_inception":
        tree["model"] |= {"backbone_width": 4, "backbone_blocks": [1, 1]}
    if narrow.critic:
        tree["critic"] = {"width": 8}
    if narrow.objective.options.losses.get("perceptual"):
        tree["objective"] = {"perceptual": {"weights": str(desk / "vgg19.npz")}}
    workdir = str(tmp_path / "run")
    run_config = config.resolve({"recipe": name, "workdir": workdir}, *layers, tree)
    train_with(run_config, repository)
    rows = history(workdir)
    assert [int(row["images"]) for row in rows] == [2, 4]
    for row in rows:
        assert all(math.isfinite(float(value)) for value in row.values() if value), row
    folder = files.join(workdir, "checkpoints")
    weights = [
        load_generator(files.join(folder, checkpoint))[0].network.get_weights()
        for checkpoint in sorted(files.list_dir(folder))
    ]
    assert len(weights) == 2
    assert any(np.any(a != b) for a, b in zip(*weights, strict=True))
