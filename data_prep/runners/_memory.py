"""How worker processes use memory."""

import contextlib
import ctypes

from PIL import Image

# Numbers of options in glibc's <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# glibc takes no more; a picture of 3840x2160 fits in.
_LARGEST_PIECE = 32 << 20
_KEPT = 64 << 20
# Blocks that Pillow keeps for its next picture; 16 MiB each.
_KEPT_BLOCKS = 4


def keep_freed_memory() -> None:
    """Makes this process keep what a picture frees, for the next picture.

    Left alone, Pillow and glibc give it back to the system at once and get it again page by page,
    which costs a tenth of the time that decoding takes. Other C libraries are left alone.

    Reference: mallopt(3); Pillow's documentation, Reference / Internal reference / Block allocator.
    """
    Image.core.set_blocks_max(_KEPT_BLOCKS)  # type: ignore[attr-defined]  # documented, untyped
    # TypeError: Windows has no library of the process itself.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_PIECE)
        mallopt(_TRIM_THRESHOLD, _KEPT)
