"""A step that does not end is told once, and once more when it has ended."""

import threading
import time

import pytest

from tfdeblur import config
from tfdeblur.errors import ConfigError
from tfdeblur.training.resilience.watchdog import StallWatch


class Clock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def watch(clock, told, **options):
    return StallWatch(120.0, say=told.append, now=clock, **options)


def make_call(stalls, clock, seconds, steps=50):
    """Makes a call that lasts some seconds; returns what is said at its end, of its last look."""
    with stalls.call(steps):
        clock.seconds += seconds
        return stalls._look()[0]


def test_nothing_is_said_of_calls_that_end(clock):
    told = []
    stalls = watch(clock, told)
    assert [make_call(stalls, clock, seconds) for seconds in (599, 10, 119, 60)] == [""] * 4
    assert stalls._look() == ("", None)
    assert told == []


def test_the_first_call_may_take_longer_and_is_told_of_otherwise(clock):
    told = []
    warning = make_call(watch(clock, told), clock, 601)
    assert warning.startswith("the first step has not ended after 601 s. It may still be compiled")
    assert told == ["It goes on: that took 601 s."]


def test_a_stall_is_told_once_with_what_it_may_be_and_then_how_long_it_took(clock):
    told = []
    stalls = watch(clock, told, several_workers=True)
    make_call(stalls, clock, 50)
    with stalls.call(50):
        clock.seconds += 100
        assert stalls._look() == ("", pytest.approx(100))  # four times what 50 steps took
        clock.seconds += 101
        warning, _ = stalls._look()
        clock.seconds += 1000
        assert stalls._look() == ("", None)
    assert warning.startswith("no step has ended for 201 s, the last took 1 s each; ")
    for cause in ("data", "bucket", "disk", "another worker"):
        assert cause in warning
    assert "\n" not in warning
    assert told == ["It goes on: that took 1201 s."]
    # Another stall is told again, and a process alone has no other worker.
    alone = watch(clock, told)
    make_call(alone, clock, 5)
    for _ in range(2):
        assert make_call(alone, clock, 100_000)
    assert "another worker" not in make_call(alone, clock, 10**7)


def test_slow_steps_are_no_stall(clock):
    stalls = watch(clock, [])
    make_call(stalls, clock, 500)
    assert make_call(stalls, clock, 500) == ""
    assert make_call(stalls, clock, 1900) == ""
    assert make_call(stalls, clock, 500, steps=1) != ""


def test_how_long_compiling_took_is_no_measure(clock):
    stalls = watch(clock, [])
    assert make_call(stalls, clock, 300, steps=1) == ""
    with stalls.call(50):
        assert stalls._look() == ("", pytest.approx(600))
        clock.seconds += 50
    with stalls.call(50):
        assert stalls._look() == ("", pytest.approx(200))


def test_a_question_to_the_other_workers_has_a_sentence_of_its_own(clock):
    told = []
    stalls = watch(clock, told, several_workers=True)
    assert make_call(stalls, clock, 119, steps=0) == ""
    assert "nothing has been heard of another worker for 121 s" in make_call(
        stalls, clock, 121, steps=0
    )
    # It says nothing of how long steps take: the first one is still to come.
    assert make_call(stalls, clock, 599) == ""


def test_a_call_that_fails_is_not_waited_for(clock):
    told = []
    stalls = watch(clock, told)
    with pytest.raises(ValueError, match="broken"), stalls.call(1):
        clock.seconds += 700
        assert stalls._look()[0]
        raise ValueError("broken")
    assert stalls._look() == ("", None)
    assert told == []


def test_the_thread_says_it_while_the_call_lasts():
    told, said = [], threading.Event()

    def say(line):
        told.append(line)
        said.set()

    with StallWatch(0.001, say=say) as stalls, stalls.call(1):
        said.wait()
        assert told[0].startswith("warning: the first step has not ended after ")
    assert len(told) == 2
    assert told[1].startswith("It goes on: ")


def test_warnings_go_to_stderr(capsys):
    text = ""
    with StallWatch(0.001) as stalls, stalls.call(1):
        while "\n" not in text:
            text += capsys.readouterr().err
            time.sleep(0.001)
    assert "warning: the first step has not ended" in text


def test_the_time_is_a_setting_that_is_checked():
    run = {"workdir": "run", "model": "unet16", "objective": "content"}
    with pytest.raises(ConfigError, match=r"guards\.stall_seconds"):
        config.resolve({**run, "guards": {"stall_seconds": 0}})
