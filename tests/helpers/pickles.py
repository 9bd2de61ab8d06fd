"""Files of `torch.save` written by hand, so that they can be invalid in every way."""

import io
import pickle
import struct
import zipfile
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


def plain(value: Any) -> bytes:
    """Returns the instructions that push a plain value on the stack of the pickle."""
    return pickle.dumps(value, protocol=2)[2:-1]


def tensor(
    key: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    *,
    offset: int = 0,
    count: int | None = None,
    storage: str = "FloatStorage",
    view: bytes = b"",
) -> bytes:
    """Returns the instructions that rebuild a tensor, as written by PyTorch."""
    steps = np.cumprod([1, *reversed(shape)])[:-1][::-1].tolist() if strides is None else strides
    numbers = int(np.prod(shape)) if count is None else count
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + plain("storage")
        + f"ctorch\n{storage}\n".encode()
        + plain(key)
        + plain("cpu")
        + plain(numbers)
        + view
        + b"tQ"
        + plain(offset)
        + plain(tuple(shape))
        + plain(tuple(steps))
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def dictionary(entries: dict[str, bytes]) -> bytes:
    """Returns the instructions for a dictionary of the results of other instructions."""
    return b"}(" + b"".join(plain(key) + value for key, value in entries.items()) + b"u"


def finished(instructions: bytes) -> bytes:
    """Returns a complete pickle."""
    return b"\x80\x02" + instructions + b"."


def archive(
    instructions: bytes,
    records: dict[str, bytes],
    *,
    compression: int = zipfile.ZIP_STORED,
    byteorder: bytes | None = None,
) -> bytes:
    """Returns a file in the layout of PyTorch 1.6 and later."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        file.writestr("weights/data.pkl", finished(instructions))
        if byteorder:
            file.writestr("weights/byteorder", byteorder)
        for key, content in records.items():
            file.writestr(f"weights/data/{key}", content)
        file.writestr("weights/version", b"3\n")
    return out.getvalue()


def stream(instructions: bytes, records: dict[str, tuple[int, bytes]], *, little=True) -> bytes:
    """Returns a file in the older layout; records include their number of values."""
    about = {"protocol_version": 1001, "little_endian": little, "type_sizes": {}}
    parts = [pickle.dumps(value, protocol=2) for value in (MAGIC, 1001, about)]
    parts += [finished(instructions), pickle.dumps(list(records), protocol=2)]
    order = "<q" if little else ">q"
    for count, content in records.values():
        parts.append(struct.pack(order, count) + content)
    return b"".join(parts)
