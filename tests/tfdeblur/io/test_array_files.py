"""Array files of other people: what they may claim, contain and refer to."""

import io
import struct
import zipfile

import h5py
import numpy as np
import pytest

from tfdeblur.errors import DataError
from tfdeblur.io.array_files import largest_content, read_hdf5, read_member, read_npz

ARRAYS = {
    "a/b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(12, dtype=">f8").reshape(3, 4)),
    "number": np.int64(7),
    "empty": np.zeros((0, 4), np.float16),
    "mask": np.array([True, False]),
}


def saved(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def zipped(*members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def npy(description, shape="(2, 3)", content=bytes(24)):
    header = f"{{'descr': {description}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def patched(data, offset, value):
    """Changes two bytes of the entry of a zip file with one member, in both of its headers."""
    changed = bytearray(data)
    for mark, shift in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(mark) + shift + offset
        changed[at : at + 2] = struct.pack("<H", value)
    return bytes(changed)


def hdf5(fill):
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        fill(opened)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read(save):
    found = read_npz(saved(save, **ARRAYS), "a.npz")
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == np.asarray(values).dtype


@pytest.mark.parametrize(
    "data",
    [
        saved(a=np.array([{}], object)),
        saved(a=np.array(["text"])),
        zipped(("a.npy", npy("'<f4'", "(2, 4)"))),
        zipped(("a.npy", npy("'<f4'", f"({'9' * 5000},)"))),
        zipped(("a.npy", npy("'<f4'", f"({10**30}, 0)", b""))),
        zipped(("a.npy", npy("'<f4'", "(-2, -3)"))),
        zipped(("a.npy", npy("'<f4'", f"{'(' * 3000}2{')' * 3000}"))),
        zipped(("a.npy", npy("[('x', '<f4')]"))),
        zipped(("a.npy", npy("'|V24'", "(1,)"))),
        zipped(("a.npy", b"\x93NUMPY\x09\x00" + bytes(50))),
        zipped(("a.npy", b"")),
        zipped(("a.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + bytes(50))),
        zipped(("a.txt", b"no array")),
        zipped(("a.npy", npy("'<f4'")), compression=zipfile.ZIP_LZMA),
        patched(zipped(("a.npy", npy("'<f4'"))), 0, 1),  # encrypted
        patched(zipped(("a.npy", npy("'<f4'"))), 2, 77),  # unknown compression
        zipped(("a.npy", npy("'<f4'")))[:-30],
        zipped(("a.npy", npy("'<f4'")), compression=zipfile.ZIP_STORED).replace(b"'<f4'", b"'<i4'"),
        b"PK\x03\x04",
        b"",
    ],
)
def test_damaged_npz_raises_data_error_with_its_name(data):
    with pytest.raises(DataError, match=r"a\.npz"):
        read_npz(data, "a.npz")


def test_npz_with_a_damaged_stream_raises_data_error():
    data = bytearray(saved(np.savez_compressed, a=np.random.default_rng(1).random(500)))
    for at in range(60, 1060, 100):
        data[at] ^= 0xFF
    with pytest.raises(DataError, match=r"a\.npz"):
        read_npz(bytes(data), "a.npz")


def test_content_beyond_the_bound_is_not_inflated(monkeypatch):
    data = zipped(("a.npy", npy("'<f4'", "(250000,)", bytes(10**6))))
    assert read_npz(data, "a.npz")["a"].shape == (250000,)
    monkeypatch.setattr("tfdeblur.io.array_files.largest_content", lambda size: 10**6)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args, **kw: pytest.fail("inflates"))
    for read in (lambda: read_npz(data, "a.npz"), lambda: read_member(data, "a.npy", "a.npz")):
        with pytest.raises(DataError, match=r"a\.npz"):
            read()


def test_bound_grows_with_the_size_of_the_file():
    assert largest_content(1000) < 2**30
    assert largest_content(2**32) > 2**32


def test_member_of_an_archive_is_read():
    data = zipped(("x", b"1"), ("y", b"22"))
    assert read_member(data, "y", "a.keras") == b"22"
    for bad, name in ((data, "z"), (data[:30], "y"), (b"", "y")):
        with pytest.raises(DataError, match=r"a\.keras"):
            read_member(bad, name, "a.keras")


def test_hdf5_is_read_without_other_objects():
    def fill(file):
        for name, values in ARRAYS.items():
            file[name] = values
        file["text"] = "no number"
        file["link"] = h5py.SoftLink("/number")
        file["outside"] = h5py.ExternalLink("/etc/hostname", "/x")

    found = read_hdf5(hdf5(fill), "a.h5")
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)


def test_hdf5_that_refers_to_another_file_raises_data_error(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(range(16)))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(4.0)
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (4,))
    for fill in (
        lambda file: file.create_dataset(
            "x", (4,), "f4", external=[(str(tmp_path / "secret"), 0, 16)]
        ),
        lambda file: file.create_virtual_dataset("x", layout),
    ):
        data = hdf5(fill)
        (tmp_path / "a.h5").write_bytes(data)
        with h5py.File(tmp_path / "a.h5") as file:
            assert file["x"][1]  # what h5py does by itself
        with pytest.raises(DataError, match=r"a\.h5.*x"):
            read_hdf5(data, "a.h5")


@pytest.mark.parametrize(
    "fill",
    [
        lambda file: file.create_dataset("x", (2**40,), "f4", chunks=(1024,)),
        lambda file: file.create_dataset("x", (2**62, 2**62), "f4", chunks=(8, 8)),
        lambda file: [
            file.create_dataset(f"x{i}", (2**24,), "f4", chunks=(2**20,)) for i in "12345"
        ],
        lambda file: file.create_dataset("x", (2**24,), "f4", chunks=(8,)),
        # One number, in a chunk that is decompressed as a whole.
        lambda file: file.create_dataset(
            "x", (1,), "f4", maxshape=(None,), chunks=(2**28,), compression="gzip"
        ),
        lambda file: file.create_dataset("/".join("a" * 100), data=[1.0]),
    ],
)
def test_hdf5_that_claims_too_much_raises_data_error(fill):
    with pytest.raises(DataError, match=r"a\.h5"):
        read_hdf5(hdf5(fill), "a.h5")


def test_damaged_hdf5_raises_data_error():
    data = hdf5(lambda file: file.create_dataset("x", data=np.arange(50.0)))
    for bad in (b"", b"no HDF5", data[:500], data[: len(data) // 2]):
        with pytest.raises(DataError, match=r"a\.h5"):
            read_hdf5(bad, "a.h5")
