"""The benchmark that counts parameters and multiply-adds, against closed forms."""

import json
import re

import keras
import pytest
from keras import layers

from benchmarks import model_cost


def test_closed_form_of_each_kind_of_layer():
    images = x = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 5, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(16, 3, strides=2, padding="same")(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.SeparableConv2D(4, 3, padding="same")(x)
    x = layers.Conv2DTranspose(2, 4, strides=2, padding="same")(x)
    x = layers.Dense(3)(x)
    counted = model_cost.cost(keras.Model(images, x), 32)
    full, half = 32 * 32, 16 * 16
    assert counted.multiply_adds == (
        full * 25 * 3 * 8
        + half * 9 * 8 * 16
        + half * 9 * 16
        + half * (9 * 16 + 16 * 4)
        + half * 16 * 4 * 2
        + full * 2 * 3
    )
    # Biases and the learned half of batch norm count, its moving statistics do not.
    assert counted.parameters == sum(
        (75 * 8 + 8, 2 * 8, 72 * 16 + 16, 9 * 16 + 16, 9 * 16 + 16 * 4 + 4, 16 * 8 + 2, 2 * 3 + 3)
    )


def test_a_layer_that_is_called_twice_counts_twice():
    images = keras.Input((None, None, 3))
    layer = layers.Conv2D(3, 3, padding="same")
    counted = model_cost.cost(keras.Model(images, layer(layer(images))), 8)
    assert counted.multiply_adds == 2 * 64 * 81
    assert counted.parameters == 84


def test_the_table(capsys):
    model_cost.main(["unet16", "--size", "32"])
    printed = capsys.readouterr().out
    assert "unet16" in printed and "482,067" in printed and "32x32" in printed
    with pytest.raises(SystemExit):
        model_cost.main(["unet61"])
    assert "unet16" in capsys.readouterr().err


def test_table_of_the_recipes_is_in_the_docs(repository):
    page = (repository / "docs/recipes.md").read_text("utf-8")
    assert f"\n{model_cost.RECIPES_HEADER}\n" in page
    assert model_cost.recipe_row("unet16_cifar10", 256) in page.splitlines()
    for name in model_cost.recipe_of_each_network():
        (row,) = re.findall(rf"^\| `\w+` \| `{name}` \|(.*)\|$", page, re.MULTILINE)
        _, _, tpu, seconds, gib, _, _ = (cell.strip() for cell in row.split("|"))
        assert tpu == model_cost.least_on_a_tpu(name), name
        assert seconds == model_cost.on_a_cpu(name, "seconds"), name
        assert gib == model_cost.on_a_cpu(name, "gib"), name


def test_least_time_is_that_of_one_v5e_chip_one_image_and_the_first_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(model_cost, "DOCS", tmp_path)

    def compiled(name, tpu, size, batch, devices, **least_ms):
        place = {"name": name, "slice": tpu, "size": size, "devices": devices}
        return {**place, "batch": batch, "images": batch, "least_ms": least_ms}

    rows = [
        compiled("unet16_cifar10", "v5e-1", "32x32", 256, 1, memory=9.0),
        compiled("unet16_cifar10", "v5e-8", "32x32", 256, 8, compute=0.1, links=48.0),
        compiled("nafnet32_gopro", "v5e-1", "256x256", 32, 1, compute=16.0),
        compiled("restormer_gopro", "v5e-8", "128x128", 64, 8, compute=4.0),
        compiled("restormer_gopro", "v5e-8", "384x384", 8, 8, compute=1000.0),
        compiled("rednet30_cifar10", "v6e-8", "32x32", 256, 8, memory=1.0),
    ]
    (tmp_path / "preflight.json").write_text(json.dumps(rows), "utf-8")
    found = {row["name"]: model_cost.least_on_a_tpu(row["name"]) for row in rows}
    assert found == {
        "unet16_cifar10": "1.5 (32x32)",
        "nafnet32_gopro": "0.5 (256x256)",
        "restormer_gopro": "0.5 (128x128)",
        "rednet30_cifar10": "",
    }


def test_figures_of_a_cpu_are_those_of_whole_frames_and_the_better_pytorch(tmp_path, monkeypatch):
    monkeypatch.setattr(model_cost, "DOCS", tmp_path)
    seconds = {
        "3840x2160": {"tfdeblur": 42, "torch": 50, "torch, keeping memory": 43},
        "1280x720": {"tfdeblur": 5.0, "torch": 9.0, "torch, keeping memory": 4.5},
    }
    gib = {"tfdeblur": 2.0, "torch": 1.4, "torch, keeping memory": 2.3}
    rows = [
        {"network": "nafnet32", "size": size, "seconds": of, "gib": gib}
        for size, of in seconds.items()
    ]
    (tmp_path / "restoring.json").write_text(json.dumps(rows), "utf-8")
    assert model_cost.on_a_cpu("nafnet32_gopro", "seconds") == "5.0 / 4.5"
    assert model_cost.on_a_cpu("nafnet32_gopro", "gib") == "2.0 / 1.4"
    for name in ("mimo_unet_gopro", "unet16_cifar10"):
        assert not model_cost.on_a_cpu(name, "seconds")


def test_recipes_train_the_networks_that_the_benchmark_of_restoring_compares():
    # As benchmarks.restoration_torch, which needs PyTorch, builds them.
    blocks = {"encoder": (1, 1, 1, 28), "middle": 1, "decoder": (1, 1, 1, 1)}
    compared = {
        "nafnet32": {"width": 32, **blocks},
        "nafnet16": {"width": 16, **blocks},
        "mimo_unet": {"width": 32, "blocks": 8, "mise": True, "mosd": True, "aff": True},
        "fftformer": {"width": 48, "blocks": (6, 6, 12), "refinement": 4},
        "restormer": {"width": 48, "blocks": (4, 6, 6, 8), "refinement": 4},
        "deepdeblur": {"scales": 3, "blocks": 19, "width": 64},
        "fpn_mobilenet": {"width": 64, "norm": "instance"},
    }
    assert compared.keys() == model_cost._RESTORED.keys()
    for network, recipe in model_cost._RESTORED.items():
        options = model_cost._model(recipe).options
        assert {name: getattr(options, name) for name in compared[network]} == compared[network]


@pytest.mark.slow
def test_the_dense_network_is_smaller_than_deblurgan():
    printed = model_cost.table(model_cost.rows(["deblurgan", "dense_deblurgan"], 64), 64)
    assert "0.13 of the parameters" in printed and "0.18 of its multiply-adds" in printed
