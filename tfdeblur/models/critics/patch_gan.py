"""PatchGAN: a critic that scores overlapping patches of an image."""

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
    """Settings of `patch_gan`."""

    layers: Annotated[
        int, Field(ge=1, le=6, description="convolutions of stride 2; one of stride 1 follows")
    ] = 3
    width: Width = 64
    norm: NormOption = "layer"
    norm_first: NormFirst = True
    conditional: Conditional = False


def build(options: Options) -> Critic:
    """Builds the critic.

    4x4 convolutions of 64, 128 and 256 channels with stride 2 and of 512 channels with stride 1,
    each with normalization and LeakyReLU(0.2), then a 4x4 convolution to one linear score. A score
    has a receptive field of 70x70 pixels.

    Args:
        options: Settings. The defaults have 2,766,657 parameters and a 4x4 map for 32x32 pixels.

    Returns:
        A critic for any size.

    Reference:
        Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
        section 3.2.2; with layer normalization over channels: Orlandi and Pinardi, autoencoders
        and WGANs for image deblurring on TPUs.
    """
    images = keras.Input((None, None, 6 if options.conditional else 3), name="images")
    scores = patch_scores(
        images,
        layers=options.layers,
        width=options.width,
        norm=options.norm,
        norm_first=options.norm_first,
    )
    network = keras.Model(images, [scores], name="patch_gan")
    return Critic(network, options.conditional, mixes_examples=options.norm == "batch")
