"""Options of small models, for fast contract tests.

A model without an entry has its default options.
"""

from typing import Any

TINY: dict[str, dict[str, Any]] = {
    "deblurgan": {"blocks": 2, "width": 4},
    "deepdeblur": {"scales": 2, "blocks": 1, "width": 4},
    "dense_deblurgan": {"width": 4, "growth": 4, "layers": 2},
    "fftformer": {"width": 4, "blocks": (1, 1), "refinement": 0},
    # Instance norm of maps of a few pixels amplifies rounding errors.
    "fpn_inception": {
        "width": 4,
        "norm": "batch",
        "backbone_weights": "random",
        "backbone_width": 4,
        "backbone_blocks": (1, 1),
    },
    "fpn_mobilenet": {"width": 4, "norm": "batch", "backbone_weights": "random"},
    "mimo_unet": {"blocks": 1, "width": 8, "dropout": 0.1},
    "ms_deblur": {"blocks": 1, "width": 6, "stem": 3},
    "nafnet": {"width": 4, "encoder": (1, 1), "decoder": (1, 1)},
    "rednet30": {"depth": 10, "width": 8},
    "restormer": {"width": 4, "blocks": (1, 1), "heads": (1, 2), "refinement": 1},
    "resnet16": {"width": 4},
    "srresnet": {"blocks": 2, "width": 8},
    "unet16": {"width": 4},
}
