"""Command: opens a page on this machine to try a network.

::

    python -m tfdeblur.demo
"""

import html
import importlib.resources
from collections.abc import Sequence

from tfdeblur import cli
from tfdeblur.io import files
from tfdeblur.serve import __main__ as serve

PROG = "python -m tfdeblur.demo"


def page(model: str) -> str:
    """Returns the page for a network."""
    text = (importlib.resources.files("tfdeblur.demo") / "page.html").read_text("utf-8")
    return text.replace("@MODEL@", html.escape(model))


def run(config: serve.ServeConfig) -> None:
    """Serves the page until a signal.

    Args:
        config: Settings of `tfdeblur.serve`, of which the page is an addition.

    Raises:
        UserError: The extra `demo` is not installed, or the network cannot be loaded.
    """
    # Other machines may see the page, and need not see the path.
    serve.run(config, page(files.own_name(config.model)))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        serve.ServeConfig,
        run,
        argv,
        prog=PROG,
        description=(
            "Serves a page to try a network: drop a photo, compare before and after, download. "
            "By default only this machine can open it."
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
