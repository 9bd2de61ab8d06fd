"""PNG files of every bit depth with a transparent color, not all of which Pillow writes."""

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_with_transparent_color(values: np.ndarray, depth: int) -> bytes:
    """Returns a gray or RGB PNG in which the color of the first pixel is transparent.

    Args:
        values: uint16 [H, W, 1 or 3], below 2**depth.
        depth: Bits per channel.
    """
    height, width, channels = values.shape
    bits = values.reshape(height, -1, 1) >> np.arange(depth)[::-1] & 1
    rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    color_type = 0 if channels == 1 else 2
    return SIGNATURE + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)),
            _chunk(b"tRNS", struct.pack(f">{channels}H", *values[0, 0].tolist())),
            _chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc
