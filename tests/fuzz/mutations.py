"""Random changes of files: cut, repeated and overwritten parts, and extreme numbers."""

import random

_NUMBERS = [
    value.to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for order in ("little", "big")
    for value in (0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1)
]
_TEXTS = [b"9" * 400, b"-1", b"1e999", b"[" * 3000, b"{}", b"null", b"\xff\xfe", b"\0", b"../x"]


def mutated(data: bytes, other: bytes, source: random.Random) -> bytes:
    """Returns a file with one to four random changes, some with parts of another file."""
    changed = bytearray(data)
    for _ in range(source.randint(1, 4)):
        # Headers are short and decide the most, so half of the changes are near the beginning.
        end = len(changed) if source.random() < 0.5 else min(len(changed), 200)
        at = source.randint(0, end)
        size = min(source.choice((1, 2, 4, 16, 200)), len(changed) - at)
        match source.randrange(7):
            case 0:
                for position in range(at, at + size):
                    changed[position] ^= 1 << source.randrange(8)
            case 1:
                changed[at : at + size] = source.randbytes(size)
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = changed[at : at + size] * source.choice((1, 3, 50))
            case 4:
                number = source.choice(_NUMBERS)
                changed[at : at + len(number)] = number
            case 5:
                changed[at : at + size] = source.choice(_TEXTS)
            case 6:
                start = source.randint(0, len(other))
                changed[at : at + size] = other[start : start + source.choice((4, 40, 400))]
    return bytes(changed if source.random() < 0.9 else changed[: source.randint(0, len(changed))])
