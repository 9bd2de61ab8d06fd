"""Files for PyTorch that were written without it: read by the library, and by PyTorch."""

import numpy as np
import pytest

from tfdeblur.porting import torch_writing
from tfdeblur.porting.reading import read


def arrays():
    rng = np.random.default_rng(0)
    shapes = {"conv.weight": (300, 3, 2, 1), "bias": (7,), "scale": (), "none": (0, 4)}
    drawn = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    # Of another dtype and order in memory, and a name that is not ASCII.
    return {**drawn, "größe": rng.normal(size=(4, 6)).T}


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array.astype(np.float32), err_msg=name)


def test_written_arrays_are_read_back_and_equal_ones_give_equal_files(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(torch_writing.serialized(arrays()))
    assert_equal(read(str(path)).arrays, arrays())
    assert torch_writing.serialized(arrays()) == path.read_bytes()


def test_numbers_begin_at_multiples_of_64_bytes():
    content = torch_writing.serialized(arrays())
    for array in arrays().values():
        if array.size:
            assert content.index(array.astype("<f4").tobytes()) % 64 == 0


@pytest.mark.parametrize("mapped", [False, True])
def test_pytorch_loads_written_arrays_without_running_code(mapped, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    path = tmp_path / "w.pth"
    path.write_bytes(torch_writing.serialized(arrays()))
    found = torch.load(path, weights_only=True, mmap=mapped)
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in found.values())
    assert_equal({name: tensor.numpy() for name, tensor in found.items()}, arrays())
