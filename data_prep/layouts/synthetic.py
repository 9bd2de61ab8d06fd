"""Options of sources that have only sharp pictures: which blur is made for them."""

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from data_prep.blur import Blur, blur_for
from tfdeblur.degradation.degradation import Degradation


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlurOptions(Degradation):
    """How sharp pictures are blurred."""

    blur: Annotated[
        Literal["none", "trajectory", "gaussian", "disc"],
        Field(
            description="trajectory: camera shake along a random path; gaussian: soft focus; "
            "disc: a lens out of focus; none: noise and JPEG alone"
        ),
    ] = "trajectory"

    def make_blur(self) -> Blur:
        """Returns the blur that these options describe."""
        return blur_for(self)
