"""The training loop: step counts, hooks, stopping, divergence."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toys import Content, Ratio, toy_batch, toy_loop, two_replicas
from tfdeblur.errors import ConfigError
from tfdeblur.training import loop as loop_module
from tfdeblur.training.loop import Diverged, Hook


def build(steps_per_loop=3, objective=None, **options):
    return toy_loop(objective or Content(), steps_per_loop, **options)


def batches():
    data = tf.data.Dataset.range(1000).map(
        lambda _: {k: tf.constant(v) for k, v in toy_batch().items()}
    )
    return iter(data)


def test_hooks_are_called_at_their_intervals_and_at_the_end():
    loop, state = build()
    calls = {"often": [], "seldom": [], "end": []}
    hooks = [
        Hook(16, lambda report: calls["often"].append(report.images)),
        Hook(100, lambda report: calls["seldom"].append(report.images)),
        Hook(10**9, lambda report: calls["end"].append((report.images, report.last))),
    ]
    done = []
    loop.run(batches(), 120, hooks, lambda images, metrics: done.append(images))
    assert calls["often"] == [16, 32, 48, 64, 80, 96, 112, 120]
    assert calls["seldom"] == [104, 120]
    assert calls["end"] == [(120, True)]
    assert sum(done) == state.images_seen == 120


def test_report_metrics_are_means_since_the_last_call():
    loop, _ = build(steps_per_loop=1)
    losses, reports = [], []
    loop.run(
        batches(),
        64,
        [Hook(32, reports.append)],
        lambda images, metrics: losses.append(metrics["generator/loss"]),
    )
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    for report, part in zip(reports, (losses[:4], losses[4:]), strict=True):
        assert report.metrics["generator/loss"] == pytest.approx(np.mean(part), rel=1e-5)
        assert report.images_per_second > 0
    assert [report.epoch for report in reports] == [0.5, 1.0]


def test_speed_leaves_out_the_first_call(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop_module, "_now", lambda: now[0])
    loop, _ = build(steps_per_loop=1)
    run_steps = loop._engine.run_steps

    def slow_first_call(*arguments):
        now[0] += 2.0 if now[0] else 1000.0
        return run_steps(*arguments)

    monkeypatch.setattr(loop._engine, "run_steps", slow_first_call)
    reports = []
    loop.run(batches(), 32, [Hook(16, reports.append)])
    assert [report.images_per_second for report in reports] == [4.0, 4.0]
    assert reports[0].epoch_seconds == 16.0


def test_run_past_total_images_does_nothing():
    loop, state = build()
    state.images.assign(120)
    called = []
    loop.run(batches(), 120, [Hook(8, called.append)])
    assert called == []


def test_stop_request_ends_the_run_after_the_present_call():
    loop, state = build(steps_per_loop=2)
    called = []
    loop.run(batches(), 800, [Hook(16, called.append)], stop=lambda: len(called) == 3)
    assert state.images_seen == 48
    assert not called[-1].last


def test_watch_surrounds_engine_calls_but_not_hooks():
    held = []

    @contextlib.contextmanager
    def watch(steps):
        held.append(steps)
        yield
        held.append("ended")

    loop, _ = build(steps_per_loop=2, watch=watch)
    loop.run(batches(), 40, [Hook(24, lambda report: held.append(report.images))])
    assert held == [2, "ended", 1, "ended", 24, 2, "ended", 40]


def test_watch_surrounds_agreements_between_workers():
    held = []

    @contextlib.contextmanager
    def watch(steps):
        yield
        held.append(steps)

    loop, _ = build(several_workers=True, watch=watch)
    assert loop.agreed([True, False]) == [True, False]
    assert held == [0]


def test_steps_per_loop_does_not_change_the_weights():
    results = []
    for steps_per_loop in (1, 5):
        loop, state = build(steps_per_loop)
        loop.run(batches(), 80, [])
        results.append(state.networks["generator"].network.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_nonfinite_loss_raises_diverged_before_any_hook():
    loop, state = build()
    called = []
    loop.run(batches(), 24, [])
    weights = state.networks["generator"].network.get_weights()
    state.networks["generator"].network.set_weights([value * np.nan for value in weights])
    with pytest.raises(Diverged, match=r"step 4, after 24 images: .*generator/loss, .*not finite"):
        loop.run(batches(), 48, [Hook(8 * 3, called.append)])
    assert called == []


def test_diverged_names_the_first_nonfinite_step_of_a_call():
    def planted():
        for index in range(100):
            batch = toy_batch(seed=index)
            if index == 6:
                batch["sharp"][3] = 0
            yield batch

    loop, _ = build(steps_per_loop=10, objective=Ratio())
    spec = {k: tf.TensorSpec(v.shape, tf.uint8) for k, v in toy_batch().items()}
    data = tf.data.Dataset.from_generator(planted, output_signature=spec)
    with pytest.raises(Diverged, match=r"step 7, after 48 images: generator/loss, generator/grad"):
        loop.run(iter(data), 800, [])


def test_xla_on_several_devices_raises_config_error():
    with pytest.raises(ConfigError, match=r"runtime\.xla"):
        build(strategy=two_replicas(), jit_compile=True)


def test_xla_gives_the_same_weights():
    plain, plain_state = build()
    compiled, compiled_state = build(jit_compile=True)
    for loop in (plain, compiled):
        loop.run(batches(), 40, [])
    for a, b in zip(
        plain_state.networks["generator"].network.get_weights(),
        compiled_state.networks["generator"].network.get_weights(),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)
