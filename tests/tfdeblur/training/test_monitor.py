"""Warnings name the scalar that is out of range, and settings to change."""

import pytest

from tfdeblur.config.guards import Guards
from tfdeblur.training.loop import Report
from tfdeblur.training.monitor import MonitorCallback


def report(images=100, waiting=0.0, **metrics):
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    return Report(images, 1000, named, images_per_second=1.0, last=False, waiting=waiting)


def warnings_of(*reports, **guards):
    lines = []
    monitor = MonitorCallback("1 steps", Guards(**guards), lines.append)
    for one in (report(), *reports):
        monitor(one)
    return lines


def test_monitor_with_usual_scalars_prints_nothing():
    usual = report(
        waiting=0.2, critic__wasserstein=-0.3, critic__gradient_norm=4.0, critic__loss=9e9
    )
    assert warnings_of(usual, usual) == []


def test_monitor_ignores_first_report():
    lines = []
    first = report(waiting=1.0, critic__gradient_norm=0.0)
    MonitorCallback("1 steps", Guards(), lines.append)(first)
    assert lines == []


def test_monitor_with_slow_data_warns_once():
    (warning,) = warnings_of(report(waiting=0.62), report(waiting=0.7))
    assert "image 100: the devices wait for data 62% of the time" in warning
    assert "data.cache" in warning


@pytest.mark.parametrize(
    ("metrics", "parts"),
    [
        ({"critic__wasserstein": 2e4}, ("Wasserstein estimate is 2e+04, above 10000", "exploded")),
        ({"critic__wasserstein": -2e4}, ("above 10000", "objective.penalty_weight")),
        ({"critic__wasserstein": 1e-9}, ("below 1e-07", "collapsed", "critic_updates")),
        ({"critic__gradient_norm": 1e6}, ("gradient norm", "networks.critic.optimizer.clip_norm")),
        ({"critic__gradient_norm": 0.0}, ("below 1e-08", "collapsed")),
        ({"generator__gradient_norm": 1e6}, ("the generator's gradient norm", "warmup")),
        ({"generator__gradient_norm": 0.0}, ("no longer learns",)),
    ],
)
def test_monitor_with_scalar_out_of_range_names_it_and_a_setting(metrics, parts):
    (warning,) = warnings_of(report(**metrics))
    for part in parts:
        assert part in warning


def test_monitor_after_recovery_warns_again():
    bad, good = report(critic__gradient_norm=1e6), report(critic__gradient_norm=1.0)
    assert len(warnings_of(bad, bad, bad)) == 1
    assert len(warnings_of(bad, good, bad)) == 2


def test_monitor_limits_are_settings():
    one = report(waiting=0.2, critic__wasserstein=5.0)
    assert len(warnings_of(one, data_wait=0.1, max_wasserstein=1.0)) == 2
