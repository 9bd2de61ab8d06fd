"""Signals: the first requests a stop, the second exits, also inside long calls."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tfdeblur.training.resilience.preemption import EXITING, NOTHING_TO_SAVE, STOPPING, StopRequest


@pytest.fixture(autouse=True)
def terminal_handlers():
    """Installs the handlers of a terminal: a program in the background may ignore SIGINT."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_requests_a_stop(number, capsys):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested()
        os.kill(os.getpid(), number)
        assert stop.requested()
        assert stop.signal_number == number
    output = capsys.readouterr()
    assert (output.out, output.err.count(STOPPING)) == ("", 1)
    assert signal.getsignal(number) is before


def test_second_interrupt_raises_keyboard_interrupt():
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_interrupts_during_a_blocking_call_are_counted():
    """A lock of the C library blocks Python, as a call of TensorFlow does."""
    library = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(128)
    locked, lines = threading.Event(), []

    def press():
        library.pthread_mutex_lock(mutex)
        locked.set()
        for count in (1, 2):
            os.kill(os.getpid(), signal.SIGINT)
            while stop._received < count:
                time.sleep(0.001)
        library.pthread_mutex_unlock(mutex)

    thread = threading.Thread(target=press)
    with StopRequest(write=lines.append) as stop, pytest.raises(KeyboardInterrupt):
        thread.start()
        locked.wait()
        library.pthread_mutex_lock(mutex)
    thread.join()
    assert lines == [STOPPING]


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
def test_blocked_process_prints_at_first_signal_and_exits_at_second(first, second, blocked):
    process = blocked("training")
    process.send_signal(first)
    assert process.stderr.readline().strip() == STOPPING
    assert process.poll() is None
    process.send_signal(second)
    _, output = process.communicate()
    assert output.strip() == EXITING
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
def test_signals_during_a_long_call_of_tensorflow_are_handled(blocked):
    process = blocked("", IN_TENSORFLOW)
    process.send_signal(signal.SIGTERM)
    assert any(STOPPING in line for line in process.stderr)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate()
    assert output.strip() == EXITING
    assert process.returncode == 143


@pytest.mark.parametrize("phase", ["before", "after"])
def test_first_signal_outside_training_exits_at_once(phase, blocked):
    process = blocked(phase)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate()
    assert output.strip() == NOTHING_TO_SAVE
    assert process.returncode == 130


def test_training_reinstalls_handlers_that_were_replaced():
    """TensorFlow replaces one when it connects workers."""
    with StopRequest(own_process=True) as stop:
        signal.signal(signal.SIGTERM, lambda *_: None)
        with stop.training():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested()


def test_signal_at_the_end_of_training_requests_a_stop_and_does_not_exit():
    """The thread may read it after training has ended; the process must not exit then."""
    hold, lines = threading.Event(), []
    with StopRequest(own_process=True, write=lines.append) as stop:
        receive = stop._receive
        stop._receive = lambda number: (hold.wait(), receive(number))
        with stop.training():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested()
        hold.set()
    assert lines == [STOPPING]


def test_stopped_terminal_does_not_block_a_stop_request():
    asked = threading.Event()
    stuck = threading.Event()

    def write(message):
        asked.set()
        stuck.wait()

    with StopRequest(write=write) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        asked.wait()
        assert stop.requested()
    stuck.set()


def test_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.requested()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_thread_installs_no_handlers():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with StopRequest(own_process=True) as stop, stop.training():
            seen.append((signal.getsignal(signal.SIGTERM), stop.requested()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]


def test_previous_wakeup_fd_receives_other_signals_and_is_restored():
    """The event loop of a notebook has one."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno())
    before_usr1 = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGUSR1)
            assert reader.recv(1) == bytes([signal.SIGUSR1])
        assert signal.set_wakeup_fd(before) == writer.fileno()
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGUSR1, before_usr1)
        reader.close()
        writer.close()
