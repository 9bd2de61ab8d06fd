"""Networks in PyTorch, restoring images for `benchmarks.restore`.

Runs in an environment with PyTorch and NumPy, from the root of the repository. It is meant as a
carefully written program: inference mode, channels-last memory and, for NAFNet, PyTorch's own layer
norm, fused sums, and the window means of TLC by the same matrix products as in tfdeblur, once per
window (running sums, as in the authors' code, took 1.5 times as long). The other networks are
written as the authors' code is. Tiles are placed and blended by `tfdeblur.ops.tiling`, so that only
the networks are compared.

It answers requests on standard input, one JSON line each. With `--weights FOLDER NETWORK...` it
instead writes random weights for both libraries, under the authors' names.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import contestants
from tests.torch_networks.examples import build, picture, restore
from tfdeblur.ops import tiling


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A network to restore images with.

    Attributes:
        architecture: Name in `tests.torch_networks.examples`.
        last: Returns the last convolution of the network.
        multiple: Heights and widths must be multiples of it.
        options: Arguments of the architecture.
        signed: Whether colors are in [-1, 1] instead of [0, 1].
        channels_last: The memory layout of convolutions; FFTs are slower with it.
    """

    architecture: str
    last: Callable[[Any], nn.Module]
    multiple: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    signed: bool = False
    channels_last: bool = True


def _nafnet(width: int) -> Contestant:
    blocks = {"encoder": (1, 1, 1, 28), "middle": 1, "decoder": (1, 1, 1, 1)}
    return Contestant("nafnet", lambda n: n.ending, 16, {"width": width, **blocks})


def _pyramid(name: str) -> Contestant:
    return Contestant(name, lambda n: n.final, 32, signed=True)


NETWORKS = {
    "nafnet32": _nafnet(32),
    "nafnet16": _nafnet(16),
    "mimo_unet": Contestant("mimo_unet", lambda n: n.feat_extract[-1].main[0], 4),
    "fftformer": Contestant("fftformer", lambda n: n.output, 32, channels_last=False),
    "restormer": Contestant("restormer", lambda n: n.output, 8),
    "deepdeblur": Contestant("deepdeblur", lambda n: n.body_models[0].body[-1], 8),
    "deblurgan": Contestant("deblurgan", lambda n: n.model[-2], 4, signed=True),
    "fpn_mobilenet": _pyramid("fpn_mobilenet"),
    "fpn_inception": _pyramid("fpn_inception"),
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
    known = NETWORKS[name]
    network: Any = build(known.architecture, **known.options)
    network.load_state_dict(torch.load(path, weights_only=True))
    if known.architecture == "nafnet":
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
    network = network.eval()
    return network.to(memory_format=torch.channels_last) if known.channels_last else network


class Restorer:
    """Restores images as `tfdeblur.inference.restorer.Restorer` does.

    Args:
        settings: `network`, `weights`, `window`, `threads`, and `tile`: height, width and overlap
            of the tiles, or None to restore images whole.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        self._settings = settings
        self._known = NETWORKS[settings["network"]]
        self._network = load(settings["network"], settings["weights"], settings["window"])

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
        missing = [(0, -size % self._known.multiple) for size in (height, width)]
        padded = np.pad(image, [*missing, (0, 0)], mode="reflect") if np.any(missing) else image
        # The image is channels-last already.
        x = torch.from_numpy(np.ascontiguousarray(padded)).permute(2, 0, 1)[None]
        x = x if self._known.channels_last else x.contiguous()
        y = self._network(2 * x - 1 if self._known.signed else x)
        finest = y[0] if isinstance(y, list) else y
        finest = (finest + 1) / 2 if self._known.signed else finest
        cut = finest[0, :, :height, :width].clamp(0, 1).permute(1, 2, 0)
        return cut.contiguous().numpy()


def write_weights(folder: str, names: Sequence[str]) -> None:
    """Writes random weights that restore images to values mostly within [0, 1]."""
    for name in names:
        known = NETWORKS[name]
        network: Any = build(known.architecture, seed=1, **known.options)
        image = picture(128, 128, signed=known.signed)
        correction = restore(network, image)[0] - image
        with torch.no_grad():
            for values in known.last(network).parameters():
                values *= 0.1 / float(np.abs(correction).max())
        torch.save(network.state_dict(), os.path.join(folder, f"{name}.pth"))


def main() -> None:
    """Answers requests: first the settings, then images of `benchmarks.restore`."""
    if sys.argv[1:2] == ["--weights"]:
        write_weights(sys.argv[2], sys.argv[3:])
        return
    restorer = Restorer(contestants.settings())
    about = {"version": f"PyTorch {torch.__version__}"}
    contestants.answer(about, lambda request: contestants.timed(request, restorer.deblur))


if __name__ == "__main__":
    main()
