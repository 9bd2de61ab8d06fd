"""A worker keeps the memory of its last picture; it does not get it anew page by page."""

import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import resource
import numpy as np
from data_prep.runners._memory import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones((720, 1280, 3), np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = faults()
print(first, sum(faults() for _ in range(10)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_the_memory_of_a_picture_is_used_again():
    command = [sys.executable, "-c", _SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, ten_more = map(int, done.stdout.split())
    # The kernel may give pages of any size, but it gives none again.
    assert ten_more <= max(first, 50)
