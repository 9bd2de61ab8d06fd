"""DeblurGAN's generator in PyTorch (Kupyn et al., CVPR 2018, section 3.2 and figure 3)."""

import torch
from torch import nn


def norm_and_bias(norm: str, tracking: bool):
    """Returns the constructor of a norm, and whether convolutions before it have a bias."""
    if norm == "batch":
        return nn.BatchNorm2d, False
    # Early versions of PyTorch stored moving averages of instance norm, which were not used.
    return lambda channels: nn.InstanceNorm2d(channels, track_running_stats=tracking), True


class Block(nn.Module):
    """Two convolutions plus the input."""

    def __init__(self, channels: int, norm, bias: bool, dropout: bool) -> None:
        super().__init__()

        def half():
            return [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=bias)]

        between = [nn.ReLU(), *([nn.Dropout(0.5)] if dropout else [])]
        self.conv_block = nn.Sequential(*half(), norm(channels), *between, *half(), norm(channels))

    def forward(self, x):
        return self.conv_block(x) + x


class DeblurGAN(nn.Module):
    """The generator, for sizes that are multiples of 4."""

    def __init__(
        self,
        width: int = 64,
        blocks: int = 9,
        norm: str = "instance",
        *,
        dropout: bool = True,
        residual: bool = True,
        tracking: bool = False,
    ) -> None:
        super().__init__()
        make, bias = norm_and_bias(norm, tracking)
        deep = 4 * width

        def normalized(convolution, channels):
            return [convolution, make(channels), nn.ReLU()]

        steps = [nn.ReflectionPad2d(3)]
        steps += normalized(nn.Conv2d(3, width, 7, bias=bias), width)
        for wide in (2 * width, deep):
            steps += normalized(nn.Conv2d(wide // 2, wide, 3, 2, 1, bias=bias), wide)
        steps += [Block(deep, make, bias, dropout) for _ in range(blocks)]
        for wide in (2 * width, width):
            up = nn.ConvTranspose2d(2 * wide, wide, 3, 2, 1, output_padding=1, bias=bias)
            steps += normalized(up, wide)
        steps += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*steps)
        self.residual = residual

    def forward(self, image):
        correction = self.model(image)
        return torch.clamp(image + correction, -1, 1) if self.residual else correction
