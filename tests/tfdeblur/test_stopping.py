"""A run that is told to stop keeps what it has, says so, and goes on as if nothing had been."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.tfdeblur.runs import settings, weights
from tests.tfdeblur.tiny_data import write_data_set
from tfdeblur import train
from tfdeblur.training.checkpoint import list_checkpoints


@pytest.mark.slow
def test_sigterm_saves_and_leaves_with_143(tmp_path: pathlib.Path) -> None:
    write_data_set(str(tmp_path / "data"))
    workdir = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "tfdeblur.train", "--model", "unet16", "--model.width", "4"),
        *("--objective", "content", "--data", str(tmp_path / "data"), "--workdir", str(workdir)),
        *("--global-batch", "8", "--images", "8000000", "--runtime.steps-per-loop", "1"),
        *("--output.save-every", "7000000 images", "--output.log-every", "8 images"),
        *("--output.validate-every", "7000000 images", "--runtime.deterministic"),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 120
    while not (workdir / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, errors
    message = errors.strip().splitlines()[-1]
    assert message.startswith("Stopped; saved ")
    assert "Traceback" not in errors

    # What was saved goes on to what an undisturbed run reaches.
    (images,) = list_checkpoints(str(workdir / "checkpoints"))
    goal = {"training": {"duration": f"{images + 16} images", "global_batch": 8}}
    options = {"objective": {"losses": {"mse": 1.0}}, "optimizer": {"learning_rate": 1e-3}}
    options |= {"data": {"paths": [str(tmp_path / "data")]}, "runtime": {"deterministic": True}}
    for name in ("run", "whole"):
        config = settings(str(tmp_path), name, **options, **goal)
        train.run(config)
    pairs = zip(weights(str(workdir)), weights(str(tmp_path / "whole")), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)
