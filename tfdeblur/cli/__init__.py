"""Command lines generated from configuration dataclasses."""

from tfdeblur.cli.command import guard, run_command

__all__ = ["guard", "run_command"]
