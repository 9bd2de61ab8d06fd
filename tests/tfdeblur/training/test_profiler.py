"""The trace of some steps, which both engines write."""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.helpers.runs import settings
from tests.helpers.tiny_data import write_data_set
from tfdeblur import config, train
from tfdeblur.io import files


def traces(workdir):
    return [name for name in files.walk_files(workdir) if name.endswith(".xplane.pb")]


def test_run_writes_one_trace_of_one_call_of_steps(folder, capsys):
    write_data_set(files.join(folder, "data"))
    traced = settings(
        folder,
        training={"duration": "7 steps", "global_batch": 4},
        runtime={"steps_per_loop": 2},
        output={"profile": True, "validate_every": "4 steps", "save_every": "4 steps"},
    )
    assert train.run(traced).images == 28
    (trace,) = traces(traced.workdir)
    assert trace.startswith("tensorboard/plugins/profile/")
    assert files.size(files.join(traced.workdir, trace)) > 1000
    # Two steps of four images, after the first two.
    assert "before image 16" in capsys.readouterr().out


@pytest.mark.slow
def test_run_that_is_too_short_for_a_trace_warns(folder, capsys):
    write_data_set(files.join(folder, "data"))
    short = settings(
        folder,
        training={"duration": "2 steps", "global_batch": 4},
        output={"profile": True},
    )
    train.run(short)
    assert not traces(short.workdir)
    assert "output.profile" in capsys.readouterr().out


def test_profile_flag_sets_the_key(capsys):
    words = ["--recipe", "unet16_cifar10", "--workdir", "w", "--profile", "--print-config"]
    assert train.main(words) == 0
    assert "profile: true" in capsys.readouterr().out
    assert not config.resolve({"recipe": "unet16_cifar10", "workdir": "w"}).output.profile


JAX = """
    from types import SimpleNamespace
    import jax
    from tfdeblur.training.profiler import Profiler

    config = SimpleNamespace(runtime=SimpleNamespace(steps_per_loop=5))
    run = SimpleNamespace(output={out!r}, owns_workdir=True, config=config)
    profiler = Profiler(run)
    report = SimpleNamespace(images=8, last=False)
    for callback in (profiler.end, profiler.begin, profiler.end, profiler.begin, profiler.end):
        callback(report)
        jax.jit(lambda x: x + 1)(1.0).block_until_ready()
"""


def test_trace_under_jax_is_written(tmp_path):
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(JAX.format(out=str(tmp_path)))],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(traces(str(tmp_path))) == 1
