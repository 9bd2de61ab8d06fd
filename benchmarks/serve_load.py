"""Requests a second, latency and memory of `tfdeblur.serve`, with several numbers of clients.

    python -m benchmarks.serve_load --model unet16-cifar10 --size 256x256 --seconds 8

The server runs in a process of its own; clients are threads that each send the next photo once the
last one is answered. Prints one row for each number of clients.
"""

import argparse
import http.client
import io
import pathlib
import socket
import statistics
import subprocess
import sys
import threading
import time

import numpy as np
from PIL import Image

_START_SECONDS = 120.0


def main() -> None:
    """Runs the server and all clients, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="unet16-cifar10")
    parser.add_argument("--size", default="256x256", help="WIDTHxHEIGHT of the photos")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each number of clients")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tfdeblur.serve", "--model", arguments.model]
    silent = subprocess.DEVNULL
    server = subprocess.Popen([*command, "--port", str(port)], stdout=silent, stderr=silent)
    try:
        _wait_for(port)
        _measure(port, content.getvalue(), max(arguments.clients), 2.0)  # warms up
        print("clients  requests/s  median ms  99 % ms  errors  server MiB")
        for clients in arguments.clients:
            start = time.monotonic()
            times, errors = _measure(port, content.getvalue(), clients, arguments.seconds)
            # With the last answers of all clients.
            seconds = time.monotonic() - start
            if not times:
                raise SystemExit("error: the server restored no photo")
            times.sort()
            print(
                f"{clients:7}  {len(times) / seconds:10.1f}"
                f"  {1000 * statistics.median(times):9.0f}"
                f"  {1000 * times[int(0.99 * (len(times) - 1))]:7.0f}  {errors:6}"
                f"  {_memory(server.pid):10.0f}"
            )
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("error: the server did not start")


def _measure(port: int, content: bytes, clients: int, seconds: float) -> tuple[list[float], int]:
    """Returns the seconds of each answered request, and the number of other answers."""
    times: list[float] = []
    errors: list[str] = []
    end = time.monotonic() + seconds

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.monotonic() < end:
            start = time.monotonic()
            try:
                connection.request("POST", "/restore", content)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                errors.append(repr(error))
                connection.close()  # the next request connects again
                continue
            if answer.status == 200:
                times.append(time.monotonic() - start)
            else:
                errors.append(str(answer.status))

    threads = [threading.Thread(target=send) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, len(errors)


def _memory(process: int) -> float:
    """Returns the resident memory of a process in MiB (Linux)."""
    status = pathlib.Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
