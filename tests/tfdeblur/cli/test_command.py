"""Exit codes of commands whose output is not read."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from tfdeblur.cli.command import guard
sys.exit(guard(lambda: print("x" * {length}) or 0))
"""


@pytest.mark.parametrize("length", [1, 1_000_000])
def test_closed_output_ends_a_command_with_1_and_nothing_else(length):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", PROGRAM.format(length=length)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
