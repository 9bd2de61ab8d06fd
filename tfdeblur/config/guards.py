"""What a run watches itself for, and what it does when something goes wrong."""

import dataclasses
from typing import Annotated, Literal

from pydantic import Field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guards:
    """What happens when a number is not finite, and from where on a run warns."""

    on_nonfinite: Annotated[
        Literal["stop", "skip", "rollback"],
        Field(
            description="when a loss or gradient is not finite: stop; skip: leave that step's "
            "update out; rollback: go back to the last checkpoint with smaller learning rates"
        ),
    ] = "stop"
    most_skips: Annotated[
        int, Field(ge=1, description="skip: most steps in a row before the run stops")
    ] = 20
    most_rollbacks: Annotated[
        int, Field(ge=1, description="rollback: most times before the run stops")
    ] = 3
    rollback_factor: Annotated[
        float, Field(gt=0, lt=1, description="rollback: multiplies all learning rates, each time")
    ] = 0.5
    data_wait: Annotated[
        float,
        Field(gt=0, le=1, description="warn when the devices wait for data this share of the time"),
    ] = 0.3
    stall_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=1e6,
            description="say when no call of steps has ended for so many seconds (the first one, "
            "which is compiled, gets five times as many)",
        ),
    ] = 120.0
    least_gradient: Annotated[
        float, Field(ge=0, description="warn when a player's gradient norm is below this")
    ] = 1e-8
    most_gradient: Annotated[
        float, Field(gt=0, description="warn when a player's gradient norm is above this")
    ] = 1e5
    least_wasserstein: Annotated[
        float, Field(ge=0, description="warn when the size of the Wasserstein estimate is below")
    ] = 1e-7
    most_wasserstein: Annotated[
        float, Field(gt=0, description="warn when the size of the Wasserstein estimate is above")
    ] = 1e4

    def __post_init__(self) -> None:
        for what in ("gradient", "wasserstein"):
            least, most = getattr(self, f"least_{what}"), getattr(self, f"most_{what}")
            if least >= most:
                raise ValueError(f"least_{what} ({least:g}) must be below most_{what} ({most:g})")
