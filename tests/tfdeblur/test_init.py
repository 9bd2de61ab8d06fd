"""The public names; importing the package loads neither TensorFlow nor Keras."""

import subprocess
import sys

import pytest

import tfdeblur
from tfdeblur.errors import ConfigError


def test_lists_load_neither_tensorflow_nor_keras() -> None:
    code = (
        "import sys, tfdeblur; tfdeblur.list_models(); tfdeblur.list_objectives();"
        "tfdeblur.list_recipes(); print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lists_contain_known_names() -> None:
    assert {"rednet30", "resnet16", "unet16"} <= set(tfdeblur.list_models())
    assert tfdeblur.list_objectives()
    assert "quickstart" in tfdeblur.list_recipes()


def test_build_model_with_options_takes_any_size() -> None:
    model = tfdeblur.build_model("rednet30", depth=10)
    output = model(0.5 + 0.0 * model_input(1, 19, 23))
    assert tuple(output.shape) == (1, 19, 23, 3)
    assert model.count_params() < tfdeblur.build_model("rednet30").count_params()


def test_build_model_with_unknown_name_raises_config_error() -> None:
    with pytest.raises(ConfigError, match="unet16"):
        tfdeblur.build_model("unet61")
    with pytest.raises(ConfigError, match="depth"):
        tfdeblur.build_model("rednet30", dept=10)


def test_public_names_all_exist() -> None:
    assert all(hasattr(tfdeblur, name) for name in tfdeblur.__all__)


def model_input(batch: int, height: int, width: int):  # a Keras tensor
    import keras

    return keras.ops.zeros((batch, height, width, 3))
