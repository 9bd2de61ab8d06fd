"""The server as a process: what it answers to bad requests, what it restores, how it ends."""

import http.client
import io
import json
import signal
import socket

import numpy as np
import pytest
from PIL import Image

from tests.tfdeblur.serve.processes import serving
from tfdeblur.inference.restorer import load_restorer

pytest.importorskip("starlette", reason="Starlette (extra `serve`) is not installed")
pytest.importorskip("uvicorn", reason="uvicorn (extra `serve`) is not installed")

MODEL = "unet16-cifar10"
MAX_BYTES = 20_000


def request(port, method, path, body=b""):
    """Returns the status and the body of an answer."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        # At once: a server that refuses a body by its length closes the connection, and what it
        # had not read by then would reset it before the answer is read.
        connection.sendall(head.encode() + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


@pytest.mark.slow
def test_server_survives_bad_bodies_restores_a_photo_and_ends_at_sigterm(tmp_path, repository):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    photo = content.getvalue()
    assert 4_000 < len(photo) < MAX_BYTES
    flags = ["--model", MODEL, "--max-bytes", str(MAX_BYTES)]
    with serving("tfdeblur.serve", tmp_path, repository, *flags) as server:
        for body, status, named in (
            (photo[:-2_000], 400, "damaged"),
            (b"", 400, "empty"),
            (photo + bytes(MAX_BYTES), 413, "20,000 bytes"),
            (b"no photo at all", 415, "not an image"),
        ):
            found, answer = request(server.port, "POST", "/restore", body)
            assert found == status, answer
            assert named in json.loads(answer)["error"]
        found, answer = request(server.port, "POST", "/restore", photo)
        assert found == 200, answer
        restored = np.asarray(Image.open(io.BytesIO(answer))).astype(int)
        expected = load_restorer(MODEL).deblur(pixels).astype(int)
        # Other threads add in another order, and rounding makes a level of it.
        assert restored.shape == pixels.shape and np.abs(restored - expected).max() <= 1
        assert np.abs(restored - pixels).max() > 10
        _, text = request(server.port, "GET", "/metrics")
        for line in ('{status="200"} 1', '{status="400"} 2', '{status="413"} 1'):
            assert f"tfdeblur_requests_total{line}" in text.decode().splitlines()

        server.process.send_signal(signal.SIGTERM)
        # uvicorn ends in order, then by the signal itself: 143 in a shell.
        assert server.process.wait(60) in (0, -signal.SIGTERM)
        printed = server.log.read_text()
        assert "Application shutdown complete" in printed and "Traceback" not in printed
