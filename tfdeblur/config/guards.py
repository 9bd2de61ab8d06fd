"""Handling of non-finite values and thresholds of warnings in a training run."""

import dataclasses
from typing import Annotated, Literal

from pydantic import Field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guards:
    """What happens at non-finite values, and when a run logs a warning."""

    on_nonfinite: Annotated[
        Literal["stop", "skip", "rollback"],
        Field(
            description="at a non-finite loss or gradient: stop; skip: omit the update of that "
            "step; rollback: return to the last checkpoint and reduce the learning rates"
        ),
    ] = "stop"
    max_consecutive_skips: Annotated[
        int, Field(ge=1, description="skip: maximum number of skipped steps in a row")
    ] = 20
    max_rollbacks: Annotated[
        int, Field(ge=1, description="rollback: maximum number of rollbacks in a run")
    ] = 3
    rollback_factor: Annotated[
        float, Field(gt=0, lt=1, description="rollback: factor of all learning rates, each time")
    ] = 0.5
    data_wait: Annotated[
        float,
        Field(
            gt=0, le=1, description="warn if the devices wait for data for this share of the time"
        ),
    ] = 0.3
    stall_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=1e6,
            description="warn if no call of steps has finished for this long (five times as long "
            "for the first call, which includes compilation)",
        ),
    ] = 120.0
    min_gradient: Annotated[
        float, Field(ge=0, description="warn if the gradient norm of a network is below this")
    ] = 1e-8
    max_gradient: Annotated[
        float, Field(gt=0, description="warn if the gradient norm of a network is above this")
    ] = 1e5
    min_wasserstein: Annotated[
        float,
        Field(ge=0, description="warn if the magnitude of the Wasserstein estimate is below this"),
    ] = 1e-7
    max_wasserstein: Annotated[
        float,
        Field(gt=0, description="warn if the magnitude of the Wasserstein estimate is above this"),
    ] = 1e4

    def __post_init__(self) -> None:
        for quantity in ("gradient", "wasserstein"):
            low, high = getattr(self, f"min_{quantity}"), getattr(self, f"max_{quantity}")
            if low >= high:
                raise ValueError(
                    f"min_{quantity} ({low:g}) must be below max_{quantity} ({high:g})"
                )
