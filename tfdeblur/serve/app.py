"""The ASGI application: photos in, restored photos out.

::

    POST /restore    the bytes of a photo; answers a PNG, or ?format=jpeg or webp
    GET /health      200 once the network is loaded
    GET /metrics     counts for Prometheus

Options of ``/restore``: ``format``, ``ensemble=true``, and ``tile``, the side of tiles in pixels.
Status codes: 400 empty or damaged, 408 sent too slowly, 413 too many bytes or pixels, 415 not a
photo, or a format that is not written, 422 an invalid option, or an image too large for the format,
503 busy.
"""

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from tfdeblur._version import __version__
from tfdeblur.errors import UserError
from tfdeblur.inference import photo_files
from tfdeblur.inference.restorer import Restorer
from tfdeblur.inference.tiles import Tiles
from tfdeblur.serve.batcher import Batcher, Options, Restore
from tfdeblur.serve.counters import Counters

FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""Formats of answers by the value of ``format``."""

TILES = (128, 256, 512, 1024)
"""Sides of tiles that a request may choose; the network is compiled for each."""

_MAX_SIDE = {"jpeg": 65_535, "webp": 16_383}
# An upload may take so long, plus a second for each 128 KiB of the largest request.
_UPLOAD_SECONDS, _UPLOAD_RATE = 60.0, 2**17

_TRUE, _FALSE = ("1", "true", "on"), ("", "0", "false", "off")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server accepts.

    Attributes:
        max_bytes: Size of a request.
        max_pixels: Size of an image, height times width.
        max_waiting: Requests that may be in progress.
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 32_000_000
    max_waiting: int = 64

    @property
    def max_pixels_held(self) -> int:
        """Pixels of all photos in memory: those of the largest ones that are accepted, 8 times."""
        return 8 * self.max_pixels


class Busy(UserError):
    """Too many requests are in progress."""


class _TooLarge(UserError):
    """An image of too many pixels."""


class _Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def restore_with(restorer: Restorer) -> Restore:
    """Returns the function that restores images with a network under options."""

    def restore(images: np.ndarray, options: Options) -> np.ndarray:
        tiles = None if options.tile is None else Tiles(options.tile)
        try:
            restored: np.ndarray = restorer.deblur(images, tiles=tiles, ensemble=options.ensemble)
        except UserError as error:
            if isinstance(error.__cause__, MemoryError):
                raise error.__cause__ from None
            raise
        return restored

    return restore


def create_app(
    restore: Restore,
    *,
    name: str,
    pixels_at_once: int = 2**20,
    limits: Limits | None = None,
    page: str | None = None,
) -> Any:
    """Returns the application.

    Args:
        restore: From `restore_with`.
        name: Name of the network, for ``/health``.
        pixels_at_once: Pixels of images that are restored together.
        limits: What the server accepts.
        page: HTML for ``/``, if there is a page.

    Returns:
        An ASGI application, for uvicorn or any other server.

    Raises:
        UserError: Starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.requests import ClientDisconnect, Request
        from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
        from starlette.routing import Route
    except ImportError as error:
        raise UserError("The server needs Starlette: pip install 'tfdeblur[serve]'.") from error

    accepted = limits or Limits()
    counters = Counters()
    batcher = Batcher(restore, pixels_at_once=pixels_at_once)
    entrance = _Entrance(accepted)

    async def answer(request: Request) -> Response:
        kind, options = _parameters(request.query_params, pixels_at_once)
        with entrance.admit() as hold:
            try:
                allowed = _UPLOAD_SECONDS + accepted.max_bytes / _UPLOAD_RATE
                async with asyncio.timeout(allowed):
                    data = await _body(request, accepted.max_bytes)
            except TimeoutError as error:
                raise _Refused(408, f"the upload took longer than {allowed:.0f} s") from error
            photo = await asyncio.to_thread(_decoded, data, accepted.max_pixels, hold)
            job = asyncio.ensure_future(batcher(photo.pixels, options))
            gone = asyncio.ensure_future(_disconnected(request))
            try:
                await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not job.done():
                    raise ClientDisconnect
                pixels = await job
            finally:
                job.cancel()
                gone.cancel()
            counters.pixels += pixels.shape[0] * pixels.shape[1]
            restored = dataclasses.replace(photo, pixels=pixels)
            content = await asyncio.to_thread(_encoded, kind, restored)
        return Response(content, media_type=FORMATS[kind])

    async def restore_photo(request: Request) -> Response:
        start = time.monotonic()
        try:
            response = await answer(request)
        except ClientDisconnect:
            response = PlainTextResponse("", 499)
        except _Refused as refused:
            response = JSONResponse({"error": str(refused)}, refused.status)
        except Busy as busy:
            response = JSONResponse({"error": str(busy)}, 503, {"Retry-After": "1"})
        except MemoryError:
            response = JSONResponse({"error": "not enough memory for this image"}, 503)
        except Exception:
            counters.add(500, time.monotonic() - start)
            raise  # the server logs it and answers 500
        counters.add(response.status_code, time.monotonic() - start)
        return response

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": name, "tfdeblur": __version__})

    async def metrics(request: Request) -> Response:
        totals = {"batches_total": batcher.batches, "batch_images_total": batcher.images}
        text = counters.text({"images_waiting": batcher.waiting}, totals)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def show_page(request: Request) -> Response:
        return HTMLResponse(page or "")

    @contextlib.asynccontextmanager
    async def running(app: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(batcher.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    routes = [
        Route("/restore", restore_photo, methods=["POST"]),
        Route("/health", health),
        Route("/metrics", metrics),
    ]
    if page is not None:
        routes.append(Route("/", show_page))
    return Starlette(routes=routes, lifespan=running)


class _Entrance:
    """Admits requests up to limits of their number and of the pixels that they hold."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = 0
        self._pixels = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def admit(self) -> Iterator[Callable[[int], None]]:
        """Counts a request until the block ends.

        Yields:
            A function that counts pixels of the request; it raises Busy if there is no room.

        Raises:
            Busy: Too many requests are in progress.
        """
        if self._requests >= self._limits.max_waiting:
            raise Busy(f"{self._requests} requests are in progress; try again later.")
        self._requests += 1
        held, ended = 0, False

        def hold(pixels: int) -> None:
            nonlocal held
            with self._lock:
                if ended:  # while a thread decodes
                    raise Busy("the request has ended.")
                if self._pixels + pixels > self._limits.max_pixels_held:
                    raise Busy(f"{self._pixels:,} pixels are in memory; try again later.")
                self._pixels += pixels
                held += pixels

        try:
            yield hold
        finally:
            self._requests -= 1
            with self._lock:
                ended = True
                self._pixels -= held


async def _disconnected(request: Any) -> None:
    """Returns when the client has gone; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _parameters(query: Mapping[str, str], pixels_at_once: int) -> tuple[str, Options]:
    unknown = sorted(query.keys() - {"format", "ensemble", "tile"})
    if unknown:
        raise _Refused(422, f"unknown option {unknown[0]!r}; known: format, ensemble, tile")
    kind = query.get("format", "png").lower()
    if kind not in FORMATS:
        raise _Refused(415, f"format {kind!r} is not written; choose {', '.join(FORMATS)}")
    word = query.get("ensemble", "").lower()
    if word not in (*_TRUE, *_FALSE):
        raise _Refused(422, f"ensemble: must be true or false, not {word!r}")
    tile = query.get("tile", "")
    sides = [str(side) for side in TILES if side**2 <= pixels_at_once]
    if tile and tile not in sides:
        known = f"choose {', '.join(sides)}" if sides else "this server chooses it"
        raise _Refused(422, f"tile: {known}")
    return kind, Options(ensemble=word in _TRUE, tile=int(tile) if tile else None)


async def _body(request: Any, max_bytes: int) -> bytes:
    """Reads the body, and refuses it as soon as it is too long."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _Refused(413, f"the photo has more than {max_bytes:,} bytes")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise _Refused(413, f"the photo has more than {max_bytes:,} bytes")
        parts.append(part)
    if not size:
        raise _Refused(400, "the body is empty; send the bytes of a photo")
    return b"".join(parts)


def _encoded(kind: str, photo: photo_files.Photo) -> bytes:
    height, width = photo.pixels.shape[:2]
    if max(height, width) > _MAX_SIDE.get(kind, height + width):
        raise _Refused(422, f"{width}x{height} pixels cannot be written as {kind}; choose png")
    try:
        return photo_files.encode_photo(f"restored.{kind}", photo)
    except UserError as error:
        cause = error.__cause__
        if isinstance(cause, MemoryError):
            raise cause from None
        # What an encoder refuses, such as a large EXIF record.
        if isinstance(cause, ValueError) or (isinstance(cause, OSError) and cause.errno is None):
            raise _Refused(422, str(error)) from error
        raise


def _decoded(data: bytes, max_pixels: int, hold: Callable[[int], None]) -> photo_files.Photo:
    def check(height: int, width: int) -> None:
        if height * width > max_pixels:
            raise _TooLarge(f"has {width}x{height} pixels; at most {max_pixels:,} are restored.")
        hold(height * width)

    try:
        return photo_files.decode_photo(data, "the photo", check)
    except UserError as error:
        cause = error.__cause__
        if isinstance(cause, Busy | MemoryError):
            raise cause from None
        if isinstance(cause, UnidentifiedImageError):
            raise _Refused(415, str(error)) from error
        if isinstance(cause, Image.DecompressionBombError | _TooLarge):
            raise _Refused(413, str(error)) from error
        raise _Refused(400, str(error)) from error
