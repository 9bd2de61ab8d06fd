import hashlib
import json

import numpy as np
import pytest

from tests.helpers.pickles import archive, dictionary, tensor
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files
from tfdeblur.porting import reading

ARRAYS = {"a.weight": np.float32([[1, 2], [3, 4]]), "a.bias": np.float16([0.5])}


def torch_file(entries):
    return archive(dictionary(entries), {"0": np.arange(4, dtype="<f4").tobytes()})


def as_safetensors(arrays):
    """Returns a safetensors file: the length of the header, the header, the values."""
    kinds = {"float32": "F32", "float16": "F16", "uint16": "BF16"}
    header, content = {}, b""
    for name, values in arrays.items():
        begin, content = len(content), content + values.tobytes()
        header[name] = {
            "dtype": kinds[str(values.dtype)],
            "shape": list(values.shape),
            "data_offsets": [begin, len(content)],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content


def test_numpy_file_on_another_file_system_is_read(tmp_path):
    np.savez(tmp_path / "weights.npz", **ARRAYS)
    data = (tmp_path / "weights.npz").read_bytes()
    files.make_dirs("ram://reading")
    files.write_bytes("ram://reading/weights.bin", data)  # the suffix does not matter
    found = reading.read("ram://reading/weights.bin")
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.arrays.keys() == ARRAYS.keys()
    np.testing.assert_array_equal(found.arrays["a.weight"], ARRAYS["a.weight"])


def test_numpy_file_with_objects_raises_data_error(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.array([{}], object))
    with pytest.raises(DataError, match=r"w\.npz"):
        reading.read(str(tmp_path / "w.npz"))


def test_safetensors_file_is_read(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed (extra convert)")
    path = tmp_path / "w.safetensors"
    path.write_bytes(as_safetensors({**ARRAYS, "c": np.array([0x3F80, 0xC020], np.uint16)}))
    found = reading.read(str(path)).arrays
    np.testing.assert_array_equal(found["a.weight"], ARRAYS["a.weight"])
    np.testing.assert_array_equal(found["a.bias"], ARRAYS["a.bias"])
    np.testing.assert_array_equal(found["c"], np.float32([1, -2.5]))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"w\.safetensors"):
        reading.read(str(path))


def test_prefixes_of_wrappers_are_removed(tmp_path):
    path = tmp_path / "w.pth"
    one = {"module._orig_mod.a.b": tensor("0", (4,)), "module._orig_mod.c": tensor("0", (4,))}
    path.write_bytes(torch_file(one))
    assert set(reading.read(str(path)).arrays) == {"a.b", "c"}
    path.write_bytes(torch_file({"module.a": tensor("0", (4,)), "b": tensor("0", (4,))}))
    assert set(reading.read(str(path)).arrays) == {"module.a", "b"}  # a layer of that name


def test_entry_selects_one_of_several_sets(tmp_path):
    path = str(tmp_path / "w.pth")
    sets = {name: dictionary({"w": tensor("0", (4,))}) for name in ("params", "params_ema")}
    (tmp_path / "w.pth").write_bytes(torch_file(sets))
    with pytest.raises(UserError, match=r"several.*params, params_ema.*--entry"):
        reading.read(path)
    assert reading.read(path, "params_ema").entry == "params_ema"
    with pytest.raises(UserError, match=r"entry: .*'params'"):
        reading.read(path, "param")
    (tmp_path / "w.pth").write_bytes(torch_file({"params": sets["params"]}))
    assert reading.read(path).entry == "params"


def test_file_without_weights_raises_error(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(torch_file({}))
    with pytest.raises(DataError, match=r"w\.pth .*state_dict"):
        reading.read(str(path))
    path.write_bytes(b"something else altogether")
    with pytest.raises(DataError, match=r"w\.pth is not a weights file"):
        reading.read(str(path))
    with pytest.raises(UserError, match="does not exist"):
        reading.read(str(tmp_path / "none.pth"))
    np.savez(tmp_path / "w.npz", w=np.zeros(2))
    with pytest.raises(UserError, match="entry"):
        reading.read(str(tmp_path / "w.npz"), "model")
