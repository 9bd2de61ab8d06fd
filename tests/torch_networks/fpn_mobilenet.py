"""DeblurGAN-v2's generator on MobileNetV2 in PyTorch (Kupyn et al., ICCV 2019, section 3.1)."""

import torch
from torch import nn
from torch.nn.functional import interpolate

# Channels, number, stride and expansion of MobileNetV2's blocks (Sandler et al., table 2).
STAGES = (
    (16, 1, 1, 1),
    (24, 2, 2, 6),
    (32, 3, 2, 6),
    (64, 4, 2, 6),
    (96, 3, 1, 6),
    (160, 3, 2, 6),
    (320, 1, 1, 6),
)


def unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Block(nn.Module):
    """Expands the channels, filters each one, and reduces them."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * inputs
        first = [*unit(inputs, wide, 1), nn.ReLU6()] if expansion > 1 else []
        middle = [*unit(wide, wide, 3, stride, groups=wide), nn.ReLU6()]
        self.conv = nn.Sequential(*first, *middle, *unit(wide, outputs, 1))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


def add_way_up(pyramid: nn.Module, inputs, channels: int, norm) -> None:
    """Adds the convolutions of a pyramid on features with `inputs` channels."""
    for step in (1, 2, 3):
        conv = nn.Conv2d(channels, channels, 3, padding=1)
        setattr(pyramid, f"td{step}", nn.Sequential(conv, norm(channels), nn.ReLU()))
    for level, before in enumerate(inputs):
        outputs = channels if level else channels // 2
        setattr(pyramid, f"lateral{level}", nn.Conv2d(before, outputs, 1, bias=False))


def way_up(pyramid: nn.Module, lateral):
    """Returns the largest features and the maps of a pyramid, largest first."""
    maps = [lateral[4]]
    for step in (1, 2, 3):
        larger = lateral[4 - step] + interpolate(maps[0], scale_factor=2)
        maps.insert(0, getattr(pyramid, f"td{step}")(larger))
    return lateral[0], *maps


class Pyramid(nn.Module):
    """MobileNetV2, of which the last blocks are unused, and the way up again."""

    def __init__(self, channels: int, norm) -> None:
        super().__init__()
        blocks = [nn.Sequential(*unit(3, 32, 3, 2), nn.ReLU6())]
        before = 32
        for outputs, count, stride, expansion in STAGES:
            for index in range(count):
                blocks.append(Block(before, outputs, 1 if index else stride, expansion))
                before = outputs
        blocks.append(nn.Sequential(*unit(before, 1280, 1), nn.ReLU6()))
        self.features = nn.Sequential(*blocks)
        for part, (first, last) in enumerate(((0, 2), (2, 4), (4, 7), (7, 11), (11, 16))):
            setattr(self, f"enc{part}", nn.Sequential(*self.features[first:last]))
        add_way_up(self, (16, 24, 32, 64, 160), channels, norm)

    def forward(self, x):
        lateral = []
        for level in range(5):
            x = getattr(self, f"enc{level}")(x)
            lateral.append(getattr(self, f"lateral{level}")(x))
        return way_up(self, lateral)


class Head(nn.Module):
    """Two convolutions with ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block0 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.block1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.relu(self.block1(torch.relu(self.block0(x))))


class PyramidNetwork(nn.Module):
    """A generator on a pyramid.

    With instance norm, which stores moving averages there, all norms always use the statistics of
    the batch, which must be a single image.
    """

    def __init__(self, pyramid, width: int, norm: str) -> None:
        super().__init__()
        self.single = norm == "instance"

        def make(channels):
            if not self.single:
                return nn.BatchNorm2d(channels)
            return nn.InstanceNorm2d(channels, track_running_stats=True)

        def smooth(inputs, outputs):
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), make(outputs), nn.ReLU())

        self.fpn = pyramid(2 * width, make)
        for level in range(1, 5):
            setattr(self, f"head{level}", Head(2 * width, width))
        self.smooth = smooth(4 * width, width)
        self.smooth2 = smooth(width, width // 2)
        self.final = nn.Conv2d(width // 2, 3, 3, padding=1)

    def train(self, mode: bool = True):
        return super().train(mode or self.single)

    def forward(self, image):
        largest, *maps = self.fpn(image)
        heads = []
        for level in (4, 3, 2, 1):
            x = getattr(self, f"head{level}")(maps[level - 1])
            heads.append(interpolate(x, scale_factor=2 ** (level - 1)))
        x = interpolate(self.smooth(torch.cat(heads, 1)), scale_factor=2)
        x = interpolate(self.smooth2(x + largest), scale_factor=2)
        return torch.clamp(image + torch.tanh(self.final(x)), -1, 1)


class FPNMobileNet(PyramidNetwork):
    """The generator, for sizes that are multiples of 32."""

    def __init__(self, width: int = 64, norm: str = "instance") -> None:
        super().__init__(Pyramid, width, norm)
