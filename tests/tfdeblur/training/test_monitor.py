"""Warnings name what is out of range and say what to try."""

import pytest

from tfdeblur.config.guards import Guards
from tfdeblur.training.loop import Report
from tfdeblur.training.monitor import Watch


def report(images=100, waiting=0.0, **metrics):
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    return Report(images, 1000, named, images_per_second=1.0, last=False, waiting=waiting)


def warnings_of(*reports, **guards):
    said = []
    watch = Watch(Guards(**guards), said.append)
    for one in (report(), *reports):
        watch(one)
    return said


def test_nothing_is_said_of_a_run_that_is_well():
    well = report(
        waiting=0.2, critic__wasserstein=-0.3, critic__gradient_norm=4.0, critic__loss=9e9
    )
    assert warnings_of(well, well) == []


def test_the_first_report_is_passed_over():
    said = []
    Watch(Guards(), said.append)(report(waiting=1.0, critic__gradient_norm=0.0))
    assert said == []


def test_waiting_for_data():
    (warning,) = warnings_of(report(waiting=0.62), report(waiting=0.7))
    assert "image 100: the devices wait for data 62% of the time" in warning
    assert "data.cache" in warning


@pytest.mark.parametrize(
    ("metrics", "parts"),
    [
        ({"critic__wasserstein": 2e4}, ("Wasserstein estimate is 2e+04, above 10000", "exploded")),
        ({"critic__wasserstein": -2e4}, ("above 10000", "objective.penalty_weight")),
        ({"critic__wasserstein": 1e-9}, ("below 1e-07", "collapsed", "critic_updates")),
        ({"critic__gradient_norm": 1e6}, ("gradient norm", "players.critic.optimizer.clip_norm")),
        ({"critic__gradient_norm": 0.0}, ("below 1e-08", "collapsed")),
        ({"generator__gradient_norm": 1e6}, ("the generator's gradient norm", "warmup")),
        ({"generator__gradient_norm": 0.0}, ("no longer learns",)),
    ],
)
def test_numbers_out_of_range(metrics, parts):
    (warning,) = warnings_of(report(**metrics))
    for part in parts:
        assert part in warning


def test_it_is_told_again_when_it_was_well_in_between():
    bad, well = report(critic__gradient_norm=1e6), report(critic__gradient_norm=1.0)
    assert len(warnings_of(bad, bad, bad)) == 1
    assert len(warnings_of(bad, well, bad)) == 2


def test_limits_are_options():
    one = report(waiting=0.2, critic__wasserstein=5.0)
    assert len(warnings_of(one, data_wait=0.1, most_wasserstein=1.0)) == 2
