"""Clusters are checked from one of their hosts, with real ports and host names."""

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
    """A port of this machine with a server."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def free():
    """A port of this machine without a server."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    return port


def test_findings_without_a_cluster_are_empty(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert workers.findings() == []


def test_findings_with_free_port_and_reachable_hosts_are_ok(cluster, listening, free):
    cluster(f"127.0.0.1:{free}", f"127.0.0.1:{listening}", f"localhost:{free}")
    own, started, waiting = workers.findings()
    assert [finding.status for finding in (own, started, waiting)] == ["ok"] * 3
    assert own.name == "worker 0 (this one)" and "free" in own.text
    assert "has started" in started.text
    assert "has not started" in waiting.text


def test_findings_with_own_port_in_use_are_wrong(cluster, listening, free):
    cluster(f"127.0.0.1:{free}", f"127.0.0.1:{listening}", task=("worker", 1))
    own, _ = workers.findings()
    assert own.status == "wrong" and f"port {listening}: Address already in use" in own.text


def test_findings_with_an_unknown_host_are_wrong(cluster, free):
    for name in ("no-such-host.invalid", "no..host"):
        cluster(f"127.0.0.1:{free}", f"{name}:{free}")
        peer = workers.findings()[1]
        assert peer.status == "wrong" and name in peer.text


def test_findings_with_an_unresponsive_host_are_a_warning(cluster, free, monkeypatch):
    def wait(address, timeout):
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", wait)
    cluster(f"127.0.0.1:{free}", "10.0.0.9:2222")
    peer = workers.findings()[1]
    assert peer.status == "warning" and "no response" in peer.text and "firewall" in peer.advice


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.1:", ":2222", "h:70000", "h:port"])
def test_findings_with_an_invalid_address_name_it(cluster, free, address):
    for addresses in ((f"127.0.0.1:{free}", address), (address, f"127.0.0.1:{free}")):
        cluster(*addresses)
        (finding,) = workers.findings()
        assert finding.status == "wrong" and repr(address) in finding.text


@pytest.mark.parametrize("task", [("worker", 2), ("worker", -1), ("ps", 0)])
def test_findings_with_a_task_outside_the_workers_are_wrong(cluster, task):
    cluster("a:1", "b:2", task=task)
    (finding,) = workers.findings()
    assert finding.status == "wrong" and "index" in finding.advice


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {"worker": ["a:1", 2]}, "task": {}}'])
def test_findings_with_a_malformed_tf_config_are_wrong(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    (finding,) = workers.findings()
    assert finding.status == "wrong" and "TF_CONFIG" in finding.text


def test_findings_count_the_chief_as_worker_0(cluster, free):
    cluster("127.0.0.1:1", task=("chief", 0), chief=[f"127.0.0.1:{free}"])
    own, peer = workers.findings()
    assert own.name == "worker 0 (this one)" and peer.name == "worker at 127.0.0.1:1"
