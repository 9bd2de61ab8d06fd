"""NAFNet in PyTorch (Chen et al., ECCV 2022, section 3 and figures 2 and 4)."""

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel."""

    def __init__(self, channels: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        normal = (x - mean) * torch.rsqrt(variance + self.epsilon)
        return normal * self.weight[:, None, None] + self.bias[:, None, None]


def gate(x):
    """The simple gate."""
    half = x.shape[1] // 2
    return x[:, :half] * x[:, half:]


class Block(nn.Module):
    """Spatial mixing, then channel mixing, each scaled and added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, wide, 1)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.conv4 = nn.Conv2d(channels, wide, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x):
        y = gate(self.conv2(self.conv1(self.norm1(x))))
        x = x + self.beta * self.conv3(y * self.sca(y))
        return x + self.gamma * self.conv5(gate(self.conv4(self.norm2(x))))


def stage(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(Block(channels) for _ in range(blocks)))


class NAFNet(nn.Module):
    """The network, for sizes that are multiples of 2^(number of scales)."""

    def __init__(self, width: int, encoder, middle: int, decoder) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(len(encoder))]
        pairs = list(zip(widths, encoder, strict=True))
        self.intro = nn.Conv2d(3, width, 3, padding=1)
        self.ending = nn.Conv2d(width, 3, 3, padding=1)
        self.encoders = nn.ModuleList(stage(w, blocks) for w, blocks in pairs)
        self.downs = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, 2) for w in widths)
        self.middle_blks = stage(2 * widths[-1], middle)
        widths.reverse()
        # The input has twice the channels, and a shuffle converts four channels to pixels.
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * w, 4 * w, 1, bias=False)) for w in widths
        )
        self.decoders = nn.ModuleList(
            stage(w, blocks) for w, blocks in zip(widths, decoder, strict=True)
        )

    def forward(self, image):
        x, skips = self.intro(image), []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            skips.append(blocks(x))
            x = down(skips[-1])
        x = self.middle_blks(x)
        for up, blocks in zip(self.ups, self.decoders, strict=True):
            x = blocks(pixel_shuffle(up(x), 2) + skips.pop())
        return self.ending(x) + image
