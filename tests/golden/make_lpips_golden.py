"""Writes lpips_0_1_4.npz: distances by the authors' package for random weights and images.

Run it in a separate environment, from the root of the repository:

    python3.11 -m venv golden
    golden/bin/pip install torch==2.13.0 torchvision==0.28.0 lpips==0.1.4
    golden/bin/python -m tests.golden.make_lpips_golden

The file does not contain the weights, as VGG16 has 59 MB of them: `lpips_weights` generates them
from a seed, here and in the test, and the file has their SHA-256. No trained weights are used.
"""

import pathlib

import lpips
import numpy as np
import torch
import torchvision

from tests.golden.lpips_weights import digest, random_backbone, random_heads, random_images

OUT = pathlib.Path(__file__).with_name("lpips_0_1_4.npz")

# Odd sizes, the smallest ones, and some for which PyTorch's pooling drops a row or a column.
SIZES = {
    "alex": [(31, 31), (33, 47), (67, 45), (90, 121)],
    "vgg": [(16, 16), (17, 31), (45, 35)],
}


def reference(network: str) -> lpips.LPIPS:
    """Builds the reference with the seeded weights."""
    distance = lpips.LPIPS(pretrained=False, net=network, pnet_rand=True, verbose=False)
    state = distance.state_dict()
    backbone, heads = random_backbone(network), random_heads(network)
    places = {key.split(".", 2)[2]: key for key in state if key.startswith("net.")}
    for name, array in backbone.items():
        state[places.pop(name.removeprefix("features."))] = torch.from_numpy(array)
    for name, array in heads.items():
        place = name[len("lin")]
        for key in (name, f"lins.{place}.model.1.weight"):  # one module under two names
            state[key] = torch.from_numpy(array)
    if places:
        raise ValueError(f"no weights for {list(places)}")
    distance.load_state_dict(state)
    return distance.eval()


def as_input(images: np.ndarray) -> torch.Tensor:
    """Returns uint8 images [B, H, W, 3] as the package's programs read them from files."""
    return torch.cat([lpips.im2tensor(image) for image in images])


def main() -> None:
    """Computes all distances and writes the file beside this script."""
    values = {}
    for network, sizes in SIZES.items():
        distance = reference(network)
        values[f"{network}/sha256"] = np.array(
            [digest(random_backbone(network)), digest(random_heads(network))]
        )
        for height, width in sizes:
            images = random_images(height, width)
            with torch.no_grad():
                total, layers = distance(*map(as_input, images), retPerLayer=True)
            key = f"{network}/{height}x{width}"
            values[f"{key}/images"] = np.array(digest({"": images}))
            values[f"{key}/total"] = total.numpy().reshape(-1)
            values[f"{key}/layers"] = np.stack([part.numpy().reshape(-1) for part in layers], -1)
            print(key, values[f"{key}/total"])
    made_by = [f"lpips 0.1.4, torch {torch.__version__}, torchvision {torchvision.__version__}"]
    np.savez_compressed(OUT, versions=np.array(made_by), **values)
    print(f"{OUT}: {len(values)} arrays, {OUT.stat().st_size} bytes, {made_by}")


if __name__ == "__main__":
    main()
