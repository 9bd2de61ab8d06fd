"""Checks whether the workers of `TF_CONFIG` can reach each other."""

import errno
import socket
from concurrent.futures import ThreadPoolExecutor

from tfdeblur.diagnostics.finding import Finding
from tfdeblur.errors import ConfigError
from tfdeblur.training.engines import cluster

# A host that is up accepts or refuses a connection within this time, unless a firewall drops it.
PEER_SECONDS = 3.0


def findings() -> list[Finding]:
    """Checks the cluster of this machine; returns an empty list if there is none."""
    try:
        workers, own = cluster.read()
    except ConfigError as error:
        return [Finding("workers", "wrong", str(error), "Fix it, or unset TF_CONFIG.")]
    if not workers:
        return []
    if own is None:
        text = f"TF_CONFIG lists {len(workers)} workers, but its task is not one of them"
        advice = 'Give each host its own "index", starting from 0.'
        return [Finding("workers", "wrong", text, advice)]
    others = [address for index, address in enumerate(workers) if index != own]
    with ThreadPoolExecutor(max_workers=16) as pool:
        found = list(pool.map(_peer, others))
    return [_own(own, workers[own]), *found]


def _own(index: int, address: str) -> Finding:
    """Checks that the port of this worker, which a run listens on, is free."""
    name = f"worker {index} (this one)"
    _, port = cluster.split_address(address)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", port))
        except OSError as error:
            reason = error.strerror or str(error)
            advice = (
                "Stop the process that uses it (ss -ltnp shows it), or choose another port on all "
                "hosts."
            )
            return Finding(name, "wrong", f"port {port}: {reason}", advice)
    return Finding(name, "ok", f"port {port} is free")


def _peer(address: str) -> Finding:
    """Checks that the host of another worker is up; its run need not have started."""
    name = f"worker at {address}"
    host, port = cluster.split_address(address)
    try:
        with socket.create_connection((host, port), timeout=PEER_SECONDS):
            return Finding(name, "ok", "its run has started")
    except (socket.gaierror, UnicodeError):  # UnicodeError: the name is not a valid host name
        return Finding(
            name, "wrong", f"unknown host {host!r}", "Use its IP address, or fix the name."
        )
    except OSError as error:
        if error.errno == errno.ECONNREFUSED:
            return Finding(name, "ok", "its host is up; its run has not started")
        reason = "no response" if isinstance(error, TimeoutError) else error.strerror or str(error)
        advice = "Check that the host is up, the address, and that no firewall blocks the port."
        return Finding(name, "warning", f"{reason} within {PEER_SECONDS:.0f} s", advice)
