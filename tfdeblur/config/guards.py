"""Handling of non-finite values and thresholds of warnings in a training run."""

import dataclasses
from typing import Annotated, Literal

from pydantic import Field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guards:
    """What happens at non-finite values, and when a run logs a warning."""

    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    """at a non-finite loss or gradient: stop; skip: omit the update of that step; rollback: return
    to the last checkpoint and reduce the learning rates"""
    max_consecutive_skips: Annotated[int, Field(ge=1)] = 20
    """skip: maximum number of skipped steps in a row"""
    max_rollbacks: Annotated[int, Field(ge=1)] = 3
    """rollback: maximum number of rollbacks in a run"""
    rollback_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """rollback: factor of all learning rates, each time"""
    data_wait: Annotated[float, Field(gt=0, le=1)] = 0.3
    """warn if the devices wait for data for this share of the time"""
    stall_seconds: Annotated[float, Field(gt=0, le=1e6)] = 120.0
    """warn if no training step finishes for this long (five times as long for the first call, which
    includes compilation)"""
    min_gradient: Annotated[float, Field(ge=0)] = 1e-8
    """warn if the gradient norm of a network is below this"""
    max_gradient: Annotated[float, Field(gt=0)] = 1e5
    """warn if the gradient norm of a network is above this"""
    min_wasserstein: Annotated[float, Field(ge=0)] = 1e-7
    """warn if the magnitude of the Wasserstein estimate is below this"""
    max_wasserstein: Annotated[float, Field(gt=0)] = 1e4
    """warn if the magnitude of the Wasserstein estimate is above this"""

    def __post_init__(self) -> None:
        for quantity in ("gradient", "wasserstein"):
            low, high = getattr(self, f"min_{quantity}"), getattr(self, f"max_{quantity}")
            if low >= high:
                raise ValueError(
                    f"min_{quantity} ({low:g}) must be below max_{quantity} ({high:g})"
                )
