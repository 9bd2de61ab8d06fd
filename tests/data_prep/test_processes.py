"""A worker reuses the memory of its last image."""

import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import resource
import numpy as np
from data_prep.processes import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones((720, 1280, 3), np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = faults()
print(first, sum(faults() for _ in range(10)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="requires glibc")
def test_keep_freed_memory_reuses_memory():
    command = [sys.executable, "-c", _SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, ten_more = map(int, done.stdout.split())
    # Pages may have any size, but the kernel provides no new ones.
    assert ten_more <= max(first, 50)
