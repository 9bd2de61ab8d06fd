"""Writes weights of small untrained PyTorch networks and their outputs for an image.

Tests that run without PyTorch read the files, which cover every layout of `torch.save`. Run with
PyTorch and NumPy:

    python -m tests.torch_networks.make_golden

They were written with PyTorch 2.13.0 on an x86-64 CPU.
"""

import collections
import pathlib

import numpy as np
import torch

from tests.torch_networks.examples import build, picture, restore

OUT = pathlib.Path(__file__).parent.parent / "tfdeblur" / "porting" / "golden"

# Architecture, options, whether the zip layout is used, and the content around the weights.
CASES = {
    "mimo_unet": (
        "mimo_unet",
        {"width": 4, "blocks": 1},
        False,
        lambda weights: {
            "model": weights,
            "optimizer": {"state": {0: {"step": 3, "moment": torch.ones(2)}}},
            "scheduler": {"milestones": collections.Counter([500, 1000])},
            "epoch": 3,
        },
    ),
    "nafnet": (
        "nafnet",
        {"width": 4, "encoder": (1, 2), "middle": 1, "decoder": (0, 1)},
        True,
        lambda weights: {"params": weights},
    ),
    "deblurgan": (
        "deblurgan",
        {"width": 4, "blocks": 1, "tracking": True},
        False,
        lambda weights: weights,
    ),
    "deblurgan_batch": (
        "deblurgan",
        {"width": 4, "blocks": 2, "norm": "batch", "dropout": False},
        True,
        lambda weights: {f"module.{name}": values for name, values in weights.items()},
    ),
}


def main() -> None:
    """Writes one weights file per case, and `expected.npz` with images and outputs."""
    OUT.mkdir(exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for case, (architecture, options, zipped, around) in CASES.items():
        network = build(architecture, **options)
        if options.get("tracking"):
            # The file contains the averages; the statistics of the image are used.
            for module in network.modules():
                if isinstance(module, torch.nn.InstanceNorm2d):
                    module.train()
        image = picture(28, 20, signed=architecture == "deblurgan")
        arrays[f"{case}/image"] = image
        for level, output in enumerate(restore(network, image)):
            arrays[f"{case}/restored{level}"] = output
        weights = around(build(architecture, **options).state_dict())
        torch.save(weights, OUT / f"{case}.pth", _use_new_zipfile_serialization=zipped)
    np.savez_compressed(OUT / "expected.npz", **arrays)


if __name__ == "__main__":
    main()
