"""Servers in processes of their own, as their users start them."""

import contextlib
import dataclasses
import http.client
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

# Loading TensorFlow and the network on a busy machine.
_START_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        process: Its process.
        port: Its port at 127.0.0.1.
        log: File with what it has printed.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    log: pathlib.Path


@contextlib.contextmanager
def serving(
    module: str, folder: pathlib.Path, repository: pathlib.Path, *flags: str
) -> Iterator[Server]:
    """Starts a server on a free port, waits until it answers, and kills it if it still runs.

    Args:
        module: Module of the command, such as ``tfdeblur.serve``.
        folder: Folder for its log.
        repository: Root of the checkout.
        *flags: Flags of the command beside the port.
    """
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--port", str(port), *flags],
            cwd=repository,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, port, log)
    try:
        _wait_until_it_answers(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_until_it_answers(server: Server) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        assert server.process.poll() is None, server.log.read_text()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
            return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    raise AssertionError(f"no answer after {_START_SECONDS:.0f} s: {server.log.read_text()}")
