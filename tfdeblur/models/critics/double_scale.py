"""Double scale: one critic for patches and one for the image as a whole, in one network."""

import dataclasses
from typing import Annotated

import keras
from pydantic import Field

from tfdeblur.models.critics.critic import Critic, Norm, patch_scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `double_scale`."""

    local_layers: Annotated[
        int, Field(ge=1, le=6, description="convolutions of stride 2 of the critic of patches")
    ] = 3
    global_layers: Annotated[
        int, Field(ge=1, le=6, description="the same of the critic of the whole image")
    ] = 5
    width: Annotated[int, Field(gt=0, description="channels of the first convolutions")] = 64
    norm: Annotated[
        Norm,
        Field(
            description="layer: over channels; layer_all: over height, width and channels; "
            "instance; batch; spectral: of the kernels; none"
        ),
    ] = "instance"
    norm_first: Annotated[
        bool, Field(description="normalize after the first convolutions as well")
    ] = False
    conditional: Annotated[
        bool, Field(description="the critic sees the blurred input beside the image")
    ] = False


def build(options: Options) -> Critic:
    """Builds the critic.

    Two PatchGANs that share nothing look at the same image: with three convolutions of stride 2 a
    score judges 70x70 pixels, with five 286x286, which is all of a 256x256 crop. An objective
    averages the losses of the two maps.

    Args:
        options: Settings.

    Returns:
        A critic for any size, with two score maps, the local one first.

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
