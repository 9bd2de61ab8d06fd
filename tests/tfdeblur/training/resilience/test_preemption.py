"""Signals: the first is a wish, the second is not, and both are heard inside of long calls."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tfdeblur.training.resilience.preemption import LEAVING, NOTHING_YET, STOPPING, StopRequest


@pytest.fixture(autouse=True)
def usual_handlers():
    """Handlers as a terminal gives them: what runs in the background may ignore SIGINT."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish(number, capsys):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested()
        os.kill(os.getpid(), number)
        assert stop.requested()
        assert stop.signal_number == number
    said = capsys.readouterr()
    assert (said.out, said.err.count(STOPPING)) == ("", 1)
    assert signal.getsignal(number) is before


def test_a_second_interrupt_leaves_at_once():
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_interrupts_during_a_call_that_does_not_return_are_counted():
    """A lock of the C library is waited for as a call of TensorFlow is: Python has no say."""
    library = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(128)
    locked, told = threading.Event(), []

    def press():
        library.pthread_mutex_lock(mutex)
        locked.set()
        for count in (1, 2):
            os.kill(os.getpid(), signal.SIGINT)
            while stop._received < count:
                time.sleep(0.001)
        library.pthread_mutex_unlock(mutex)

    thread = threading.Thread(target=press)
    with StopRequest(say=told.append) as stop, pytest.raises(KeyboardInterrupt):
        thread.start()
        locked.wait()
        library.pthread_mutex_lock(mutex)
    thread.join()
    assert told == [STOPPING]


BLOCKED = """
import hashlib, signal, sys
from tfdeblur.training.resilience.preemption import StopRequest
signal.signal(signal.SIGINT, signal.default_int_handler)

def block():
    print("blocked", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2**31 - 1)  # C, for many minutes

with StopRequest(own_process=True) as stop:
    if sys.argv[1] == "training":
        with stop.training():
            block()
    elif sys.argv[1] == "after":
        with stop.training():
            pass
        block()
    else:
        block()
"""


@pytest.fixture
def blocked(repository):
    processes = []

    def start(phase, program=BLOCKED):
        process = subprocess.Popen(
            [sys.executable, "-c", program, phase],
            cwd=repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "blocked\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)],
)
def test_a_blocked_process_answers_at_once_and_leaves_at_the_second(first, second, blocked):
    process = blocked("training")
    process.send_signal(first)
    assert process.stderr.readline().strip() == STOPPING
    assert process.poll() is None
    process.send_signal(second)
    _, said = process.communicate()
    assert said.strip() == LEAVING
    assert process.returncode == 128 + second


IN_TENSORFLOW = """
import sys
import tensorflow as tf
from tfdeblur.training.resilience.preemption import StopRequest

@tf.function
def work(count):
    with tf.control_dependencies([tf.print("blocked", output_stream=sys.stdout)]):
        begin = tf.identity(tf.ones([8, 8]))
    return tf.while_loop(
        lambda index, x: index < count, lambda index, x: (index + 1, x @ x * 1e-3), (0, begin)
    )

with StopRequest(own_process=True) as stop, stop.training():
    work(tf.constant(2**31 - 1))
"""


@pytest.mark.slow
def test_a_long_call_of_tensorflow_does_not_keep_signals_from_being_heard(blocked):
    process = blocked("", IN_TENSORFLOW)
    process.send_signal(signal.SIGTERM)
    assert any(STOPPING in line for line in process.stderr)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert said.strip() == LEAVING
    assert process.returncode == 143


@pytest.mark.parametrize("phase", ["before", "after"])
def test_where_there_is_nothing_to_save_the_first_leaves_at_once(phase, blocked):
    process = blocked(phase)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert said.strip() == NOTHING_YET
    assert process.returncode == 130


def test_a_handler_put_in_its_place_is_replaced_when_the_training_begins():
    """As TensorFlow puts one when it connects workers."""
    with StopRequest(own_process=True) as stop:
        signal.signal(signal.SIGTERM, lambda *_: None)
        with stop.training():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested()


def test_a_signal_at_the_end_of_the_training_is_the_wish_that_it_was():
    """The thread may look after the training has ended; the process must not be ended then."""
    hold, told = threading.Event(), []
    with StopRequest(own_process=True, say=told.append) as stop:
        receive = stop._receive
        stop._receive = lambda number: (hold.wait(), receive(number))
        with stop.training():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested()
        hold.set()
    assert told == [STOPPING]


def test_a_terminal_that_stands_still_does_not_keep_a_wish():
    asked = threading.Event()
    stuck = threading.Event()

    def say(message):
        asked.set()
        stuck.wait()

    with StopRequest(say=say) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        asked.wait()
        assert stop.requested()
    stuck.set()


def test_what_the_process_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.requested()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_change_nothing():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with StopRequest(own_process=True) as stop, stop.training():
            seen.append((signal.getsignal(signal.SIGTERM), stop.requested()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]


def test_who_waited_for_signals_before_is_told_meanwhile_and_waits_again():
    """As the event loop of a notebook does."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno())
    usual = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGUSR1)
            assert reader.recv(1) == bytes([signal.SIGUSR1])
        assert signal.set_wakeup_fd(before) == writer.fileno()
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGUSR1, usual)
        reader.close()
        writer.close()
