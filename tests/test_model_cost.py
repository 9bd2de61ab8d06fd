"""The benchmark that counts parameters and multiply-adds, against closed forms."""

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
    assert model_cost.recipe_row("unet16_cifar10", 256) in page.splitlines()
    for name in model_cost.recipe_of_each_network():
        assert f"` | `{name}` | " in page


@pytest.mark.slow
def test_the_dense_network_is_smaller_than_deblurgan():
    printed = model_cost.table(model_cost.rows(["deblurgan", "dense_deblurgan"], 64), 64)
    assert "0.13 of the parameters" in printed and "0.18 of its multiply-adds" in printed
