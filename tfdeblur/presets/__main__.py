"""``python -m tfdeblur.presets``: lists the presets with their scores."""

import dataclasses
from collections.abc import Sequence

from tfdeblur import cli, presets
from tfdeblur.presets import card


@dataclasses.dataclass(frozen=True, kw_only=True)
class PresetsConfig:
    """Settings of the presets command, which has none."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        PresetsConfig,
        _report,
        argv,
        prog="python -m tfdeblur.presets",
        description=(
            "Lists the presets, trained weights that load by name, with the scores of the blurred "
            "and the restored images: python -m tfdeblur.deblur PHOTO -o OUT --model NAME."
        ),
    )


def _report(config: PresetsConfig) -> None:
    print(card.table([presets.load(name) for name in presets.names()]))


if __name__ == "__main__":
    raise SystemExit(main())
