"""A signal stops a run, which is saved and resumes as if it had not been stopped."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.helpers.runs import history, settings, weights
from tests.helpers.tiny_data import write_data_set
from tfdeblur import train
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.errors import Stopped
from tfdeblur.io import files
from tfdeblur.training.gallery import Validation
from tfdeblur.training.resilience.preemption import NOTHING_TO_SAVE, STOPPING
from tfdeblur.training.validation import Validator


@pytest.mark.slow
@pytest.mark.parametrize("which", [1, 2])
def test_signal_ends_validation_which_runs_on_resume(
    which: int, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second validation is the last one, after which there are no more steps."""
    write_data_set(files.join(folder, "data"))
    options = {
        "training": {"duration": "4 steps", "global_batch": 8},
        "output": {"validate_every": "2 steps", "save_every": "4 steps", "log_every": "1 steps"},
        "runtime": {"deterministic": True},
    }
    # Only this run watches for stalls, which changes no number.
    train.run(settings(folder, "whole", **options, guards={"stall_seconds": 0.001}))
    assert "warning: the first step has not finished" in capsys.readouterr().err

    validate, begun = Validator.__call__, []

    def signalled(self: Validator) -> Validation:
        begun.append(True)
        if len(begun) == which:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(self)

    monkeypatch.setattr(Validator, "__call__", signalled)
    with pytest.raises(Stopped) as stopped:
        train.run(settings(folder, "run", **options))
    assert stopped.value.exit_code == 143
    assert STOPPING in capsys.readouterr().err
    run, whole = files.join(folder, "run"), files.join(folder, "whole")
    assert list_checkpoints(files.join(run, "checkpoints")) == [16 * which]
    assert not history(run)[-1].get("val/psnr_db")

    result = train.run(settings(folder, "run", **options))
    names = ("images", "generator/loss", "val/psnr_db", "val/ssim")
    rows = [[[row[name] for name in names] for row in history(one)] for one in (run, whole)]
    assert rows[0] == rows[1]
    assert str(result.best["psnr_db"]) in [row[2] for row in rows[1]]
    for a, b in zip(weights(run), weights(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    # The validation does not run a second time.
    train.run(settings(folder, "run", **options))
    assert len(begun) == 3


class Command:
    """The training command on one of two hosts, of which the other one never starts."""

    def __init__(self, folder: pathlib.Path, minutes: float) -> None:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            self.workers = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
        cluster = {"cluster": {"worker": self.workers}, "task": {"type": "worker", "index": 0}}
        path = os.pathsep.join(sys.path)
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tfdeblur.train", "--model", "unet16"),
                *("--objective", "content", "--data", str(folder / "data")),
                *("--workdir", str(folder / "run"), "--steps", "1"),
                *("--runtime.worker-minutes", str(minutes)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "TF_CONFIG": json.dumps(cluster)},
        )

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.slow
def test_worker_with_missing_peer_names_it_and_exits_with_75(tmp_path: pathlib.Path) -> None:
    with Command(tmp_path, minutes=1e-4) as command:
        output, _ = command.process.communicate()
    assert command.process.returncode == 75, output
    assert f"Waiting for 1 worker: {command.workers[1]}." in output
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: Not all workers of this job started")
    assert f"missing {command.workers[1]}." in last
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_waiting_worker_exits_at_once(
    number: signal.Signals, tmp_path: pathlib.Path
) -> None:
    with Command(tmp_path, minutes=60) as command:
        assert command.process.stdout is not None
        assert any("Waiting for" in line for line in command.process.stdout)
        command.process.send_signal(number)
        output, _ = command.process.communicate()
    assert command.process.returncode == 128 + number
    assert NOTHING_TO_SAVE in output


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_143(tmp_path: pathlib.Path) -> None:
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

    # The saved run resumes to the result of an undisturbed run.
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
