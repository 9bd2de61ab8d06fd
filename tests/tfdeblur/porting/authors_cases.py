"""Networks whose outputs under drawn weights were computed by their authors' code."""

import dataclasses
import pathlib
from typing import Any

GOLDEN = pathlib.Path(__file__).parent / "golden" / "authors"


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and its image.

    Attributes:
        architecture: Its name here.
        options: Options that differ from the defaults.
        size: Height and width of the image.
        signed: Whether the image is in [-1, 1].
        slow: Whether the test takes long.
        chosen: Options that do not follow from the weights.
    """

    architecture: str
    options: dict[str, Any]
    size: tuple[int, int]
    signed: bool = False
    slow: bool = False
    chosen: tuple[str, ...] = ()


# The width of DeblurGAN's code is fixed.
_DEBLURGAN: dict[str, Any] = {"convolutions": 1, "blocks": 1}

CASES = {
    "deblurgan_instance": Case(
        "deblurgan", {**_DEBLURGAN, "norm": "instance"}, (24, 32), signed=True
    ),
    "deblurgan_batch": Case(
        "deblurgan",
        {**_DEBLURGAN, "norm": "batch", "epsilon": 1e-5, "dropout": 0.0},
        (24, 32),
        signed=True,
        chosen=("dropout",),
    ),
    "nafnet_small": Case(
        "nafnet", {"width": 8, "encoder": (1, 2), "middle": 1, "decoder": (2, 1)}, (24, 40)
    ),
    # The network of the recipe nafnet16_rsblur.
    "nafnet16": Case("nafnet", {"width": 16}, (32, 48), slow=True),
    "fftformer_small": Case(
        "fftformer", {"width": 6, "blocks": (1, 2, 1), "refinement": 1}, (32, 64)
    ),
    "fftformer": Case("fftformer", {}, (32, 32), slow=True),
    "restormer_small": Case(
        "restormer",
        {"width": 8, "blocks": (1, 2, 1, 1), "heads": (1, 2, 1, 4), "refinement": 1},
        (24, 40),
    ),
    "deepdeblur_small": Case("deepdeblur", {"width": 6, "blocks": 2}, (24, 40)),
    "deepdeblur": Case("deepdeblur", {}, (24, 40), slow=True),
    "restormer": Case("restormer", {}, (24, 40), slow=True),
    "fpn_mobilenet": Case("fpn_mobilenet", {"backbone": "pytorch"}, (64, 96), signed=True),
    "fpn_mobilenet_batch": Case(
        "fpn_mobilenet",
        {"backbone": "pytorch", "norm": "batch", "width": 8},
        (64, 96),
        signed=True,
    ),
    "fpn_inception": Case("fpn_inception", {}, (128, 160), signed=True, slow=True),
    "fpn_inception_batch": Case(
        "fpn_inception",
        {"norm": "batch", "width": 8, "backbone_blocks": (1, 2)},
        (128, 160),
        signed=True,
    ),
}
