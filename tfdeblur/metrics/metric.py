"""What the library knows about an image quality metric."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

CEILING_DB = 100.0
"""Upper limit of a PSNR in averages. An image above it equals its target but for rounding."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """An image quality metric with the protocol that it follows.

    Attributes:
        key: Name in files and flags.
        title: Name in tables and charts.
        protocol: How the metric is measured, in full sentences.
        compute: Maps `(sharp, restored)`, two float32 [B, H, W, 3] in [0, 1], to float32 [B].
            None if the metric needs weights or options or is computed `from_means`.
        on_host: Whether `compute` is NumPy code, which receives and returns arrays.
        higher_is_better: Whether larger values mean better images.
        unit: Unit in which values are printed, such as `dB` or `e-3`.
        decimals: Decimals that are printed; None for four significant digits.
        scale: Factor by which values are multiplied before printing.
        min_size: Smallest height and width in pixels.
        quick: Whether quick evaluation and the validation during training measure it, so that
            `output.best_metric` may name it.
        whole_images_only: Whether crops are not measured.
        comparable: Whether values of the input and of different runs may be compared.
        prepare: Maps the sharp images to what `compute` takes in their place, so that it is
            computed once for several restored versions.
        from_means: Computes the metric of a split from the means of the other metrics by key.
            NaN if one that it needs was not measured.
    """

    key: str
    title: str
    protocol: str
    compute: Callable[[Any, Any], Any] | None = None
    on_host: bool = False
    higher_is_better: bool = True
    unit: str = ""
    decimals: int | None = 4
    scale: float = 1.0
    min_size: int = 1
    quick: bool = False
    whole_images_only: bool = False
    comparable: bool = True
    prepare: Callable[[Any], Any] | None = None
    from_means: Callable[[Mapping[str, float]], float] | None = None

    @property
    def header(self) -> str:
        """The title with the unit."""
        return f"{self.title} {self.unit}".rstrip()

    @property
    def sign(self) -> float:
        """1 if higher is better, else -1."""
        return 1.0 if self.higher_is_better else -1.0

    @property
    def is_psnr(self) -> bool:
        """Whether values are decibels, which are infinite for identical images.

        Averages then omit images whose input equals the target and count at most `CEILING_DB`.
        """
        return self.unit == "dB"

    def fits(self, height: int, width: int) -> bool:
        """Returns whether images of a size in pixels are large enough."""
        return min(height, width) >= self.min_size

    def text(self, value: float, *, signed: bool = False) -> str:
        """Returns a value as it is printed; a dash if it is NaN."""
        if math.isnan(value):
            return "-"
        digits = "#.4g" if self.decimals is None else f".{self.decimals}f"
        return f"{value * self.scale:{'+' if signed else ''}{digits}}"
