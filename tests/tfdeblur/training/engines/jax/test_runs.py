"""Runs under JAX by the command: files, resuming under the other engine, several processes."""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import yaml

from tests.helpers.real_data import build_cifar10
from tests.helpers.runs import history, settings, traces, weights
from tests.helpers.tiny_data import training_data, write_data_set
from tests.helpers.tiny_models import TINY
from tfdeblur import config, train
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.config.fields import Size

pytest.importorskip("jax")


def start(
    folder,
    run_config,
    repository,
    *flags,
    engine="jax",
    tf_config=None,
    devices=1,
    program=None,
    variables=None,
):
    """Starts a run on simulated devices of the CPU, in a process of its own.

    A program in place of the command must end with it, and may change the library before.
    """
    file = folder / f"{os.path.basename(run_config.workdir)}.yaml"
    file.write_text(config.to_yaml(run_config))
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {"TF_CONFIG": json.dumps(tf_config)} if tf_config else {}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    environment |= {"KERAS_BACKEND": "jax"} if program else {}
    environment |= variables or {}
    command = ["-c", program] if program else ["-m", "tfdeblur.train"]
    return subprocess.Popen(
        [sys.executable, *command, "--config", str(file), "--engine", engine, *flags],
        env=environment,
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, code=0):
    printed, _ = process.communicate()
    assert process.returncode == code, printed
    return printed


def run_settings(folder, workdir, steps, **sections):
    training = {"duration": f"{steps} steps", "global_batch": 8, "ema_decay": 0.9}
    return settings(str(folder), workdir, training=training, **sections)


@pytest.mark.slow
def test_run_writes_all_files_and_resumes_under_tensorflow(tmp_path, repository):
    write_data_set(str(tmp_path / "data"), {"train": 20, "val": 4})
    traced = {"runtime": {"steps_per_loop": 1}, "output": {"profile": True}}
    printed = finish(start(tmp_path, run_settings(tmp_path, "run", 4, **traced), repository))
    assert "JAX" in printed
    workdir = tmp_path / "run"
    rows = history(str(workdir))
    assert [int(row["images"]) for row in rows][-1] == 32
    assert {"index.html", "pictures", "tensorboard", "best"} <= {p.name for p in workdir.iterdir()}
    assert len(traces(str(workdir))) == 1
    resolved = yaml.safe_load((workdir / "config.yaml").read_text())
    assert resolved["runtime"]["engine"] == "jax"

    moved = run_settings(tmp_path, "run", 6, runtime={"engine": "tensorflow"})
    assert train.run(moved).images == 48
    assert [int(row["images"]) for row in history(str(workdir))][-1] == 48


@pytest.mark.slow
def test_batch_norm_that_moves_from_two_replicas_to_jax_warns_once(tmp_path, repository):
    write_data_set(str(tmp_path / "data"), {"train": 20, "val": 4})

    def configure(steps, **sections):
        model = {"name": "srresnet", "blocks": 1}
        return run_settings(tmp_path, "run", steps, model=model, **sections)

    assert train.run(configure(1, runtime={"strategy": "mirrored"})).images == 8
    for steps, warnings in ((2, 1), (3, 0)):
        printed = finish(start(tmp_path, configure(steps), repository, devices=2))
        assert "Resuming from" in printed
        assert printed.count("warning: batch norm of the generator") == warnings


@pytest.mark.slow
def test_run_in_bfloat16_stays_close_to_one_in_float32(tmp_path, repository):
    write_data_set(str(tmp_path / "data"), {"train": 20, "val": 4})
    losses = {}
    for precision in ("float32", "bfloat16"):
        sections = {
            "model": {"name": "nafnet", **TINY["nafnet"]},
            "objective": {"name": "content", "losses": {"mse": 1.0}},
            "runtime": {"precision": precision},
        }
        finish(start(tmp_path, run_settings(tmp_path, precision, 4, **sections), repository))
        losses[precision] = float(history(str(tmp_path / precision))[-1]["generator/loss"])
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)


POISONED = """
import sys
import jax.numpy as jnp
from tfdeblur import train
from tfdeblur.training.engines.jax import train_step

sound = train_step.uint8_to_unit

def poisoned(images):
    sums = jnp.sum(images.astype("int32"), axis=(1, 2, 3), keepdims=True)
    return jnp.where(sums == {total}, jnp.nan, sound(images))

train_step.uint8_to_unit = poisoned
sys.exit(train.main())
"""


def pixel_sum(data, position):
    """Returns the sum of the sharp pixels of a record, which flips and turns do not change."""
    (batch,) = training_data(data).dataset(1, position).take(1)
    return int(batch["sharp"].numpy().sum(dtype=np.int64))


@pytest.mark.long
def test_nonfinite_loss_stops_the_run_which_resumes_from_its_last_checkpoint(tmp_path, repository):
    data, workdir = write_data_set(str(tmp_path / "data")), str(tmp_path / "run")
    finish(start(tmp_path, run_settings(tmp_path, "run", 2), repository))

    whole = run_settings(tmp_path, "run", 6)
    # In the third batch of 8.
    program = POISONED.format(total=pixel_sum(data, 20))
    printed = finish(start(tmp_path, whole, repository, program=program), code=2)
    assert re.search(r"step 3, after 16 images: generator/loss.* is not finite", printed)
    assert "The last good checkpoint is " in printed and "Traceback" not in printed
    assert list_checkpoints(f"{workdir}/checkpoints") == [16]
    assert [int(row["images"]) for row in history(workdir)] == [8, 16]

    assert "Resuming from" in finish(start(tmp_path, whole, repository))
    rows = history(workdir)
    assert [int(row["images"]) for row in rows] == list(range(8, 56, 8))
    assert all(np.isfinite(float(row["generator/loss"])) for row in rows)
    assert all(np.isfinite(value).all() for value in weights(workdir))


@pytest.mark.long
def test_rollback_continues_with_smaller_learning_rates(tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    sections = {
        "optimizer": {"learning_rate": 1e30},
        "guards": {"on_nonfinite": "rollback", "rollback_factor": 1e-32},
        "output": {"save_every": "2 steps"},
    }
    printed = finish(start(tmp_path, run_settings(tmp_path, "run", 6, **sections), repository))
    assert printed.count("Rolled back to") == 1
    assert "learning rates are multiplied by 1e-32 from here" in printed

    # A resumed run keeps the smaller rates.
    printed = finish(start(tmp_path, run_settings(tmp_path, "run", 8, **sections), repository))
    assert "This run was rolled back 1 time" in printed and "Rolled back to" not in printed
    rows = history(str(tmp_path / "run"))
    assert [int(row["images"]) for row in rows] == list(range(8, 72, 8))
    assert {row["guards/rollbacks"] for row in rows} == {"1.0"}
    for row in rows:
        assert float(row["generator/learning_rate"]) == pytest.approx(0.01)
        assert np.isfinite(float(row["generator/loss"]))
    assert all(np.isfinite(value).all() for value in weights(str(tmp_path / "run")))


@pytest.mark.long
def test_stages_resume_in_a_later_one(tmp_path, repository):
    write_data_set(str(tmp_path / "data"), {"train": 20, "val": 4})

    def staged(workdir, steps):
        run_config = run_settings(tmp_path, workdir, steps, data={"crop": 8})
        stages = (config.StageConfig(start="2 steps", crop=Size(16, 16), global_batch=4),)
        training = dataclasses.replace(run_config.training, stages=stages)
        return dataclasses.replace(run_config, training=training)

    assert "crops of 16x16" in finish(start(tmp_path, staged("whole", 4), repository))
    finish(start(tmp_path, staged("parts", 3), repository))
    finish(start(tmp_path, staged("parts", 4), repository))
    assert [int(row["images"]) for row in history(str(tmp_path / "whole"))][-1] == 24
    whole = weights(str(tmp_path / "whole"))
    for ours, theirs in zip(weights(str(tmp_path / "parts")), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.long
def test_run_that_moves_between_engines_equals_one_that_does_not(tmp_path, repository):
    write_data_set(str(tmp_path / "data"), {"train": 20, "val": 4})
    finish(start(tmp_path, run_settings(tmp_path, "whole", 9), repository))
    finish(start(tmp_path, run_settings(tmp_path, "moved", 3), repository))
    train.run(run_settings(tmp_path, "moved", 6))
    finish(start(tmp_path, run_settings(tmp_path, "moved", 9), repository))
    whole = weights(str(tmp_path / "whole"))
    for ours, theirs in zip(weights(str(tmp_path / "moved")), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.long
def test_cifar10_run_that_moves_scores_as_one_that_does_not(real_data, tmp_path, repository):
    """UNet16 for 6,400 images under TensorFlow, JAX and TensorFlow: 0.1 dB on 1,000 images."""
    data = build_cifar10(real_data, tmp_path, "--limit", "19200", "--encoding", "raw")

    def train_under(engine, workdir, code=0, **runtime):
        tree = {
            "recipe": "unet16_cifar10_fast",
            "workdir": str(tmp_path / workdir),
            "data": {"paths": [data]},
            "training": {"duration": "300 steps"},
            "runtime": {"steps_per_loop": 100, **runtime},
            "output": {"validate_every": "100 steps", "validation_images": 1000},
        }
        return finish(start(tmp_path, config.resolve(tree), repository, engine=engine), code)

    train_under("tensorflow", "whole")
    # Stops after the first call, with the learning rate of the whole run.
    train_under("tensorflow", "moved", code=143, max_minutes=1e-9)
    printed = train_under("jax", "moved", code=143, max_minutes=1e-9)
    assert "Resuming from" in printed and "JAX" in printed
    assert "Resuming from" in train_under("tensorflow", "moved")

    def scores(workdir):
        rows = history(str(tmp_path / workdir))
        found = {int(row["images"]): row["val/psnr_db"] for row in rows if row["val/psnr_db"]}
        return {images: float(score) for images, score in found.items()}

    whole = scores("whole")
    assert list(whole) == [6400, 12800, 19200]
    assert whole[6400] < whole[12800] < whole[19200]
    assert scores("moved") == pytest.approx(whole, rel=0, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "batch", "devices"),
    [
        (2, 12, 1),
        pytest.param(3, 12, 1, marks=pytest.mark.long),
        # Two of the processes share the batch, each on two of its devices; the third exits.
        pytest.param(3, 4, 8, marks=pytest.mark.long),
    ],
)
def test_processes_train_like_one(tmp_path, repository, count, batch, devices):
    write_data_set(str(tmp_path / "data"), {"train": 24, "val": 4})
    options = {
        "training": {"duration": "4 steps", "global_batch": batch},
        # Not WGAN-GP, whose penalty magnifies differences of rounding step by step.
        "objective": {"name": "wgan", "critic_updates": 2, "losses": {"mse": 1.0}},
        "critic": {"name": "patch_gan", "layers": 1, "width": 4},
    }
    finish(start(tmp_path, settings(str(tmp_path), "one", **options), repository))
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    several = settings(str(tmp_path), "several", **options)
    processes = [
        start(
            tmp_path,
            several,
            repository,
            tf_config={
                "cluster": {"worker": workers},
                "task": {"type": "worker", "index": index},
            },
            devices=devices,
        )
        for index in range(count)
    ]
    printed = [finish(process) for process in processes]
    assert printed[-1].splitlines()[-1].startswith("Exiting: ") == (batch == 4)
    assert ("4 x cpu in 2 processes" in printed[0]) == (batch == 4)
    one, many = (weights(str(tmp_path / name)) for name in ("one", "several"))
    for ours, theirs in zip(many, one, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_processes_that_jax_finds_repeat_each_other_where_the_batch_is_too_small(
    tmp_path, repository
):
    """As on a slice of TPUs, without TF_CONFIG: 3 images on each of two processes, by 3 devices."""
    write_data_set(str(tmp_path / "data"), {"train": 24, "val": 4})
    training = {"duration": "4 steps", "global_batch": 3}
    finish(start(tmp_path, settings(str(tmp_path), "one", training=training), repository))
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    runtime = {"strategy": "multi_worker"}
    several = settings(str(tmp_path), "several", training=training, runtime=runtime)
    processes = [
        start(
            tmp_path,
            several,
            repository,
            devices=4,
            variables={
                "JAX_COORDINATOR_PORT": str(port),
                "SLURM_JOB_ID": "1",
                "SLURM_STEP_NODELIST": "localhost",
                "SLURM_NTASKS": "2",
                "SLURM_PROCID": str(index),
                "SLURM_LOCALID": "0",
            },
        )
        for index in range(2)
    ]
    for printed in map(finish, processes):
        assert "3 x cpu in 2 processes" in printed
        assert "1 of 2 processes only repeats the work of others" in printed
    one, many = (weights(str(tmp_path / name)) for name in ("one", "several"))
    for ours, theirs in zip(many, one, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_strategy_multi_worker_outside_of_a_cluster_is_an_error(tmp_path, repository):
    write_data_set(str(tmp_path / "data"), {"train": 24, "val": 4})
    runtime = {"strategy": "multi_worker"}
    alone = settings(str(tmp_path), "alone", runtime=runtime)
    printed = finish(start(tmp_path, alone, repository), code=2)
    assert "TF_CONFIG" in printed and "Traceback" not in printed
