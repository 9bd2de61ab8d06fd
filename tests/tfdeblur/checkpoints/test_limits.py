"""Networks that files describe: no more weights than the file has."""

import threading

import keras
import numpy as np
import pytest

from tfdeblur import models
from tfdeblur.checkpoints.limits import TooManyWeights, no_more_weights_than
from tfdeblur.checkpoints.manifest import write_meta
from tfdeblur.checkpoints.weights import load_generator, write_weights
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a checkpoint whose manifest describes another model than its weights."""
    folder = str(tmp_path / "c")
    files.make_dirs(folder)
    write_weights(folder, models.create("unet16", {"width": 4}))

    def write(**model):
        about = {"format": 2, "images": 0, "model": model, "metrics": {}, "origin": {}}
        write_meta(folder, about)
        return folder

    return write


@pytest.mark.parametrize(
    "model",
    [
        {"name": "unet16", "width": 5000},
        {"name": "unet16", "width": 10**30},
        {"name": "unet16", "width": -1},
        {"name": "unet16", "width": "wide"},
        {"name": "unet16", "width": [[]]},
        {"name": "unet16", "depth": 3},
        {"name": "rednet30", "depth": 10**9, "width": 1},
        {"name": "rednet30", "depth": 10**30, "width": 1},
        {"name": "nafnet", "width": 10**30},
        {"name": "nafnet", "width": 2, "encoder": [10**9, 1, 1, 1]},
    ],
)
def test_load_generator_of_a_model_that_does_not_fit_raises_data_error(checkpoint, model):
    with pytest.raises(DataError, match=r"meta\.json: model.*generator\.safetensors"):
        load_generator(checkpoint(**model))


def test_load_generator_of_an_unknown_model_asks_for_its_module(checkpoint):
    with pytest.raises(UserError, match=r"'shallow'.*--plugins"):
        load_generator(checkpoint(name="shallow"))


def test_load_generator_of_a_smaller_model_names_the_weights(checkpoint):
    with pytest.raises(DataError, match=r"generator\.safetensors.*unet16"):
        load_generator(checkpoint(name="unet16", width=3))


def test_load_generator_of_the_same_model_reads_it(checkpoint):
    assert load_generator(checkpoint(name="unet16", width=4))[0].options["width"] == 4


def test_bound_is_exact_and_ends_with_the_block():
    layer = keras.layers.Dense(3)
    fitting = {"kernel": np.zeros((4, 3)), "bias": np.zeros(3)}
    before = keras.layers.Layer.add_weight
    with no_more_weights_than(fitting):
        layer.build((None, 4))
    for few in ({"kernel": np.zeros(15)}, {"kernel": np.zeros((4, 3)), "bias": np.zeros(2)}):
        with pytest.raises(TooManyWeights), no_more_weights_than(few):
            keras.layers.Dense(3).build((None, 4))
    assert keras.layers.Layer.add_weight is before
    keras.layers.Dense(3).build((None, 4))


def test_bound_leaves_other_threads_alone():
    other = keras.layers.Dense(3)
    with no_more_weights_than({}):
        thread = threading.Thread(target=other.build, args=((None, 4),))
        thread.start()
        thread.join()
    assert other.built
