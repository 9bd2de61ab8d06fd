"""Workers wait for each other, name missing ones, and exit after the timeout."""

import contextlib
import socket
import subprocess
import sys
import threading

import pytest

from tfdeblur import config
from tfdeblur.errors import ConfigError, WorkerLost
from tfdeblur.training.resilience.rendezvous import rendezvous, wait_for_workers


@pytest.fixture
def addresses():
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        found = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    return found


def test_missing_workers_are_named(addresses):
    lines = []
    port = int(addresses[1].split(":")[1])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(WorkerLost) as raised:
        wait_for_workers(addresses, 0, 0.01, lines.append, poll_seconds=0.001)
    message = str(raised.value)
    assert addresses[2] in message
    assert addresses[0] not in message
    assert addresses[1] not in message
    assert raised.value.exit_code == 75
    assert len(lines) == 1
    assert lines[0].startswith(f"Waiting for 2 workers: {addresses[1]}, {addresses[2]}.")
    assert "runtime.worker_minutes" in lines[0]


def test_workers_find_each_other_in_any_order(addresses):
    done, lines = [], []

    def work(index):
        wait_for_workers(addresses, index, 300, lines.append, poll_seconds=0.01)
        # As TensorFlow's server, which has the port from then on.
        servers.append(socket.create_server(("127.0.0.1", int(addresses[index].split(":")[1]))))
        done.append(index)

    servers = []
    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    threads[2].start()
    threads[0].start()
    threads[0].join(0.05)
    assert done == []
    threads[1].start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2]
    for server in servers:
        server.close()


def test_port_is_held_until_all_workers_are_connected(addresses):
    # A worker may look for one that has found all others already, and opens no server.
    first, second = addresses[:2]
    server = socket.create_server(("127.0.0.1", int(first.split(":")[1])))
    with server, rendezvous([first, second], 1, 300, hold_port=True) as all_connected:
        socket.create_connection(("127.0.0.1", int(second.split(":")[1]))).close()
        all_connected()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(second.split(":")[1])))


def test_port_in_use_raises_worker_lost(addresses):
    with contextlib.ExitStack() as stack:
        for address in addresses:
            port = int(address.split(":")[1])
            stack.enter_context(socket.create_server(("", port)))
        with pytest.raises(WorkerLost, match=rf"{addresses[0]} in TF_CONFIG, was in use"):
            wait_for_workers(addresses, 0, 0.01, lambda line: None, poll_seconds=0.001)


def test_single_process_waits_for_no_worker(capsys):
    with rendezvous([], 0, 1e-9) as all_connected:
        all_connected()
    assert capsys.readouterr() == ("", "")


# Both block for ever: one lets other threads of Python run, the other holds the GIL, as
# TensorFlow does while it connects workers.
WAITING = {
    "without the GIL": "hashlib.pbkdf2_hmac('sha256', b'a', b'b', 2**31 - 1)",
    "with the GIL": "ctypes.PyDLL(None).pause()",
}
PROGRAM = """
import ctypes, hashlib
from tfdeblur.training.resilience import rendezvous
rendezvous._GRACE_SECONDS = 0.1
with rendezvous.deadline(0.1, "a worker is missing"):
    {}
"""


@pytest.mark.parametrize("kind", WAITING)
def test_blocked_process_exits_with_75(kind, repository):
    if kind == "with the GIL" and not sys.platform.startswith("linux"):
        pytest.skip("the timer of the C library is used on Linux only")
    program = PROGRAM.format(WAITING[kind])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 75, done.stderr
    if kind == "without the GIL":
        assert done.stderr.strip() == "error: a worker is missing"


def test_deadline_that_is_met_or_cancelled_does_nothing(repository):
    program = """
import time
from tfdeblur.training.resilience import rendezvous
rendezvous._GRACE_SECONDS = 0.0
with rendezvous.deadline(0.2, "a worker is missing") as cancel:
    cancel()
    time.sleep(0.5)
with rendezvous.deadline(0.2, "a worker is missing"):
    pass
time.sleep(0.5)
print("here")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "here\n", "")


def test_negative_worker_minutes_raise_config_error():
    run = {"workdir": "run", "model": "unet16", "objective": "content"}
    with pytest.raises(ConfigError, match=r"runtime\.worker_minutes"):
        config.resolve({**run, "runtime": {"worker_minutes": -1}})
