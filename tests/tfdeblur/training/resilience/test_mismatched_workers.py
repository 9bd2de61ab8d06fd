"""Mismatched workers: all of them end with the same message before they can deadlock."""

import shutil

import pytest

from tests.helpers.tiny_data import write_data_set
from tests.tfdeblur.test_workers import LONG, Job, settings
from tfdeblur import train
from tfdeblur.checkpoints.retention import list_checkpoints

pytestmark = pytest.mark.slow

BOUND_SECONDS = 240


def run_workers(folder, repository, flags, **sections):
    """Returns exit codes, errors and outputs of two workers; the second one has more flags."""
    run_config = settings(folder, "job", **sections)
    with Job(folder, run_config, 2, repository, flags=[(), flags]) as job:
        codes, outputs = job.end(timeout=BOUND_SECONDS)
    for output in outputs:
        assert "Traceback" not in output, output
    errors = [
        [line for line in output.splitlines() if line.startswith("error: ")] for output in outputs
    ]
    return codes, errors, outputs


def test_workdir_that_is_not_shared_is_refused(tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    train.run(settings(tmp_path, "job", steps=4))
    alone = ["--workdir", str(tmp_path / "other")]
    codes, errors, outputs = run_workers(tmp_path, repository, alone, steps=6)
    assert codes == [2, 2], "\n".join(outputs)
    assert errors[0] == errors[1]
    assert len(errors[0]) == 1
    assert "images seen is 0 on worker 1, but 48 on the chief" in errors[0][0]
    assert "--workdir must be one folder for all workers" in errors[0][0]
    assert list_checkpoints(str(tmp_path / "job" / "checkpoints")) == [24, 48]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--optimizer.learning-rate", "0.1"], "optimizer.learning_rate is 0.1 on worker 1"),
        (["--runtime.steps-per-loop", "3"], "runtime.steps_per_loop is 3 on worker 1"),
        (["--model.width", "8"], "model.width is 8 on worker 1, but 4 on the chief"),
    ],
    ids=["rate", "loop", "model"],
)
def test_other_settings_are_refused(flags, message, tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    codes, errors, outputs = run_workers(tmp_path, repository, flags)
    assert codes == [2, 2], "\n".join(outputs)
    assert errors[0] == errors[1]
    assert message in errors[0][0]
    # The chief has not touched the work directory yet.
    assert not (tmp_path / "job").exists()


def test_other_data_are_refused_and_copies_are_accepted(tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    write_data_set(str(tmp_path / "other"), seed=1)
    codes, _, outputs = run_workers(tmp_path, repository, ["--data", str(tmp_path / "copy")])
    assert codes == [0, 0], "\n".join(outputs)
    codes, errors, outputs = run_workers(tmp_path, repository, ["--data", str(tmp_path / "other")])
    assert codes == [2, 2], "\n".join(outputs)
    assert "training shards of data set 1 is " in errors[0][0]


def test_worker_without_data_ends_the_others(tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    missing = ["--data", str(tmp_path / "missing")]
    codes, errors, outputs = run_workers(tmp_path, repository, missing)
    assert codes == [75, 2], "\n".join(outputs)
    assert "missing does not exist" in errors[1][0]
    assert "Another worker of this job has ended" in errors[0][0]
    assert "Graph execution error" not in errors[0][0]


def test_chief_without_workdir_ends_the_others(tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    (tmp_path / "job").write_text("a file where the work directory should be")
    codes, errors, outputs = run_workers(tmp_path, repository, [])
    assert codes == [2, 75], "\n".join(outputs)
    assert "Another worker of this job has ended" in errors[1][0]


def test_damaged_data_of_one_worker_are_named_by_it_alone(tmp_path, repository):
    write_data_set(str(tmp_path / "data"))
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    shard = sorted((tmp_path / "copy").glob("train-*"))[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    flags = ["--data", str(tmp_path / "copy")]
    codes, errors, outputs = run_workers(tmp_path, repository, flags, steps=400, **LONG)
    assert codes == [75, 2], "\n".join(outputs)
    assert f"{shard} is damaged at record" in errors[1][0]
    assert "Another worker of this job has ended" in errors[0][0]


def test_equal_workers_resume_and_roll_back_together(tmp_path, repository):
    """Batch norm and dropout have states of their own, which restoring makes equal."""
    write_data_set(str(tmp_path / "data"))
    noisy = {
        "model": {"name": "deblurgan", "blocks": 1, "width": 4, "norm": "batch", "dropout": 0.5},
        "guards": {"on_nonfinite": "rollback", "rollback_factor": 1e-32},
    }
    codes, _, outputs = run_workers(tmp_path, repository, [], steps=2, **noisy)
    assert codes == [0, 0], "\n".join(outputs)
    # The first update makes the weights overflow.
    noisy["optimizer"] = {"learning_rate": 1e30}
    codes, _, outputs = run_workers(tmp_path, repository, [], steps=6, **noisy)
    assert codes == [0, 0], "\n".join(outputs)
    for output in outputs:
        assert "Resuming from" in output
        assert "Rolled back to" in output
