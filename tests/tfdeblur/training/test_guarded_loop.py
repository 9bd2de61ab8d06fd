"""The training loop: skipped steps, waiting for data, hooks by time, several workers."""

import math
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toys import Ratio, toy_batch, toy_loop, two_replicas
from tfdeblur.training import loop as loop_module
from tfdeblur.training.loop import Diverged, Hook


def build(steps_per_loop=4, skip=True, **options):
    return toy_loop(Ratio(), steps_per_loop, skip_nonfinite=skip, **options)


def batches(black=(), pause=0.0):
    def planted():
        for index in range(1000):
            batch = toy_batch(seed=index)
            if index in black:
                batch["sharp"][3] = 0
            time.sleep(pause)
            yield batch

    spec = {k: tf.TensorSpec(v.shape, tf.uint8) for k, v in toy_batch().items()}
    return iter(tf.data.Dataset.from_generator(planted, output_signature=spec))


class TestSkipping:
    def test_skipped_steps_are_counted_and_excluded_from_means(self):
        loop, state = build(max_skips=3)
        skipped, reports, progress = [], [], []
        loop.run(
            batches(black=(1, 2, 6)),
            96,
            [Hook(32, reports.append)],
            lambda images, metrics: progress.append(metrics),
            on_skipped=lambda *event: skipped.append(event),
        )
        names = "generator/loss, generator/gradient_norm"
        assert skipped == [(32, 2, names), (64, 1, names)]
        assert state.images_seen == 96
        losses = [report.metrics["generator/loss"] for report in reports]
        assert len(losses) == 3 and all(np.isfinite(losses))
        # A skipped step must not pull the mean toward 0.
        assert losses[0] > 0.8 * losses[1]
        assert all("skipped" not in metrics for metrics in progress)

    def test_call_with_skipped_steps_only_reports_no_metrics(self):
        loop, _ = build(steps_per_loop=1, max_skips=1)
        progress = []
        loop.run(batches(black=(1,)), 24, [], lambda images, metrics: progress.append(metrics))
        assert [bool(metrics) for metrics in progress] == [True, False, True]

    @pytest.mark.parametrize("steps_per_loop", [1, 50])
    def test_too_many_skips_in_a_row_raise_diverged(self, steps_per_loop):
        loop, _ = build(steps_per_loop, max_skips=3)
        loop.run(batches(black=(2, 3, 4)), 64, [])
        loop, _ = build(steps_per_loop, max_skips=3)
        with pytest.raises(Diverged, match=r"4 steps in a row were skipped because generator/loss"):
            loop.run(batches(black=(2, 3, 4, 5)), 64, [])


@pytest.mark.slow
def test_waiting_is_larger_with_a_slow_iterator(repository):
    """In its own process, because other tests make ops deterministic."""
    program = "from tests.tfdeblur.training.test_guarded_loop import compare; compare()"
    subprocess.run([sys.executable, "-c", program], cwd=repository, check=True)


def compare():
    waiting = []
    for pause in (0.0, 0.1):
        loop, _ = build(skip=False)
        reports = []
        loop.run(batches(pause=pause), 96, [Hook(48, reports.append)])
        waiting.append(reports[-1].waiting)
    assert 0 <= waiting[0] < waiting[1] <= 1
    tf.config.experimental.enable_op_determinism()
    loop, _ = build(skip=False)
    loop.run(batches(), 48, [Hook(48, reports.append)])
    assert reports[-1].waiting is None


class TestTime:
    def test_hook_with_seconds_is_called_by_time(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(loop_module, "_now", lambda: now[0])
        loop, _ = build(steps_per_loop=1)
        called = []
        hook = Hook(None, lambda report: called.append(report.images), seconds=10.0)

        def pass_time(images, metrics):
            now[0] += 4.0

        loop.run(batches(), 80, [hook], pass_time)
        assert called == [24, 48, 72, 80]

    def test_time_of_day_set_back_changes_nothing(self, monkeypatch):
        times = iter(range(10**6, 0, -3600))
        monkeypatch.setattr(time, "time", lambda: float(next(times)))
        loop, _ = build(steps_per_loop=1)
        reports = []
        loop.run(batches(), 32, [Hook(8, reports.append)])
        # The first call compiles the step, so its speed is unknown.
        assert reports[0].images_per_second is None and reports[0].epoch_seconds is None
        assert all(0 < report.images_per_second < math.inf for report in reports[1:])


class TestSeveralWorkers:
    """Two replicas in one process; `test_workers` starts real workers."""

    def test_agreed_returns_flags_of_any_worker(self):
        loop, _ = build(strategy=two_replicas(), several_workers=True)
        assert loop.agreed([False, True, False]) == [False, True, False]
        assert loop.agreed([]) == []
