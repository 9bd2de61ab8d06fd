"""PatchGAN: a critic that scores overlapping patches of an image."""

import dataclasses
from typing import Annotated

from pydantic import Field

from tfdeblur.models.critics.critic import Critic, CriticOptions, Norm, critic_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(CriticOptions):
    """Settings of `patch_gan`."""

    layers: Annotated[int, Field(ge=1, le=6)] = 3
    """convolutions of stride 2; one of stride 1 follows"""
    norm: Norm = "layer"
    norm_first: bool = True


def build(options: Options) -> Critic:
    """Builds the critic.

    4x4 convolutions of 64, 128 and 256 channels with stride 2 and of 512 channels with stride 1,
    each with normalization and LeakyReLU(0.2), then a 4x4 convolution to one linear score. A score
    has a receptive field of 70x70 pixels.

    With `residual`, a 1x1 convolution of a block's input, with the block's stride, is added to its
    output, with nothing after the sum. This is a reading of Kuspys and Lutchyn's discriminator, "N
    blocks similar to residual blocks", of which they give no more.

    Args:
        options: Settings. The defaults have 2,766,657 parameters and a 4x4 map for 32x32 pixels.

    Returns:
        A critic for any size.

    Reference:
        Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
        section 3.2.2; with layer normalization over channels: Orlandi and Pinardi, autoencoders
        and WGANs for image deblurring on TPUs. Residual blocks: Kuspys and Lutchyn, DeblurGAN_PRO.
    """
    return critic_of("patch_gan", options, {"": options.layers})
