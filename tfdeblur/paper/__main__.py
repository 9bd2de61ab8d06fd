"""Command line of `tfdeblur.paper`: the first argument is the kind of table or figure."""

import importlib
import sys
from collections.abc import Sequence

from tfdeblur import cli
from tfdeblur.errors import UserError
from tfdeblur.registry import did_you_mean

PROG = "python -m tfdeblur.paper"

# Each is a module with the configuration, its class's name, and a paragraph for the help text.
KINDS = {
    "table": (
        "TableConfig",
        "Sets networks side by side that tfdeblur.evaluate has evaluated, with the blurred input "
        "and the figures that their papers report.",
    ),
    "sets": (
        "SetsConfig",
        "Sets all evaluations of several networks side by side: a row for each network and a "
        "column for each test set; with --data after making those that are missing.",
    ),
    "curves": (
        "CurvesConfig",
        "Draws training and validation loss, PSNR and SSIM of one or several runs, by epoch or by "
        "images seen, as a page and as files for papers.",
    ),
    "images": (
        "ImagesConfig",
        "Draws the same images by several networks and other programs, with decibels and magnified "
        "regions: images of a split, or whole frames put together from tiles.",
    ),
    "sigma": (
        "SigmaConfig",
        "Draws sharp pictures blurred by Gaussians of rising sigma, with the PSNR that is left.",
    ),
    "stages": (
        "StagesConfig",
        "Draws what each stage of the training data does to a record: frame, tile, crop, flips, "
        "batch.",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    kind = arguments.pop(0) if arguments else ""
    if kind in ("-h", "--help"):
        print(_overview())
        return 0
    if kind not in KINDS:
        return cli.guard(lambda: _refuse(kind))
    config, description = KINDS[kind]
    module = importlib.import_module(f"tfdeblur.paper.{kind}")
    return cli.run_command(
        getattr(module, config),
        module.report,
        arguments,
        prog=f"{PROG} {kind}",
        description=description,
        positional=module.POSITIONAL,
    )


def _refuse(kind: str) -> int:
    what = f"unknown kind {kind!r}" if kind else "a kind is required"
    raise UserError(f"{what}.{did_you_mean(kind, KINDS)} --help describes all of them.")


def _overview() -> str:
    lines = [f"usage: {PROG} KIND [flags]", ""]
    for kind, (_, description) in KINDS.items():
        lines.append(f"{kind:8} {description}")
    return "\n".join([*lines, "", f"{PROG} KIND --help lists the flags of a kind."])


if __name__ == "__main__":
    raise SystemExit(main())
