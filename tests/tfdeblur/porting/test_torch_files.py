import os
import pickle
import zipfile

import numpy as np
import pytest

from tests.helpers.pickles import archive, dictionary, finished, plain, stream, tensor
from tfdeblur.errors import DataError
from tfdeblur.porting import torch_files
from tfdeblur.porting.torch_files import TorchFile, is_torch_file

NUMBERS = np.arange(6, dtype="<f4")
ONE = dictionary({"w": tensor("0", (2, 3))})


def read(data):
    file = TorchFile(data, "a.pth")
    return {
        place: {name: file.array(name, value) for name, value in tensors.items()}
        for place, tensors in file.dictionaries().items()
    }


def both(instructions, numbers=NUMBERS):
    content = numbers.tobytes()
    return [
        archive(instructions, {"0": content}),
        stream(instructions, {"0": (numbers.size, content)}),
    ]


def test_both_layouts_are_read():
    for data in both(ONE):
        assert is_torch_file(data)
        found = read(data)
        np.testing.assert_array_equal(found[""]["w"], NUMBERS.reshape(2, 3))
        assert found[""]["w"].dtype == np.float32
        assert found[""]["w"].flags.writeable  # a copy, which outlives the file


def test_nested_dictionaries_are_found_by_key():
    weights = dictionary({"w": tensor("0", (6,))})
    state = dictionary({"step": plain(3), "moments": b"}" + plain(0) + tensor("0", (6,)) + b"s"})
    whole = {"epoch": plain(7), "net": dictionary({"g": weights, "d": weights}), "optimizer": state}
    for data in both(dictionary(whole)):
        assert set(read(data)) == {"net.g", "net.d"}


def test_views_and_transposed_tensors_are_read():
    entries = {
        "transposed": tensor("0", (3, 2), (1, 3)),
        "part": tensor("0", (2,), (2,), offset=1, count=6),
        "empty": tensor("0", (0, 4), count=6),
        "number": tensor("0", (), (), offset=5, count=6),
    }
    for data in both(dictionary(entries)):
        found = read(data)[""]
        np.testing.assert_array_equal(found["transposed"], NUMBERS.reshape(2, 3).T)
        np.testing.assert_array_equal(found["part"], [1, 3])
        assert found["empty"].shape == (0, 4)
        assert found["number"] == 5


def test_storage_that_is_a_view_of_another_is_read():
    # In the older layout: key of the view, its first number, and the count.
    view = plain(("part", 2, 3))
    instructions = dictionary({"w": tensor("0", (3,), count=6, view=view)})
    data = stream(instructions, {"0": (6, NUMBERS.tobytes())})
    np.testing.assert_array_equal(read(data)[""]["w"], [2, 3, 4])


@pytest.mark.parametrize(
    ("storage", "dtype"),
    [("DoubleStorage", "f8"), ("HalfStorage", "f2"), ("LongStorage", "i8"), ("BoolStorage", "?")],
)
def test_storage_types_have_their_dtypes(storage, dtype):
    numbers = np.array([0, 1, 1], dtype)
    for data in both(dictionary({"w": tensor("0", (3,), storage=storage)}), numbers):
        found = read(data)[""]["w"]
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, numbers)


def test_bfloat16_is_read_as_float32():
    upper = np.array([0x3F80, 0xC020, 0x7F80], "<u2")
    for data in both(dictionary({"w": tensor("0", (3,), storage="BFloat16Storage")}), upper):
        np.testing.assert_array_equal(read(data)[""]["w"], np.float32([1, -2.5, np.inf]))


def test_big_endian_file_is_read():
    content = NUMBERS.astype(">f4").tobytes()
    data = archive(ONE, {"0": content}, byteorder=b"big")
    np.testing.assert_array_equal(read(data)[""]["w"].ravel(), NUMBERS)


def test_names_of_python_2_are_read():
    # Its strings are bytes, with another instruction.
    instructions = b"}(" + b"U\x01w" + tensor("0", (6,)) + b"u"
    assert list(read(archive(instructions, {"0": NUMBERS.tobytes()}))[""]) == ["w"]


# --------------------------------------------------------------------------- malicious and damaged


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("layout", ["zip", "stream", "first"])
def test_malicious_pickle_is_rejected_and_not_run(layout, tmp_path):
    evil = pickle.dumps(Runs(tmp_path / "ran"), protocol=2)
    data = {
        "zip": archive(evil[2:-1], {}),
        "stream": stream(evil[2:-1], {}),
        "first": evil,
    }[layout]
    with pytest.raises(DataError, match=r"a\.pth contains more than weights.*\w+\.system"):
        TorchFile(data, "a.pth")
    assert not (tmp_path / "ran").exists()
    pickle.loads(evil)
    assert (tmp_path / "ran").exists()  # the standard unpickler runs it


@pytest.mark.parametrize(
    "name",
    [
        b"cbuiltins\neval\n",
        b"ctorch.nn.modules.conv\nConv2d\n",
        b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n",
        b"ctorch\nload\n",
        b"cnumpy.core.multiarray\n_reconstruct\n",
        b"ccollections\nOrderedDict.__init__\n",
        plain("os") + plain("system") + b"\x93",
    ],
)
def test_unknown_name_raises_data_error(name):
    with pytest.raises(DataError, match="more than weights"):
        TorchFile(archive(dictionary({"w": name}), {}), "a.pth")


@pytest.mark.parametrize(
    "stand_in",
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch._utils\n_rebuild_parameter\n",
        b"ctorch\nFloatStorage\n",
        b"ctorch\nSize\n",
        b"ccollections\nOrderedDict\n",
        tensor("0", (6,)),
    ],
)
@pytest.mark.parametrize("form", ["attributes", "slots"])
def test_attributes_of_stand_in_cannot_be_set(stand_in, form):
    # The instruction BUILD sets attributes of the object on the stack.
    state = plain({"__call__": 1, "keep": 2})
    given = state if form == "attributes" else b"N" + state + b"\x86"
    with pytest.raises(DataError, match="is damaged"):
        TorchFile(archive(stand_in + given + b"b", {"0": NUMBERS.tobytes()}), "a.pth")


def test_replaced_methods_of_dictionary_are_not_called():
    ordered = b"ccollections\nOrderedDict\n)R" + plain("w") + tensor("0", (6,)) + b"s"
    replaced = plain({"items": 1, "values": 2, "keys": 3, "__iter__": 4}) + b"b"
    for data in both(ordered + replaced):
        np.testing.assert_array_equal(read(data)[""]["w"], NUMBERS)


@pytest.mark.parametrize("number", [b"r\xff\xff\xff\x7f", b"p4000000000\n", b"q\xff"])
def test_memo_larger_than_content_raises_data_error(number):
    # Python would allocate two billion entries before it continues.
    for data in both(b"}" + number):
        with pytest.raises(DataError, match="memo"):
            TorchFile(data, "a.pth")


def test_containers_are_not_copied_more_often_than_the_pickle_is_long():
    items = b"(" + b"".join(plain(f"k{number}") + b"N" for number in range(40)) + b"u"
    copies = b"h\x05h\x06\x85R0" * 200
    for data in both(b"ccollections\nCounter\nq\x050}q\x06" + items + copies):
        with pytest.raises(DataError, match="copies"):
            TorchFile(data, "a.pth")


def test_attributes_of_dictionaries_are_not_copied():
    items = b"(" + b"".join(plain(f"k{number}") + b"N" for number in range(40)) + b"u"
    copies = b"h\x05)Rh\x06b0" * 200
    instructions = b"ccollections\nOrderedDict\nq\x050}q\x06" + items + b"0" + copies
    instructions += b"h\x05)R" + plain({"k": 1}) + b"b" + plain("w") + tensor("0", (6,)) + b"s"
    for data in both(instructions):
        file = TorchFile(data, "a.pth")
        assert list(file.dictionaries()[""]) == ["w"] and not vars(file._content)


def test_storages_are_named_by_texts():
    _, data = both(ONE)
    before, key, after = data.rpartition(b"X\x01\x00\x00\x000")
    assert key
    with pytest.raises(DataError, match="no name"):
        TorchFile(before + b"K\x00" + after, "a.pth")


def test_tensors_that_share_a_storage_are_bounded_together(monkeypatch):
    monkeypatch.setattr(torch_files, "largest_content", lambda size: 2 * NUMBERS.nbytes)
    shared = dictionary({name: tensor("0", (6,)) for name in "abc"})
    for data in both(shared):
        file = TorchFile(data, "a.pth")
        tensors = file.dictionaries()[""]
        for name in "ab":
            np.testing.assert_array_equal(file.array(name, tensors[name]), NUMBERS)
        with pytest.raises(DataError, match=r"a\.pth.*c"):
            file.array("c", tensors["c"])


@pytest.mark.parametrize(
    "wrong",
    [
        tensor("0", (7,), count=7),
        tensor("0", (6,), offset=1),
        tensor("0", (1000, 1000), (0, 0), count=6),  # one number a million times
        tensor("0", (2,), (-1,), offset=1, count=6),
        tensor("0", (-2, -3)),
        tensor("0", (2, 3), (1,)),
        tensor("0", (6,), offset=-1),
        tensor("9", (6,)),
        tensor("0", (3,), storage="DoubleStorage", offset=1),
    ],
)
def test_tensor_beyond_its_storage_raises_data_error(wrong):
    file = TorchFile(archive(dictionary({"layer.w": wrong}), {"0": NUMBERS.tobytes()}), "a.pth")
    with pytest.raises(DataError, match=r"a\.pth is damaged at layer\.w"):
        file.array("layer.w", file.dictionaries()[""]["layer.w"])


def described(storage, *parts):
    """Returns the instructions that rebuild a tensor from other objects than PyTorch's."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return rebuild + storage + b"".join(map(plain, parts)) + b"\x89NtR"


def storage_of(pid):
    return plain(pid) + b"Q"


FLOAT = "f4"


@pytest.mark.parametrize(
    "wrong",
    [
        described(plain("text"), 0, (2,), (1,)),
        described(storage_of(("storage", FLOAT, "0", "cpu", 6)), 0.5, (2,), (1,)),
        described(storage_of(("storage", FLOAT, "0", "cpu", 6)), 0, [2], (1,)),
        described(storage_of(("storage", FLOAT, "0", "cpu", 6)), 0, (2.0,), (1,)),
        described(storage_of(("storage", FLOAT, "0", "cpu", 6)), 0, (10**30,), (1,)),
        described(storage_of(("storage", FLOAT, "0", "cpu", 6)), 0, (1,) * 1000, (1,) * 1000),
        described(storage_of(("storage", FLOAT, "0", "cpu", 6)), 0, {}, None),
        described(storage_of(("storage", FLOAT, "0", "cpu", 10**30)), 0, (2,), (1,)),
        described(storage_of(("storage", FLOAT, "0", "cpu", "6")), 0, (2,), (1,)),
        described(storage_of(("storage", FLOAT, 0, "cpu", 6)), 0, (2,), (1,)),
        described(storage_of(("storage", FLOAT, "0")), 0, (2,), (1,)),
        described(storage_of(5), 0, (2,), (1,)),
        b"ctorch._utils\n_rebuild_parameter\n(" + plain([1]) + b"\x89NtR",
    ],
)
def test_tensor_of_other_types_raises_data_error(wrong):
    for data in both(dictionary({"w": wrong})):
        with pytest.raises(DataError, match=r"a\.pth is damaged"):
            read(data)


def test_storage_of_another_type_raises_data_error():
    nested = b"(" * 3 + b"t\x85" * 3
    for kind in (plain("O"), plain(7), nested):
        pid = b"(" + plain("storage") + kind + plain("0") + plain("cpu") + plain(6) + b"tQ"
        with pytest.raises(DataError, match=r"a\.pth"):
            TorchFile(archive(dictionary({"w": described(pid, 0, (2,), (1,))}), {}), "a.pth")


def test_archive_with_other_features_of_zip_raises_data_error():
    data = archive(ONE, {"0": NUMBERS.tobytes()})
    at = data.index(b"PK\x01\x02")
    # A later version; encryption; a name that is marked as UTF-8 and is not.
    for changes in ({6: 99}, {8: 1}, {9: 8, 46: 0xFF}):
        changed = bytearray(data)
        for offset, value in changes.items():
            changed[at + offset] = value
        with pytest.raises(DataError, match=r"a\.pth"):
            read(bytes(changed))


def test_compressed_archive_raises_data_error():
    data = archive(ONE, {"0": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="compressed"):
        TorchFile(data, "a.pth")


def test_truncated_file_raises_data_error():
    for data in both(ONE):
        for end in range(4, len(data), 7):
            cut = data[:end]
            with pytest.raises(DataError, match=r"a\.pth"):
                read(cut)


def test_other_pickle_raises_data_error():
    for data in (finished(plain({"w": 1})), b"\x80\x02", b"\x80\x02garbage", b"PK\x03\x04"):
        with pytest.raises(DataError, match=r"a\.pth is damaged"):
            TorchFile(data, "a.pth")


def test_is_torch_file_of_other_files_is_false(tmp_path):
    np.savez(tmp_path / "w.npz", w=NUMBERS)
    assert not is_torch_file((tmp_path / "w.npz").read_bytes())
    assert not is_torch_file(b"PK\x03\x04 cut off")
    assert not is_torch_file(b"")
