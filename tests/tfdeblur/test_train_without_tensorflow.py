"""Training where TensorFlow is not installed: files, resuming, and the same samples."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.runs import history, weights
from tests.helpers.tiny_data import write_data_set

pytest.importorskip("jax")

PROGRAM = """
import sys
if sys.argv.pop(1) == "without":
    sys.modules["tensorflow"] = None  # importing it raises ModuleNotFoundError
from tfdeblur import train

if __name__ == "__main__":
    code = train.main(sys.argv[1:])
    loaded = [name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "tf_keras")]
    assert sys.modules["tensorflow"] is not None or loaded == ["tensorflow"], loaded
    sys.exit(code)
"""


@pytest.fixture
def train(tmp_path, repository):
    """Returns the function that runs the command in a process of its own."""
    write_data_set(str(tmp_path / "data"), {"train": 24, "val": 6}, side=32)
    (tmp_path / "program.py").write_text(PROGRAM)

    def run(tensorflow, workdir, *flags, code=0):
        environment = {name: v for name, v in os.environ.items() if name != "KERAS_BACKEND"}
        environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(repository)}
        words = "--recipe unet16_cifar10 --model.width 4 --data data --global-batch 8"
        done = subprocess.run(
            [
                sys.executable,
                "program.py",
                tensorflow,
                *words.split(),
                "--workdir",
                workdir,
                *flags,
            ],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_run_resumes_and_equals_one_with_tensorflow(train, tmp_path):
    train("without", "run", "--steps", "2")  # auto takes JAX
    printed = train("without", "run", "--steps", "5", "--engine", "jax")
    assert "Resuming" in printed
    workdir = tmp_path / "run"
    assert {"index.html", "pictures", "tensorboard", "best", "checkpoints"} <= {
        path.name for path in workdir.iterdir()
    }
    assert list((workdir / "pictures").glob("*-restored-*.png"))
    rows = history(str(workdir))
    validated = {int(row["images"]) for row in rows if row["val/psnr_db"]}
    assert {16, 40} <= validated

    train("with", "whole", "--steps", "5", "--engine", "jax")
    whole = weights(str(tmp_path / "whole"))
    for ours, theirs in zip(weights(str(workdir)), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "flags",
    [["--data.cache", "off"], ["--synthesis.blur", "gaussian"], ["--engine", "tensorflow"]],
    ids=str,
)
def test_what_needs_tensorflow_is_refused_in_one_line(train, tmp_path, flags):
    printed = train("without", "run", "--steps", "2", *flags, code=2)
    assert "tfdeblur[cpu]" in printed and "Traceback" not in printed
    assert not (tmp_path / "run" / "checkpoints").exists()
