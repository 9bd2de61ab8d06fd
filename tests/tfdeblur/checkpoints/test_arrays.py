"""Names of arrays, and the files that hold them."""

import keras
import numpy as np
import pytest

from tests.helpers.tiny_models import TINY
from tests.helpers.toys import toy_generator
from tfdeblur import config, models
from tfdeblur.checkpoints import arrays
from tfdeblur.checkpoints.arrays import ArrayMismatch, stable_names
from tfdeblur.errors import DataError
from tfdeblur.io import files
from tfdeblur.models import critics


def test_stable_names_count_automatic_numbers_from_zero():
    first = ["conv2d/kernel", "conv2d/bias", "conv2d_1/kernel", "block/conv2d/kernel"]
    later = ["conv2d_7/kernel", "conv2d_7/bias", "conv2d_10/kernel", "block/conv2d_9/kernel"]
    assert stable_names(first) == stable_names(later) == first


def test_stable_names_follow_creation_order_not_list_order():
    assert stable_names(["seed_3/state", "seed_2/state"]) == ["seed_1/state", "seed/state"]


def test_stable_names_that_coincide_raise_value_error():
    with pytest.raises(ValueError, match="a/kernel"):
        stable_names(["a/kernel", "a/kernel"])


NETWORKS = {name: (models, TINY.get(name)) for name in config.MODELS.names()}
NETWORKS |= {name: (critics, None) for name in config.CRITICS.names()}


@pytest.mark.parametrize("name", NETWORKS)
def test_names_of_every_network_are_unique_and_independent_of_the_process(name):
    package, options = NETWORKS[name]
    keras.backend.clear_session()
    first = package.create(name, options).network
    second = package.create(name, options).network
    variables = arrays.network_variables(first)
    assert list(variables) == list(arrays.network_variables(second))
    assert [id(v) for v in variables.values()] == [id(v) for v in first.variables]
    # Numbers are removed from seeds only: all layers with weights have names of their own.
    for path, variable in arrays.weight_variables(first).items():
        assert path == variable.path


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam, keras.optimizers.RMSprop])
def test_optimizer_slots_are_named_after_their_weights(optimizer):
    toy_generator()
    network = toy_generator(batch_norm=True).network
    built = optimizer(0.1)
    built.build(network.trainable_variables)
    named = arrays.optimizer_variables(built, network)
    assert [id(v) for v in named.values()] == [id(v) for v in built.variables]
    slots = {"momentum", "velocity"} if optimizer is keras.optimizers.Adam else {"velocity"}
    weights = {n for n, v in arrays.weight_variables(network).items() if v.trainable}
    expected = {f"{weight}/{slot}" for weight in weights for slot in slots}
    assert named.keys() == {*expected, "iteration", "learning_rate"}


def test_written_arrays_are_read_back(tmp_path):
    path = f"ram://arrays-{tmp_path.name}"
    written = {
        "images": np.asarray(12, np.int64),
        "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "seed": np.asarray([3, 2**32 - 1], np.uint32),
    }
    arrays.write_arrays(path, written)
    read = arrays.read_arrays(path)
    assert read.keys() == written.keys()
    for name, value in written.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("content", [b"", b"not safetensors", bytes(100)])
def test_read_arrays_of_another_file_raises_data_error(content, tmp_path):
    path = str(tmp_path / "a.safetensors")
    files.write_bytes(path, content)
    with pytest.raises(DataError, match=r"a\.safetensors"):
        arrays.read_arrays(path)


def test_assign_arrays_that_do_not_fit_names_them_and_changes_nothing():
    network = toy_generator().network
    variables = arrays.weight_variables(network)
    values = {name: value + 1 for name, value in arrays.to_arrays(variables).items()}
    del values["conv2d/bias"]
    values["conv2d_1/bias"] = np.zeros(7, np.float32)
    values |= {f"more_{index}": np.zeros(1) for index in range(5)}
    before = network.get_weights()
    with pytest.raises(ArrayMismatch) as caught:
        arrays.assign_arrays(variables, values)
    message = str(caught.value)
    for part in ("conv2d/bias", "conv2d_1/bias", "5 arrays", "more_0", "more_2"):
        assert part in message
    assert "more_3" not in message
    for got, expected in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, expected)
