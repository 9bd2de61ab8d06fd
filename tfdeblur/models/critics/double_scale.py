"""Double scale: a critic of patches and a critic of the full image in one network."""

import dataclasses
from typing import Annotated

from pydantic import Field

from tfdeblur.models.critics.critic import Critic, CriticOptions, critic_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(CriticOptions):
    """Settings of `double_scale`."""

    local_layers: Annotated[int, Field(ge=1, le=6)] = 3
    """convolutions of stride 2 of the patch critic"""
    global_layers: Annotated[int, Field(ge=1, le=6)] = 5
    """convolutions of stride 2 of the image critic"""


def build(options: Options) -> Critic:
    """Builds the critic.

    Two PatchGANs without shared weights score the same image: with three convolutions of stride 2 a
    score has a receptive field of 70x70 pixels, with five 286x286, which covers a 256x256 crop. The
    objective averages the losses of both maps.

    Args:
        options: Settings.

    Returns:
        A critic for any size with two score maps, the local one first.

    Reference:
        Kupyn et al., "DeblurGAN-v2: Deblurring (Orders-of-Magnitude) Faster and Better", ICCV
        2019, section 3.2.
    """
    layers = {"local_": options.local_layers, "global_": options.global_layers}
    return critic_of("double_scale", options, layers)
