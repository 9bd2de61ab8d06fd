"""A cluster is looked at from one of its hosts, whose ports and names are real."""

import json
import socket

import pytest

from tfdeblur.diagnostics import workers


@pytest.fixture
def cluster(monkeypatch):
    """Sets `TF_CONFIG` for worker 0 of the addresses given."""

    def write(*addresses, task=("worker", 0), **more):
        kind, index = task
        value = {"cluster": {"worker": addresses, **more}, "task": {"type": kind, "index": index}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(value))

    return write


@pytest.fixture
def listening():
    """A port of this machine at which somebody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def free():
    """A port of this machine at which nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    return port


def test_without_a_cluster_there_is_nothing_to_say(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert workers.findings() == []


def test_ports_and_hosts_that_are_well(cluster, listening, free):
    cluster(f"127.0.0.1:{free}", f"127.0.0.1:{listening}", f"localhost:{free}")
    own, started, waiting = workers.findings()
    assert [finding.status for finding in (own, started, waiting)] == ["ok"] * 3
    assert own.name == "worker 0 (this one)" and "free" in own.text
    assert "has been started" in started.text
    assert "has not been started" in waiting.text


def test_a_port_that_is_taken(cluster, listening, free):
    cluster(f"127.0.0.1:{free}", f"127.0.0.1:{listening}", task=("worker", 1))
    own, _ = workers.findings()
    assert own.status == "wrong" and f"port {listening}: Address already in use" in own.text


def test_names_that_no_host_has(cluster, free):
    for name in ("no-such-host.invalid", "no..host"):
        cluster(f"127.0.0.1:{free}", f"{name}:{free}")
        peer = workers.findings()[1]
        assert peer.status == "wrong" and name in peer.text


def test_hosts_that_do_not_answer(cluster, free, monkeypatch):
    def wait(address, timeout):
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", wait)
    cluster(f"127.0.0.1:{free}", "10.0.0.9:2222")
    peer = workers.findings()[1]
    assert peer.status == "warning" and "no answer" in peer.text and "firewall" in peer.advice


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.1:", ":2222", "h:70000", "h:port"])
def test_what_is_no_address(cluster, free, address):
    for addresses in ((f"127.0.0.1:{free}", address), (address, f"127.0.0.1:{free}")):
        cluster(*addresses)
        (finding,) = workers.findings()
        assert finding.status == "wrong" and f"{address!r} for a worker" in finding.text


@pytest.mark.parametrize("task", [("worker", 2), ("worker", -1), ("ps", 0)])
def test_a_task_that_is_no_worker(cluster, task):
    cluster("a:1", "b:2", task=task)
    (finding,) = workers.findings()
    assert finding.status == "wrong" and "none of them" in finding.text


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {"worker": ["a:1", 2]}, "task": {}}'])
def test_a_variable_that_cannot_be_read(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    (finding,) = workers.findings()
    assert finding.status == "wrong" and "TF_CONFIG" in finding.text


def test_the_chief_is_the_first_worker(cluster, free):
    cluster("127.0.0.1:1", task=("chief", 0), chief=[f"127.0.0.1:{free}"])
    own, peer = workers.findings()
    assert own.name == "worker 0 (this one)" and peer.name == "worker at 127.0.0.1:1"
