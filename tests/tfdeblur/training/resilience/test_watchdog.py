"""Stalled steps: one warning per stall, and a message when the step has finished."""

import threading
import time

import pytest

from tfdeblur import config
from tfdeblur.errors import ConfigError
from tfdeblur.training.resilience.watchdog import StallWatchdog


def learned(*step_seconds: float, **options) -> StallWatchdog:
    """A watchdog with a limit of 120 s after calls of known duration."""
    watchdog = StallWatchdog(120.0, **options)
    for seconds in step_seconds:
        watchdog.learn(seconds, stalled=False)
    return watchdog


def test_limit_of_first_call_is_five_times_the_setting():
    assert learned().limit(50) == 600


def test_limit_of_fast_steps_is_the_setting():
    assert learned(1.0, 0.1).limit(50) == 120


def test_limit_of_slow_steps_is_four_times_their_last_duration():
    watchdog = learned(10.0, 10.0)
    assert watchdog.limit(50) == 2000
    assert watchdog.limit(1) == 120


def test_limit_after_compiling_ignores_its_duration():
    watchdog = learned(300.0)
    assert watchdog.limit(50) == 600
    watchdog.learn(1.0, stalled=False)
    assert watchdog.limit(50) == 200


def test_limit_after_stall_at_most_doubles():
    watchdog = learned(1.0, 1.0)
    watchdog.learn(100.0, stalled=True)
    assert watchdog.limit(50) == 400


def test_limit_of_vote_is_the_setting_and_does_not_depend_on_steps():
    assert learned().limit(0) == 120
    assert learned(100.0, 100.0).limit(0) == 120


def test_warning_of_first_call_names_compiling():
    assert "first step has not finished after 601 s" in learned().warning(50, 601)
    assert "compiling" in learned().warning(50, 601)


def test_warning_of_later_call_names_causes_in_one_line():
    warning = learned(1.0, several_workers=True).warning(50, 201)
    for part in ("201 s", "1 s each", "data", "bucket", "disk", "another worker"):
        assert part in warning
    assert "\n" not in warning
    assert "another worker" not in learned(1.0).warning(50, 201)


def test_warning_of_vote_names_another_worker():
    assert "another worker for 121 s" in learned().warning(0, 121)


def test_call_that_ends_in_time_prints_nothing():
    lines = []
    watchdog = StallWatchdog(300.0, write=lines.append)
    threads = threading.active_count()
    for steps in (1, 0, 50):
        with watchdog.call(steps):
            pass
    assert lines == []
    deadline = time.monotonic() + 30
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() == threads


@pytest.mark.parametrize("steps", [0, 1])
def test_call_that_stalls_warns_once_while_it_lasts_and_reports_its_end(steps):
    lines, warned = [], threading.Event()

    def write(line):
        lines.append(line)
        warned.set()

    with StallWatchdog(0.001, write=write).call(steps):
        assert warned.wait(30)
        assert [line.partition(":")[0] for line in lines] == ["warning"]
        time.sleep(0.05)
    assert len(lines) == 2
    assert lines[1].startswith("Finished after ")


def test_call_that_raises_reports_no_end_and_is_not_learned():
    lines, warned = [], threading.Event()

    def write(line):
        lines.append(line)
        warned.set()

    watchdog = StallWatchdog(0.001, write=write)
    with pytest.raises(ValueError, match="broken"), watchdog.call(1):
        assert warned.wait(30)
        raise ValueError("broken")
    assert len(lines) == 1
    assert watchdog.limit(1) == pytest.approx(0.005)


def test_call_that_stalls_warns_on_stderr(capsys):
    text = ""
    with StallWatchdog(0.001).call(1):
        while "\n" not in text:
            text += capsys.readouterr().err
            time.sleep(0.001)
    assert text.startswith("warning: ")


def test_stall_seconds_zero_raises_config_error():
    run = {"workdir": "run", "model": "unet16", "objective": "content"}
    with pytest.raises(ConfigError, match=r"guards\.stall_seconds"):
        config.resolve({**run, "guards": {"stall_seconds": 0}})
