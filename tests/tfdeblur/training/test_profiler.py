"""The trace of some steps; `engines/jax/test_runs.py` has a run that writes one under JAX."""

import pytest

from tests.helpers.runs import settings, traces
from tests.helpers.tiny_data import write_data_set
from tfdeblur import config, train
from tfdeblur.io import files


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
