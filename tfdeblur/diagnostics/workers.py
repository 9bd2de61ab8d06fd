"""The workers of `TF_CONFIG`: whether they can find each other."""

import errno
import socket
from concurrent.futures import ThreadPoolExecutor

from tfdeblur.diagnostics.finding import Finding
from tfdeblur.errors import ConfigError
from tfdeblur.training.engines.tensorflow import runtime

# A host that is there answers or refuses within this; one behind a closed firewall does neither.
PEER_SECONDS = 3.0


def findings() -> list[Finding]:
    """Looks at the cluster that this machine is told to be part of; nothing where there is none."""
    try:
        workers = runtime.workers()
    except ConfigError as error:
        return [Finding("workers", "wrong", str(error), "Mend it, or unset TF_CONFIG.")]
    if not workers:
        return []
    own = runtime.worker_index()
    if own is None:
        text = f"TF_CONFIG names {len(workers)} workers, and its task is none of them"
        advice = 'Give each host its own "index", from 0.'
        return [Finding("workers", "wrong", text, advice)]
    others = [address for index, address in enumerate(workers) if index != own]
    with ThreadPoolExecutor(max_workers=16) as pool:
        found = list(pool.map(_peer, others))
    return [_own(own, workers[own]), *found]


def _own(index: int, address: str) -> Finding:
    """Says whether this worker's port can be had; the run opens it, nobody else may."""
    name = f"worker {index} (this one)"
    _, port = runtime.split_address(address)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", port))
        except OSError as error:
            what = error.strerror or str(error)
            advice = "End what holds it (ss -ltnp names it), or choose another port on all hosts."
            return Finding(name, "wrong", f"port {port}: {what}", advice)
    return Finding(name, "ok", f"port {port} is free")


def _peer(address: str) -> Finding:
    """Says whether another worker's host answers; its run need not have been started."""
    name = f"worker at {address}"
    host, port = runtime.split_address(address)
    try:
        with socket.create_connection((host, port), timeout=PEER_SECONDS):
            return Finding(name, "ok", "answers: its run has been started")
    except (socket.gaierror, UnicodeError):  # a name that cannot be looked up at all
        advice = "Write its IP address, or mend the name."
        return Finding(name, "wrong", f"no host has the name {host!r}", advice)
    except OSError as error:
        if error.errno == errno.ECONNREFUSED:
            return Finding(name, "ok", "its host answers; its run has not been started")
        what = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        advice = "Is the host up, is the address right, and does a firewall let the port through?"
        return Finding(name, "warning", f"{what} within {PEER_SECONDS:.0f} s", advice)
