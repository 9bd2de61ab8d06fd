"""Command: restores photos over HTTP.

::

    python -m tfdeblur.serve
    curl --data-binary @photo.jpg http://127.0.0.1:8000/restore -o restored.png
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from tfdeblur import cli, presets
from tfdeblur.cli.environment import require_keras
from tfdeblur.errors import UserError

PROG = "python -m tfdeblur.serve"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Settings of the server."""

    model: Annotated[str, Field(min_length=1)] = presets.DEFAULT
    """name of a preset, work directory, checkpoint, folder of a preset, or SavedModel, which is a
    program: load only those you trust"""
    host: str = "127.0.0.1"
    """address to listen on; 0.0.0.0 serves other machines"""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """port to listen on"""
    max_bytes: Annotated[int, Field(ge=1)] = 32 * 2**20
    """largest request, in bytes"""
    max_pixels: Annotated[int, Field(ge=1)] = 32_000_000
    """largest photo, height times width"""
    max_waiting: Annotated[int, Field(ge=1)] = 64
    """requests that may be in progress, each with a body of up to --max-bytes in memory; more are
    answered with 503, as are photos beyond 8 times --max-pixels in all"""
    pixels_at_once: Annotated[int, Field(ge=1)] = 2**20
    """photos above this many pixels are tiled, smaller ones batched"""


def run(config: ServeConfig, page: str | None = None) -> None:
    """Loads the network and serves until a signal.

    Args:
        config: Settings of the command.
        page: HTML for ``/``, if there is a page.

    Raises:
        UserError: The extra `serve` is not installed, or the network cannot be loaded.
    """
    app = make_app(config, page)
    import uvicorn

    if page is not None:
        print(f"Open http://{config.host}:{config.port}/ in a browser; Ctrl-C ends.", flush=True)
    uvicorn.run(app, host=config.host, port=config.port, log_level="info")


def make_app(config: ServeConfig, page: str | None = None) -> Any:
    """Loads the network and returns the ASGI application."""
    try:
        import uvicorn  # noqa: F401  # before the network, which takes longer
    except ImportError as error:
        raise UserError("The server needs uvicorn: pip install 'tfdeblur[serve]'.") from error
    require_keras()
    import numpy as np

    from tfdeblur.inference.restorer import load_restorer
    from tfdeblur.serve import app
    from tfdeblur.serve.batcher import Options

    restorer = load_restorer(config.model, max_pixels=config.pixels_at_once)
    restore = app.restore_with(restorer)
    # The first call builds the network's function; requests should not wait for it.
    restore(np.zeros((64, 64, 3), np.uint8), Options())
    limits = app.Limits(
        max_bytes=config.max_bytes, max_pixels=config.max_pixels, max_waiting=config.max_waiting
    )
    return app.create_app(
        restore,
        name=restorer.name,
        pixels_at_once=config.pixels_at_once,
        limits=limits,
        page=page,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        ServeConfig,
        run,
        argv,
        prog=PROG,
        description=(
            "Restores photos over HTTP: POST /restore with the bytes of a photo, GET /health, "
            "GET /metrics. Photos of equal size are restored together."
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
