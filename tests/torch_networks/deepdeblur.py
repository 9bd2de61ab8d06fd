"""DeepDeblur in PyTorch (Nah et al., CVPR 2017, section 3 and figure 3)."""

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 5, padding=2)


class Block(nn.Module):
    """Two convolutions plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels), nn.ReLU(), conv(channels, channels))

    def forward(self, x):
        return self.body(x) + x


class Scale(nn.Module):
    """The residual network of one scale."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__()
        middle = (Block(width) for _ in range(blocks))
        self.body = nn.Sequential(conv(inputs, width), *middle, conv(width, 3))

    def forward(self, x):
        return self.body(x)


class Enlarging(nn.Module):
    """A convolution and a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.uppath = nn.Sequential(conv(3, 12), nn.PixelShuffle(2))

    def forward(self, x):
        return self.uppath(x)


def halved(images):
    """Filters images by a Gaussian of two thirds of a pixel, and averages 2x2 pixels."""
    places = torch.arange(-3, 4, dtype=torch.float64)
    weights = torch.exp(-0.5 * (places * 1.5) ** 2)
    weights = (weights / weights.sum()).float()
    kernel = (weights[:, None] * weights)[None, None].repeat(3, 1, 1, 1)
    for axis in (-2, -1):
        first, last = images.narrow(axis, 0, 3), images.narrow(axis, images.shape[axis] - 3, 3)
        images = torch.cat([first.flip(axis), images, last.flip(axis)], axis)
    return avg_pool2d(conv2d(images, kernel, groups=3), 2)


class DeepDeblur(nn.Module):
    """The network, for sizes that are multiples of 2^scales; colors are in [0, 255] inside."""

    def __init__(self, scales: int = 3, blocks: int = 19, width: int = 64) -> None:
        super().__init__()
        self.body_models = nn.ModuleList(
            Scale(3 if scale == scales - 1 else 6, width, blocks) for scale in range(scales)
        )
        enlarging = (Enlarging() for _ in range(scales - 1))
        self.conv_end_models = nn.ModuleList([nn.Identity(), *enlarging])

    def forward(self, image):
        pyramid = [255 * image]
        for _ in self.body_models[1:]:
            pyramid.append(halved(pyramid[-1]))
        outputs = []
        for scale in reversed(range(len(pyramid))):
            x = pyramid[scale] - 127.5
            if outputs:
                x = torch.cat([x, self.conv_end_models[scale + 1](outputs[0])], 1)
            outputs.insert(0, self.body_models[scale](x))
        return [(output + 127.5) / 255 for output in outputs]
