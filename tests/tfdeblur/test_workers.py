"""Two processes train as one."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import yaml

from tests.tfdeblur.runs import history
from tests.tfdeblur.tiny_data import write_data_set
from tfdeblur import config, train
from tfdeblur.training.checkpoint import load_generator

pytestmark = pytest.mark.slow


OBJECTIVES = {
    "content": {"objective": "content"},
    "wgan_gp": {
        "objective": {"name": "wgan_gp", "critic_updates": 2, "losses": {"mse": 1.0}},
        "critic": {"name": "patch_gan", "layers": 1, "width": 4},
    },
}


def settings(folder, workdir, objective, **runtime):
    return config.resolve(
        {
            "workdir": str(folder / workdir),
            "model": {"name": "unet16", "width": 4},
            **OBJECTIVES[objective],
            "data": {"paths": [str(folder / "data")]},
            "optimizer": {"learning_rate": 0.01},
            "training": {"duration": "2 epochs", "global_batch": 8},
            "runtime": runtime,
        }
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_workers_train_as_one_process(objective, tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    train.run(settings(tmp_path, "one", objective))

    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{s.getsockname()[1]}" for s in (first, second)]
    resolved = tmp_path / "two.yaml"
    resolved.write_text(
        config.to_yaml(settings(tmp_path, "two", objective, strategy="multi_worker"))
    )
    started = []
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "tfdeblur.train", "--config", str(resolved)],
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
                cwd=repository,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(outputs)

    one, meta = load_generator(str(tmp_path / "one"), "last")
    two, other = load_generator(str(tmp_path / "two"), "last")
    assert meta["images"] == other["images"] == 48
    if objective == "content":
        for a, b in zip(one.network.get_weights(), two.network.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=5e-4)
    # Adam's steps have the size of the rate wherever a gradient is near 0, whose sign is a matter
    # of rounding; what the steps do to the losses is not.
    last = [history(str(tmp_path / name))[-1] for name in ("one", "two")]
    for name in last[0]:
        if "/" in name and "gradient_norm" not in name:
            assert float(last[1][name]) == pytest.approx(float(last[0][name]), rel=0.02), name
    assert yaml.safe_load((tmp_path / "two" / "config.yaml").read_text())["model"]["width"] == 4
