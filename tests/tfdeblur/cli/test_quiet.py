"""TensorFlow's start-up notices, with a package in its place that logs as TensorFlow does."""

import os
import subprocess
import sys

import pytest

_TENSORFLOW = r"""
import os
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called ...\n"
            b"I0000 00:00:1795909620.5 8760 port.cc:153] oneDNN custom operations are on.\n"
            b"F0000 00:00:1795909620.5 8760 cpu.cc:1] needs AVX2\n")
if "CRASH" in os.environ:
    os.abort()
"""
_PROGRAM = """
import importlib.util
import os
from tfdeblur.cli.quiet import silence_tensorflow
silence_tensorflow()
importlib.util.find_spec("tensorflow")  # commands look for it first
import tensorflow
os.write(2, b"I0000 after the import\\n")
"""


def stderr_of_import(folder, **variables):
    (folder / "tensorflow.py").write_text(_TENSORFLOW)
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**environment, "PYTHONPATH": path, **variables},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.stderr.splitlines()


def test_notices_during_the_import_are_hidden_and_errors_are_kept(tmp_path):
    fatal, after = stderr_of_import(tmp_path)
    assert "AVX2" in fatal and "after the import" in after


def test_errors_before_a_crash_are_kept(tmp_path):
    (fatal,) = stderr_of_import(tmp_path, CRASH="1")
    assert "AVX2" in fatal


@pytest.mark.parametrize(("level", "lines"), [("0", 4), ("1", 4), ("2", 2), ("3", 2)])
def test_level_of_the_user_is_respected(tmp_path, level, lines):
    assert len(stderr_of_import(tmp_path, TF_CPP_MIN_LOG_LEVEL=level)) == lines
