"""The HTTP server: answers, refusals, and that it survives what clients send."""

import asyncio
import io
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.helpers.asgi import Client
from tfdeblur.errors import UserError
from tfdeblur.inference.restorer import Restorer
from tfdeblur.serve import app
from tfdeblur.serve.app import Busy, Limits, _Entrance, create_app
from tfdeblur.serve.batcher import Batcher, Options

pytest.importorskip("starlette", reason="Starlette (extra `serve`) is not installed")

LIMITS = Limits(max_bytes=20_000, max_pixels=4_000, max_waiting=4)


def darker(images, options):
    return images // 2


def photo(height=40, width=50, kind="PNG", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return pixels, content.getvalue()


@pytest.fixture
def client():
    with Client(create_app(darker, name="toy", limits=LIMITS)) as client:
        yield client


def test_restored_photo_is_a_png_of_the_same_size(client):
    pixels, content = photo()
    answer = client.post("/restore", content=content)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), pixels // 2)


@pytest.mark.parametrize(("kind", "name"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_answer_has_the_requested_format_and_keeps_the_profile(client, kind, name):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    _, content = photo(icc_profile=profile)
    answer = client.post(f"/restore?format={kind}", content=content)
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == name and image.info["icc_profile"] == profile


def test_options_reach_the_network():
    seen = []

    def restore(images, options):
        seen.append(options)
        return images

    with Client(create_app(restore, name="toy")) as client:
        for query in ("", "?ensemble=true&tile=256"):
            assert client.post(f"/restore{query}", content=photo()[1]).status_code == 200
    assert seen == [Options(), Options(ensemble=True, tile=256)]


@pytest.mark.parametrize(
    ("query", "content", "status", "named"),
    [
        ("", b"", 400, "empty"),
        ("", photo()[1][:-2000], 400, "damaged"),
        ("", b"no photo at all", 415, "not an image"),
        ("", b"%!PS-Adobe-3.0\n" + bytes(100), 415, "not an image"),
        ("", bytes(20_001), 413, "20,000 bytes"),
        ("", photo(100, 50)[1], 413, "50x100"),
        ("?format=gif", photo()[1], 415, "gif"),
        ("?tile=100000", photo()[1], 422, "tile"),
        ("?ensemble=maybe", photo()[1], 422, "ensemble"),
        ("?sharpen=1", photo()[1], 422, "sharpen"),
    ],
)
def test_request_that_cannot_be_served_is_refused(client, query, content, status, named):
    answer = client.post(f"/restore{query}", content=content)
    assert answer.status_code == status, answer.text
    assert named in answer.json()["error"]
    assert client.post("/restore", content=photo()[1]).status_code == 200


def test_body_of_unknown_length_is_refused_once_it_is_too_long(client):
    answer = client.post("/restore", content=iter([bytes(8_000)] * 4))
    assert answer.status_code == 413


def test_photo_that_is_sent_too_slowly_is_refused_and_holds_no_place(monkeypatch):
    monkeypatch.setattr(app, "_UPLOAD_SECONDS", 0.05)
    with Client(
        create_app(darker, name="toy", limits=Limits(max_bytes=20_000, max_waiting=1))
    ) as client:
        slow = client.begin("/restore", content=[photo()[1][:100]], stalls=True)
        answer = slow.result(10)
        assert answer.status_code == 408 and "upload" in answer.json()["error"]
        assert client.post("/restore", content=photo()[1]).status_code == 200
        assert 'tfdeblur_requests_total{status="408"} 1' in client.get("/metrics").text


def test_other_methods_and_paths_are_refused(client):
    assert client.get("/restore").status_code == 405
    assert client.get("/nothing").status_code == 404
    assert client.get("/").status_code == 404


def test_failure_of_the_network_is_answered_and_survived():
    calls = iter([ValueError("secret path"), MemoryError(), None])

    def restore(images, options):
        error = next(calls)
        if error is not None:
            raise error
        return images

    with Client(create_app(restore, name="toy")) as client:
        first, second, third = (client.post("/restore", content=photo()[1]) for _ in range(3))
        assert first.status_code == 500 and "secret" not in first.text
        assert second.status_code == 503
        assert third.status_code == 200
        assert 'status="500"} 1' in client.get("/metrics").text


def test_photo_for_which_the_device_lacks_memory_is_answered_with_503():
    def restore(images):
        return tf.ensure_shape(tf.py_function(no_memory, [images], tf.float32), images.shape)

    def no_memory(images):
        raise MemoryError

    with Client(create_app(app.restore_with(Restorer(restore)), name="toy")) as client:
        assert client.post("/restore", content=photo()[1]).status_code == 503


def test_health_names_the_network(client):
    answer = client.get("/health")
    assert answer.status_code == 200 and answer.json()["model"] == "toy"


def test_metrics_count_requests_and_pixels(client):
    client.post("/restore", content=photo()[1])
    client.post("/restore", content=b"x")
    text = client.get("/metrics").text
    for line in (
        'tfdeblur_requests_total{status="200"} 1',
        'tfdeblur_requests_total{status="415"} 1',
        "tfdeblur_request_seconds_count 2",
        'tfdeblur_request_seconds_bucket{le="+Inf"} 2',
        "tfdeblur_pixels_total 2000",
        "tfdeblur_images_waiting 0",
        "tfdeblur_batch_images_total 1",
    ):
        assert line in text.splitlines()


# ---------------------------------------------------------------------------------------- batches


def serve(jobs, **options):
    """Restores jobs (pixels, options) that arrive at once; returns results and batch shapes."""
    shapes = []

    def restore(images, chosen):
        shapes.append(images.shape)
        return images + 1

    async def main():
        batcher = Batcher(restore, **{"pixels_at_once": 1000, **options})
        runner = asyncio.create_task(batcher.run())
        results = await asyncio.gather(*(batcher(*job) for job in jobs), return_exceptions=True)
        runner.cancel()
        return results, batcher

    results, batcher = asyncio.run(main())
    return results, shapes, batcher


def image(height, width, value, channels=3):
    return np.full((height, width, channels) if channels else (height, width), value, np.uint8)


def test_images_of_equal_size_and_options_share_a_batch():
    jobs = [
        (image(10, 20, 1), Options()),
        (image(20, 10, 2), Options()),
        (image(10, 20, 3), Options()),
        (image(10, 20, 4), Options(ensemble=True)),
        (image(10, 20, 5), Options()),
    ]
    results, shapes, batcher = serve(jobs)
    for (pixels, _), result in zip(jobs, results, strict=True):
        np.testing.assert_array_equal(result, pixels + 1)
    assert shapes == [(3, 10, 20, 3), (20, 10, 3), (10, 20, 3)]
    assert (batcher.batches, batcher.images) == (3, 5)


def test_batches_hold_no_more_pixels_than_allowed():
    jobs = [(image(10, 20, value), Options()) for value in range(6)]
    _, shapes, _ = serve(jobs, pixels_at_once=500)
    assert shapes == [(2, 10, 20, 3)] * 3
    _, shapes, _ = serve(jobs[:2], pixels_at_once=10)
    assert shapes == [(10, 20, 3)] * 2


def test_gray_images_are_restored_one_by_one():
    results, shapes, _ = serve([(image(10, 20, v, channels=0), Options()) for v in (1, 2)])
    assert shapes == [(10, 20)] * 2
    assert [int(result.max()) for result in results] == [2, 3]


def test_requests_beyond_the_limits_are_refused_until_others_end():
    entrance = _Entrance(Limits(max_pixels=100, max_waiting=2))
    with entrance.admit() as hold, entrance.admit() as other:
        with pytest.raises(Busy, match="2 requests"), entrance.admit():
            pass
        hold(700)
        with pytest.raises(Busy, match="700 pixels"):
            other(101)
        other(100)
    with entrance.admit() as hold:
        hold(800)
    # A thread that still decodes for a request that was cancelled holds nothing.
    with pytest.raises(Busy):
        hold(1)
    with entrance.admit() as hold:
        hold(800)


def test_busy_server_answers_503_without_reading_the_photo():
    started, release = threading.Event(), threading.Event()

    def restore(images, options):
        started.set()
        release.wait(10)
        return images

    limits = Limits(max_pixels=500, max_waiting=3)
    with Client(create_app(restore, name="toy", limits=limits)) as client:
        first = [client.begin("/restore", content=photo(20, 25)[1]) for _ in range(2)]
        assert started.wait(10)
        # 1,000 of 4,000 pixels are held.
        assert client.post("/restore", content=photo(20, 26)[1]).status_code == 413
        last = client.begin("/restore", content=photo(20, 25)[1])

        def unread():
            raise AssertionError("the body is read")
            yield b""

        answer = client.post("/restore", content=unread())
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        release.set()
        assert [call.result(10).status_code for call in (*first, last)] == [200] * 3
        assert client.post("/restore", content=photo(20, 25)[1]).status_code == 200


def test_photos_of_clients_that_have_gone_are_not_restored():
    started, release, seen = threading.Event(), threading.Event(), []

    def restore(images, options):
        seen.append(images.shape[0])
        started.set()
        release.wait(10)
        return images

    with Client(create_app(restore, name="toy")) as client:
        first = client.begin("/restore", content=photo(8, 9)[1])
        assert started.wait(10)
        next_one = client.begin("/restore", content=photo(10, 9)[1])
        for height in (9, 10):
            gone = client.begin("/restore", content=photo(height, 9)[1], leaves=True)
            assert gone.result(10).status_code == 499
        last = client.begin("/restore", content=photo(10, 9)[1])
        release.set()
        calls = (first, next_one, last)
        assert [call.result(10).status_code for call in calls] == [200] * 3
        assert "tfdeblur_batch_images_total 3" in client.get("/metrics").text.splitlines()
    assert seen[0] == 8 and set(seen[1:]) <= {10, 2}


def test_photo_that_is_too_large_for_a_format_is_refused():
    content = io.BytesIO()
    Image.new("L", (16_400, 1)).save(content, "PNG")
    with Client(create_app(darker, name="toy")) as client:
        answer = client.post("/restore?format=webp", content=content.getvalue())
        assert answer.status_code == 422 and "16400x1" in answer.json()["error"]
        assert client.post("/restore", content=content.getvalue()).status_code == 200


def test_tiles_of_more_pixels_than_are_restored_at_once_are_refused():
    with Client(create_app(darker, name="toy", pixels_at_once=256**2)) as client:
        assert client.post("/restore?tile=256", content=photo()[1]).status_code == 200
        answer = client.post("/restore?tile=512", content=photo()[1])
        assert answer.status_code == 422 and "128, 256" in answer.json()["error"]


def test_images_of_clients_that_have_gone_are_not_restored():
    started, release, seen = threading.Event(), threading.Event(), []

    def restore(images, options):
        seen.append(int(images.max()))
        started.set()
        release.wait(10)
        return images

    async def main():
        batcher = Batcher(restore, pixels_at_once=1)
        runner = asyncio.create_task(batcher.run())
        first = asyncio.create_task(batcher(image(2, 2, 1), Options()))
        await asyncio.to_thread(started.wait, 10)
        gone = asyncio.create_task(batcher(image(3, 3, 2), Options()))
        last = asyncio.create_task(batcher(image(4, 4, 3), Options()))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(first, last)
        runner.cancel()

    asyncio.run(main())
    assert seen == [1, 3]


def test_app_without_starlette_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    with pytest.raises(UserError, match=r"tfdeblur\[serve\]"):
        create_app(darker, name="toy")
