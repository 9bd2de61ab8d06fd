"""DeblurGAN-v2's generator on Inception-ResNet-v2 in PyTorch.

Kupyn et al., ICCV 2019, section 3.1; the backbone: Szegedy et al., "Inception-v4, Inception-ResNet
and the Impact of Residual Connections on Learning", AAAI 2017, section 3.2.
"""

import torch
from torch import nn
from torch.nn.functional import pad

from tests.torch_networks.fpn_mobilenet import PyramidNetwork, add_way_up, way_up

# Pixels that mirrored borders add to the maps of each level: left, right, top, bottom.
BORDERS = ((0, 1, 0, 1), (1, 1, 1, 1), (1, 2, 1, 2), (1, 1, 1, 1), (1, 1, 1, 1))
# Branches of the parts of the backbone: channels and kernels of their convolutions.
MIXED_5B = (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)))
BLOCK_35 = (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3)))
MIXED_6A = (((384, 3),), ((256, 1), (256, 3), (384, 3)))
BLOCK_17 = (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1))))
MIXED_7A = (((256, 1), (384, 3)), ((256, 1), (288, 3)), ((256, 1), (288, 3), (320, 3)))
BLOCK_8 = (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))))


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel=1, stride: int = 1, inside=False) -> None:
        super().__init__()
        kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        border = (0, 0) if inside else (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, border, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches side by side; at stride 2 the last convolution of each halves the size."""

    def __init__(self, inputs: int, branches, width: int, stride: int = 1) -> None:
        super().__init__()
        self.count = len(branches)
        self.channels = 0
        for number, steps in enumerate(branches):
            units, before = [], inputs
            for channels, kernel in steps:
                last = stride == 2 and len(units) == len(steps) - 1
                outputs = channels * width // 32
                units.append(Unit(before, outputs, kernel, stride if last else 1, inside=last))
                before = outputs
            # A single convolution has no number in weights files.
            branch = nn.Sequential(*units) if len(units) > 1 else units[0]
            setattr(self, f"branch{number}", branch)
            self.channels += before

    def branches(self, x):
        return [getattr(self, f"branch{number}")(x) for number in range(self.count)]

    def forward(self, x):
        return torch.cat(self.branches(x), 1)


class Mixed5b(Mixed):
    """Three branches of convolutions, and one after averaging the pixels of 3x3 in the image."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, MIXED_5B, width)
        mean = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.branch3 = nn.Sequential(mean, Unit(inputs, 2 * width))
        self.count, self.channels = 4, self.channels + 2 * width


class Reduction(Mixed):
    """Branches that halve the size, and the maximum of 3x3 pixels."""

    def __init__(self, inputs: int, branches, width: int) -> None:
        super().__init__(inputs, branches, width, stride=2)
        setattr(self, f"branch{self.count}", nn.MaxPool2d(3, 2))
        self.count, self.channels = self.count + 1, self.channels + inputs


class Block(Mixed):
    """The input plus a fraction of what branches make of it."""

    def __init__(self, channels: int, branches, width: int, scale: float) -> None:
        super().__init__(channels, branches, width)
        self.conv2d = nn.Conv2d(self.channels, channels, 1)
        self.scale = scale

    def forward(self, x):
        return torch.relu(x + self.scale * self.conv2d(super().forward(x)))


class InceptionResNet(nn.Module):
    """The backbone, of which the blocks of the smallest size and the classifier are unused."""

    def __init__(self, width: int, blocks) -> None:
        super().__init__()
        w = width
        self.conv2d_1a = Unit(3, w, 3, 2, inside=True)
        self.conv2d_2a = Unit(w, w, 3, inside=True)
        self.conv2d_2b = Unit(w, 2 * w, 3)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = Unit(2 * w, 5 * w // 2)
        self.conv2d_4a = Unit(5 * w // 2, 6 * w, 3, inside=True)
        self.maxpool_5a = nn.MaxPool2d(3, 2)
        self.mixed_5b = Mixed5b(6 * w, w)
        large = self.mixed_5b.channels
        self.repeat = nn.Sequential(*(Block(large, BLOCK_35, w, 0.17) for _ in range(blocks[0])))
        self.mixed_6a = Reduction(large, MIXED_6A, w)
        middle = self.mixed_6a.channels
        self.repeat_1 = nn.Sequential(*(Block(middle, BLOCK_17, w, 0.1) for _ in range(blocks[1])))
        self.mixed_7a = Reduction(middle, MIXED_7A, w)
        small = self.mixed_7a.channels
        self.repeat_2 = nn.Sequential(*(Block(small, BLOCK_8, w, 0.2) for _ in range(9)))
        self.block8 = Block(small, BLOCK_8, w, 1.0)
        self.conv2d_7b = Unit(small, 48 * w)
        self.last_linear = nn.Linear(48 * w, 1000)


class Pyramid(nn.Module):
    """The backbone and the way up again; maps that lost pixels at borders are mirrored there."""

    def __init__(self, channels: int, norm, width: int, blocks) -> None:
        super().__init__()
        net = self.inception = InceptionResNet(width, blocks)
        self.enc0 = net.conv2d_1a
        self.enc1 = nn.Sequential(net.conv2d_2a, net.conv2d_2b, net.maxpool_3a)
        self.enc2 = nn.Sequential(net.conv2d_3b, net.conv2d_4a, net.maxpool_5a)
        self.enc3 = nn.Sequential(net.mixed_5b, net.repeat, net.mixed_6a)
        self.enc4 = nn.Sequential(net.repeat_1, net.mixed_7a)
        inputs = (width, 2 * width, 6 * width, net.mixed_6a.channels, net.mixed_7a.channels)
        add_way_up(self, inputs, channels, norm)

    def forward(self, x):
        lateral = []
        for level, border in enumerate(BORDERS):
            x = getattr(self, f"enc{level}")(x)
            lateral.append(pad(getattr(self, f"lateral{level}")(x), border, "reflect"))
        return way_up(self, lateral)


class FPNInception(PyramidNetwork):
    """The generator, for sizes that are multiples of 32 and at least 128."""

    def __init__(
        self,
        width: int = 128,
        norm: str = "instance",
        backbone_width: int = 32,
        backbone_blocks=(10, 20),
    ) -> None:
        def pyramid(channels, make):
            return Pyramid(channels, make, backbone_width, backbone_blocks)

        super().__init__(pyramid, width, norm)
