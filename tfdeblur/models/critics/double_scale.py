"""Double scale: a critic of patches and a critic of the full image in one network."""

import dataclasses
from typing import Annotated

import keras
from pydantic import Field

from tfdeblur.models.critics.critic import (
    Conditional,
    Critic,
    NormFirst,
    NormOption,
    Width,
    patch_scores,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `double_scale`."""

    local_layers: Annotated[
        int, Field(ge=1, le=6, description="convolutions of stride 2 of the patch critic")
    ] = 3
    global_layers: Annotated[
        int, Field(ge=1, le=6, description="convolutions of stride 2 of the image critic")
    ] = 5
    width: Width = 64
    norm: NormOption = "instance"
    norm_first: NormFirst = False
    conditional: Conditional = False


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
    images = keras.Input((None, None, 6 if options.conditional else 3), name="images")
    maps = [
        patch_scores(
            images,
            layers=layers,
            width=options.width,
            norm=options.norm,
            norm_first=options.norm_first,
            prefix=prefix,
        )
        for prefix, layers in (
            ("local_", options.local_layers),
            ("global_", options.global_layers),
        )
    ]
    network = keras.Model(images, maps, name="double_scale")
    return Critic(network, options.conditional, mixes_examples=options.norm == "batch")
