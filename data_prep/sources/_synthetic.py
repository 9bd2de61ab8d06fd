"""Options of sources that have only sharp pictures: which blur is made for them."""

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from data_prep.blur import Blur, GaussianBlur, TrajectoryBlur


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlurOptions:
    """How sharp pictures are blurred."""

    blur: Annotated[
        Literal["trajectory", "gaussian"],
        Field(description="trajectory: camera shake along a random path; gaussian: soft focus"),
    ] = "trajectory"
    min_sigma: Annotated[
        float, Field(ge=0, le=16, description="gaussian: narrowest width, in pixels")
    ] = 0.0
    max_sigma: Annotated[
        float, Field(ge=0, le=16, description="gaussian: widest width, in pixels")
    ] = 3.0
    length: Annotated[
        float, Field(gt=0, le=256, description="trajectory: length of the whole path in pixels")
    ] = 60.0
    exposures: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...],
        Field(min_length=1, description="trajectory: shares of the path; each picture draws one"),
    ] = (0.01, 0.1, 0.5, 1.0)
    linear_light: Annotated[
        bool,
        Field(description="blur in linear light (gamma 2.2), where bright points leave traces"),
    ] = False

    def make_blur(self) -> Blur:
        """Returns the blur that these options describe."""
        gamma = 2.2 if self.linear_light else 1.0
        if self.blur == "gaussian":
            return GaussianBlur(self.max_sigma, gamma, self.min_sigma)
        return TrajectoryBlur(self.length, self.exposures, gamma)
