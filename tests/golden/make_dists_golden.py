"""Writes dists.npz: distances by the authors' code for random weights and images.

    git clone https://github.com/dingkeyan93/DISTS
    TORCH/bin/python -m tests.golden.make_dists_golden DISTS/DISTS_pytorch/DISTS_pt.py

It needs PyTorch and torchvision. `lpips_weights` generates the weights from a seed, here and in the
test, and the file has their SHA-256. No trained weights are used.
"""

import importlib.util
import pathlib
import sys

import numpy as np
import torch
import torchvision

from tests.golden.lpips_weights import digest, random_backbone, random_channels, random_images

OUT = pathlib.Path(__file__).with_name("dists.npz")
SIZES = [(16, 16), (17, 31), (45, 35), (64, 48)]


def reference(path: str) -> torch.nn.Module:
    """Builds the authors' module with the seeded weights."""
    plain = torchvision.models.vgg16
    # It downloads VGG16's trained weights otherwise.
    torchvision.models.vgg16 = lambda pretrained=False: plain(weights=None)
    spec = importlib.util.spec_from_file_location("authors", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    distance = module.DISTS(load_weights=False)
    state = {name.split(".", 1)[1]: name for name in distance.state_dict() if "stage" in name}
    arrays = {name: torch.from_numpy(array) for name, array in random_channels().items()}
    for name, array in random_backbone("vgg").items():
        arrays[state.pop(name.removeprefix("features."))] = torch.from_numpy(array)
    distance.load_state_dict(arrays, strict=False)
    return distance.eval()


def main() -> None:
    """Computes all distances and writes the file beside this script."""
    distance = reference(sys.argv[1])
    values = {"sha256": np.array([digest(random_backbone("vgg")), digest(random_channels())])}
    for height, width in SIZES:
        images = random_images(height, width)
        first, second = (
            torch.from_numpy(part / np.float32(255)).permute(0, 3, 1, 2) for part in images
        )
        values[f"{height}x{width}"] = distance(first, second).detach().numpy().reshape(-1)
        print(height, width, values[f"{height}x{width}"])
    made_by = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    np.savez_compressed(OUT, versions=np.array([made_by]), **values)


if __name__ == "__main__":
    main()
