"""Pickles of plain values are decoded, and no code in them is run."""

import os
import pickle
import struct

import numpy as np
import pytest

from data_prep import pickles

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)
PYTHON_2 = (
    b"\x80\x02}q\x01(U\x05labelq\x02U\x05train\x55\x06labels]q\x04(K\x01M\x01\x02e"
    b"U\x04datacnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85"
    b"U\x01b\x87Rq\t(K\x01K\x03K\x04\x86cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
)


def arrays_of(value):
    return {key: v.value if isinstance(v, pickles.Array) else v for key, v in value.items()}


@pytest.mark.parametrize("protocol", [3, 4])
def test_decode_plain_values_and_arrays(protocol):
    content = {
        b"label": "training",
        b"labels": [1, 300, 70_000, -5, None, True, False, (), (1,), (1, 2), (1, 2, 3), (1,) * 4],
        b"again": ["x"] * 2,
        b"data": PIXELS,
    }
    found = arrays_of(pickles.decode(pickle.dumps(content, protocol)))
    np.testing.assert_array_equal(found.pop(b"data"), content.pop(b"data"))
    assert found == content


def test_decode_pickle_of_python_2():
    data = PYTHON_2 + b"T" + struct.pack("<I", 12) + PIXELS.tobytes() + b"tbu."
    found = arrays_of(pickles.decode(data))
    np.testing.assert_array_equal(found.pop(b"data"), PIXELS)
    assert found == {b"label": b"train", b"labels": [1, 513]}


class Harmful:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        Harmful(os.mkdir, ("harm-was-done",)),
        Harmful(getattr, (np.ndarray, "__new__")),
        np.zeros(3, np.float32),
        np.zeros(3, [("a", "u1")]),
        np.array(["text"], object),
        np.asfortranarray(PIXELS),
        np.uint8(3),
    ],
    ids=["function", "attribute", "float", "fields", "objects", "fortran", "scalar"],
)
def test_decode_other_values_raise(tmp_path, monkeypatch, protocol, value):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({b"data": value}, protocol)
    with pytest.raises((ValueError, TypeError, KeyError)):
        pickles.decode(data)
    assert not os.listdir()


def crafted(shape=b"K\x03K\x04\x86", kind=b"u1", fortran=b"\x89"):
    """Returns a batch of Python 2 with another shape, dtype or order."""
    data = PIXELS.tobytes()
    head = PYTHON_2.replace(b"K\x03K\x04\x86", shape).replace(b"u1", kind)
    return head[:-1] + fortran + b"T" + struct.pack("<I", len(data)) + data + b"tbu."


@pytest.mark.parametrize(
    "data",
    [
        crafted(shape=b"K\x03K\x05\x86"),
        crafted(shape=b"J\xff\xff\xff\xffK\x04\x86"),
        crafted(shape=b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"),
        crafted(shape=b"NN\x86"),
        crafted(shape=b"N"),
        crafted(kind=b"O8"),
        crafted(fortran=b"\x88"),
        crafted()[:-40],
        b"\x80\x02}U\x01aK\x01b.",
        b"\x80\x02]K\x01b.",
        b"\x80\x02}(K\x01e.",
        b"\x80\x02](K\x01u.",
        b"\x80\x02}(K\x01K\x02u.",
        b"\x80\x02}(U\x01au.",
        b"\x80\x02}K\x01\x85R.",
        b"\x80\x02h\x05.",
        b"\x80\x02e.",
        b"\x80\x02.",
        b"\x80\x02P1\n.",
        b"\x80\x02L" + b"9" * 5000 + b"L\n.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
        b"",
        b"\x80\x02",
        b"hello",
    ],
)
def test_decode_crafted_pickle_raises(data):
    with pytest.raises((ValueError, TypeError, KeyError, IndexError, EOFError)):
        pickles.decode(data)


def test_decode_too_many_opcodes_raise(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_OPCODES", 100)
    assert len(pickles.decode(pickle.dumps([1] * 40, 4))) == 40
    with pytest.raises(ValueError, match="too many"):
        pickles.decode(pickle.dumps([1] * 200, 4))


def test_decode_nested_pickle_needs_no_recursion():
    depth = 100_000
    value = pickles.decode(b"\x80\x02)" + b"\x85" * depth + b".")
    for _ in range(depth):
        (value,) = value
    assert value == ()
    # Shared values whose tree has 2**50 leaves.
    shared = b"".join(b"q%ch%ch%c\x86" % (n, n, n) for n in range(50))
    assert len(pickles.decode(b"\x80\x02)" + shared + b".")) == 2
