"""Several processes train like one, stop together, and resume in another number."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from tests.helpers.runs import history
from tests.helpers.tiny_data import write_data_set
from tfdeblur import config, train
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.checkpoints.weights import load_generator

pytestmark = pytest.mark.slow

# Seconds after which a worker must have exited whose peer has died.
BOUND_SECONDS = 300

OBJECTIVES = {
    "content": {"objective": "content"},
    "wgan_gp": {
        "objective": {"name": "wgan_gp", "critic_updates": 2, "losses": {"mse": 1.0}},
        "critic": {"name": "patch_gan", "layers": 1, "width": 4},
    },
}


def settings(folder, workdir, objective="content", steps=4, **sections):
    # 48 images: one, two and three processes can share them equally.
    tree = {
        "workdir": str(folder / workdir),
        "model": {"name": "unet16", "width": 4},
        **OBJECTIVES[objective],
        "data": {"paths": [str(folder / "data")]},
        "optimizer": {"learning_rate": 0.01},
        "training": {"duration": f"{steps} steps", "global_batch": 12},
    }
    return config.resolve({**tree, **sections})


class Job:
    """Worker processes of one run; `flags` has additional flags for each of them."""

    def __init__(self, folder, run_config, count, repository, flags=None):
        text = yaml.safe_load(config.to_yaml(run_config))
        text["runtime"] = {**text["runtime"], "strategy": "multi_worker"}
        file = folder / "job.yaml"
        file.write_text(yaml.safe_dump(text))
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            workers = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
        self.processes = []
        command = [sys.executable, "-m", "tfdeblur.train", "--config", str(file)]
        for index in range(count):
            task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            self.processes.append(
                subprocess.Popen(
                    [*command, *(flags[index] if flags else ())],
                    env={**os.environ, "TF_CONFIG": json.dumps(task)},
                    cwd=repository,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def end(self, timeout=600):
        """Waits for all workers; returns exit codes and outputs."""
        outputs = [process.communicate(timeout=timeout)[0] for process in self.processes]
        return [process.returncode for process in self.processes], outputs


def wait_for_checkpoint(workdir, min_images=1):
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        if (counts := list_checkpoints(str(workdir / "checkpoints"))) and counts[-1] >= min_images:
            return counts[-1]
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint in {workdir}")


def assert_same_run(one, other, objective="content"):
    first, meta = load_generator(str(one), "last")
    second, others = load_generator(str(other), "last")
    assert meta["images"] == others["images"]
    if objective == "content":
        pairs = zip(first.network.get_weights(), second.network.get_weights(), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, atol=5e-4)
    # Where a gradient is near 0, Adam's updates are as large as the learning rate, and their sign
    # depends on rounding; the losses hardly do.
    last = [history(str(workdir))[-1] for workdir in (one, other)]
    for name in last[0]:
        if "/" in name and "gradient_norm" not in name:
            assert float(last[1][name]) == pytest.approx(float(last[0][name]), rel=0.02), name


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_workers_train_like_one_process(objective, count, tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    train.run(settings(tmp_path, "one", objective))
    with Job(tmp_path, settings(tmp_path, "job", objective), count, repository) as job:
        codes, outputs = job.end()
    assert codes == [0] * count, "\n".join(outputs)
    assert_same_run(tmp_path / "one", tmp_path / "job", objective)
    assert yaml.safe_load((tmp_path / "job" / "config.yaml").read_text())["model"]["width"] == 4
    assert not (tmp_path / "job" / "run.lock").exists()


def test_worker_that_cannot_share_the_batch_exits_with_0(tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    training = {"training": {"duration": "6 steps", "global_batch": 4}}
    train.run(settings(tmp_path, "one", **training))
    with Job(tmp_path, settings(tmp_path, "job", **training), 3, repository) as job:
        codes, outputs = job.end()
    assert codes == [0, 0, 0], "\n".join(outputs)
    assert outputs[2].splitlines()[-1].startswith("Exiting: ") and "Trace" not in outputs[2]
    assert_same_run(tmp_path / "one", tmp_path / "job")


def test_workers_with_their_own_files_train_like_one_process(tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    data = {"data": {"paths": [str(tmp_path / "data")], "parts": 2, "cache": "on"}}
    train.run(settings(tmp_path, "one", **data))
    with Job(tmp_path, settings(tmp_path, "job", **data), 2, repository) as job:
        codes, outputs = job.end()
    assert codes == [0, 0], "\n".join(outputs)
    assert_same_run(tmp_path / "one", tmp_path / "job")


LONG = {
    "runtime": {"steps_per_loop": 1},
    "output": {"save_every": "2 steps", "log_every": "2 steps", "validate_every": "5000 steps"},
}


@pytest.mark.parametrize("victim", [0, 1])
def test_death_of_a_worker_ends_the_others_and_the_job_resumes(victim, tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    long = settings(tmp_path, "job", steps=100_000, **LONG)
    with Job(tmp_path, long, 2, repository) as job:
        wait_for_checkpoint(tmp_path / "job", min_images=48)
        job.processes[victim].kill()
        survivor = job.processes[1 - victim]
        output, _ = survivor.communicate(timeout=BOUND_SECONDS)
    assert survivor.returncode == 75, output
    assert output.count("error: Another worker of this job has ended") == 1
    assert "Traceback" not in output

    # The same number of workers, fewer and more all reach the undisturbed result.
    images = wait_for_checkpoint(tmp_path / "job")
    steps = images // 12
    for count, more in ((2, 2), (1, 4), (3, 6)):
        goal = settings(tmp_path, "job", steps=steps + more, **LONG)
        if count == 1:
            train.run(goal)
        else:
            with Job(tmp_path, goal, count, repository) as job:
                codes, outputs = job.end()
            assert codes == [0] * count, "\n".join(outputs)
    train.run(settings(tmp_path, "undisturbed", steps=steps + 6, **LONG))
    assert load_generator(str(tmp_path / "job"), "last")[1]["images"] == images + 72
    last = [history(str(tmp_path / name))[-1] for name in ("undisturbed", "job")]
    for name in ("generator/loss", "epoch"):
        assert float(last[1][name]) == pytest.approx(float(last[0][name]), rel=0.05)


def test_signal_to_one_worker_stops_all(tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    long = settings(tmp_path, "job", steps=100_000, **LONG)
    with Job(tmp_path, long, 2, repository) as job:
        wait_for_checkpoint(tmp_path / "job", min_images=24)
        job.processes[1].send_signal(signal.SIGTERM)
        codes, outputs = job.end(timeout=BOUND_SECONDS)
    assert codes == [143, 143], "\n".join(outputs)
    assert all("Stopped; saved " in output for output in outputs)
    assert all("Traceback" not in output for output in outputs)


def test_checkpoints_by_time_are_written_by_all_workers_at_once(tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    sections = {**LONG, "output": {**LONG["output"], "save_every": "0.02 minutes", "keep": "all"}}
    with Job(tmp_path, settings(tmp_path, "job", steps=150, **sections), 2, repository) as job:
        codes, outputs = job.end()
    assert codes == [0, 0], "\n".join(outputs)
    assert load_generator(str(tmp_path / "job"), "last")[1]["images"] == 1800
