"""NAFNet-32 and MIMO-UNet in PyTorch, restoring images for `benchmarks.restore`.

Runs in an environment with PyTorch and NumPy, from the root of the repository. It is meant as a
carefully written program: inference mode, channels-last memory, PyTorch's own layer norm, fused
sums, and the window means of TLC by the same matrix products as in tfdeblur, once per window
(running sums, as in the authors' code, took 1.5 times as long). Tiles are placed and blended by
`tfdeblur.ops.tiling`, so that only the networks are compared.

It answers requests on standard input, one JSON line each. With `--weights FOLDER` it instead writes
random weights for both libraries, under the authors' names.
"""

import functools
import os
import sys
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import contestants
from tests.torch_networks.examples import build, picture, restore
from tfdeblur.ops import tiling

NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    # Architecture, options, and the multiple that sizes must have.
    "nafnet32": (
        "nafnet",
        {"width": 32, "encoder": (1, 1, 1, 28), "middle": 1, "decoder": (1, 1, 1, 1)},
        16,
    ),
    "mimo_unet": ("mimo_unet", {}, 4),
}


@functools.cache
def band(size: int, side: int) -> torch.Tensor:
    """Returns [size - side + 1, size]: per window a row of ones inside and zeros outside."""
    steps = torch.arange(size) - torch.arange(size - side + 1)[:, None]
    return ((steps >= 0) & (steps < side)).float()


def window_means(x: torch.Tensor, side: int) -> torch.Tensor:
    """Returns the means of all windows that lie inside [B, C, H, W]."""
    batch, channels, height, width = x.shape
    rows, columns = min(side, height), min(side, width)
    x = x.permute(0, 2, 3, 1)
    x = torch.matmul(band(height, rows), x.reshape(batch, height, width * channels))
    x = torch.matmul(band(width, columns), x.view(batch, -1, width, channels))
    return (x / (rows * columns)).permute(0, 3, 1, 2)


def normalized(x: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    """Applies layer norm over the channels, which are contiguous in memory."""
    x = functional.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], norm.weight, norm.bias, 1e-6)
    return x.permute(0, 3, 1, 2)


def gate(x: torch.Tensor) -> torch.Tensor:
    """Applies NAFNet's simple gate."""
    half = x.shape[1] // 2
    return x[:, :half] * x[:, half:]


class LocalBlock(nn.Module):
    """A block of NAFNet with pooling over windows."""

    def __init__(self, block: Any, side: int) -> None:
        super().__init__()
        self.block, self.side = block, side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mixes pixels, then channels: [B, C, H, W] to the same."""
        block = self.block
        y = gate(block.conv2(block.conv1(normalized(x, block.norm1))))
        height, width = y.shape[2:]
        attention = block.sca[1](window_means(y, self.side))
        if attention.shape[2:] != (1, 1):
            top, left = ((min(self.side, size) - 1) // 2 for size in (height, width))
            right, bottom = width - attention.shape[3] - left, height - attention.shape[2] - top
            border = (left, right, top, bottom)
            attention = functional.pad(attention, border, mode="replicate")
        x = torch.addcmul(x, block.beta, block.conv3(y * attention))
        return torch.addcmul(
            x, block.gamma, block.conv5(gate(block.conv4(normalized(x, block.norm2))))
        )


def load(name: str, path: str, window: int) -> nn.Module:
    """Builds a network with the weights of a file, for inference."""
    architecture, options, _ = NETWORKS[name]
    network: Any = build(architecture, **options)
    network.load_state_dict(torch.load(path, weights_only=True))
    if architecture == "nafnet":
        deepest = len(network.encoders)
        stages = {
            **dict(enumerate(network.encoders)),
            deepest: network.middle_blks,
            # The decoder starts at the smallest resolution.
            **{2 * deepest - level: stage for level, stage in enumerate(network.decoders[::-1])},
        }
        for place, stage in stages.items():
            level = min(place, 2 * deepest - place)
            for index, block in enumerate(stage):
                stage[index] = LocalBlock(block, window >> level)
    return network.eval().to(memory_format=torch.channels_last)


class Restorer:
    """Restores images as `tfdeblur.inference.restorer.Restorer` does.

    Args:
        settings: `network`, `weights`, `window`, `threads`, and `tile`: height, width and overlap
            of the tiles, or None to restore images whole.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        self._settings = settings
        self._multiple = NETWORKS[settings["network"]][2]
        self._network = load(settings["network"], settings["weights"], settings["window"])
        self.parameters = sum(p.numel() for p in self._network.parameters())

    def deblur(self, image: np.ndarray) -> np.ndarray:
        """Restores float32 [H, W, 3] in [0, 1]."""
        height, width = image.shape[:2]
        if self._settings["tile"] is None:
            return self._run(image)
        high, wide, overlap = self._settings["tile"]
        strides = high - overlap, wide - overlap
        total, weights = np.zeros_like(image), np.zeros((height, width, 1), np.float32)
        for box in tiling.grid(height, width, high, wide, *strides, cover=True):
            weight = tiling.blending_weights(box, height, width, overlap)
            total[box.slices] += self._run(image[box.slices]) * weight
            weights[box.slices] += weight
        return total / weights

    @torch.inference_mode()
    def _run(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        missing = [(0, -size % self._multiple) for size in (height, width)]
        padded = np.pad(image, [*missing, (0, 0)], mode="reflect") if np.any(missing) else image
        # The image is channels-last already.
        x = torch.from_numpy(np.ascontiguousarray(padded)).permute(2, 0, 1)[None]
        y = self._network(x)
        finest = y[0] if isinstance(y, list) else y
        cut = finest[0, :, :height, :width].clamp(0, 1).permute(1, 2, 0)
        return cut.contiguous().numpy()


def write_weights(folder: str) -> None:
    """Writes random weights that restore images to values mostly within [0, 1]."""
    for name, (architecture, options, _) in NETWORKS.items():
        network: Any = build(architecture, seed=1, **options)
        image = picture(128, 128)
        correction = restore(network, image)[0] - image
        last = network.ending if architecture == "nafnet" else network.feat_extract[-1].main[0]
        with torch.no_grad():
            for values in last.parameters():
                values *= 0.1 / float(np.abs(correction).max())
        torch.save(network.state_dict(), os.path.join(folder, f"{name}.pth"))


def main() -> None:
    """Answers requests: first the settings, then images of `benchmarks.restore`."""
    if sys.argv[1:2] == ["--weights"]:
        write_weights(sys.argv[2])
        return
    restorer = Restorer(contestants.settings())
    about = {"version": f"PyTorch {torch.__version__}", "parameters": restorer.parameters}
    contestants.answer(about, lambda request: contestants.timed(request, restorer.deblur))


if __name__ == "__main__":
    main()
