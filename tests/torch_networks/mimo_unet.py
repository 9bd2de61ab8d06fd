"""MIMO-UNet in PyTorch (Cho et al., ICCV 2021, section 3 and figures 2 to 4)."""

import torch
from torch import nn
from torch.nn.functional import interpolate


class Chain(nn.Module):
    """A sequence of layers named `main`."""

    def __init__(self, *steps: nn.Module) -> None:
        super().__init__()
        self.main = nn.Sequential(*steps)

    def forward(self, x):
        return self.main(x)


def plain(inputs: int, outputs: int, side: int, stride: int = 1) -> Chain:
    return Chain(nn.Conv2d(inputs, outputs, side, stride, side // 2))


def rectified(inputs: int, outputs: int, side: int, stride: int = 1) -> Chain:
    return Chain(nn.Conv2d(inputs, outputs, side, stride, side // 2), nn.ReLU())


def enlarging(inputs: int, outputs: int) -> Chain:
    return Chain(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.ReLU())


class Residual(Chain):
    """Two convolutions plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__(rectified(channels, channels, 3), plain(channels, channels, 3))

    def forward(self, x):
        return self.main(x) + x


class Stage(nn.Module):
    """Residual blocks at one scale."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Residual(channels) for _ in range(blocks)))

    def forward(self, x):
        return self.layers(x)


class Fusion(nn.Module):
    """Asymmetric feature fusion of features of one size."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(rectified(inputs, channels, 1), plain(channels, channels, 3))

    def forward(self, *features):
        return self.conv(torch.cat(features, 1))


class Shallow(nn.Module):
    """The shallow convolutional module: features of a smaller image, concatenated with it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [3, channels // 4, channels // 2, channels // 2, channels - 3]
        sides = [3, 1, 3, 1]
        steps = zip(widths, widths[1:], sides, strict=False)
        self.main = nn.Sequential(*(rectified(*step) for step in steps))
        self.conv = plain(channels, channels, 1)

    def forward(self, image):
        return self.conv(torch.cat([image, self.main(image)], 1))


class Attention(nn.Module):
    """The feature attention module: features plus a convolution of their product."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.merge = plain(channels, channels, 3)

    def forward(self, features, other):
        return features + self.merge(features * other)


def smaller(x):
    return interpolate(x, scale_factor=0.5)


def larger(x):
    return interpolate(x, scale_factor=2)


class MIMOUNet(nn.Module):
    """The network, with outputs at H, H/2 and H/4, finest first."""

    def __init__(self, width: int = 32, blocks: int = 8) -> None:
        super().__init__()
        first, second, third = width, 2 * width, 4 * width
        widths = [first, second, third]
        self.Encoder = nn.ModuleList(Stage(w, blocks) for w in widths)
        self.Decoder = nn.ModuleList(Stage(w, blocks) for w in reversed(widths))
        self.feat_extract = nn.ModuleList(
            [
                rectified(3, first, 3),
                rectified(first, second, 3, 2),
                rectified(second, third, 3, 2),
                enlarging(third, second),
                enlarging(second, first),
                plain(first, 3, 3),
            ]
        )
        self.Convs = nn.ModuleList([rectified(third, second, 1), rectified(second, first, 1)])
        self.ConvsOut = nn.ModuleList([plain(third, 3, 3), plain(second, 3, 3)])
        self.AFFs = nn.ModuleList(Fusion(7 * width, w) for w in (first, second))
        self.FAM1, self.SCM1 = Attention(third), Shallow(third)
        self.FAM2, self.SCM2 = Attention(second), Shallow(second)

    def forward(self, image):
        image2 = smaller(image)
        image4 = smaller(image2)
        e1 = self.Encoder[0](self.feat_extract[0](image))
        e2 = self.Encoder[1](self.FAM2(self.feat_extract[1](e1), self.SCM2(image2)))
        e3 = self.Encoder[2](self.FAM1(self.feat_extract[2](e2), self.SCM1(image4)))
        skip1 = self.AFFs[0](e1, larger(e2), larger(larger(e3)))
        skip2 = self.AFFs[1](smaller(e1), e2, larger(e3))
        # The dropout of MIMO-UNet+ on the skips is inactive at test time and has no weights.
        d3 = self.Decoder[0](e3)
        joined = torch.cat([self.feat_extract[3](d3), skip2], 1)
        d2 = self.Decoder[1](self.Convs[0](joined))
        joined = torch.cat([self.feat_extract[4](d2), skip1], 1)
        d1 = self.Decoder[2](self.Convs[1](joined))
        return [
            self.feat_extract[5](d1) + image,
            self.ConvsOut[1](d2) + image2,
            self.ConvsOut[0](d3) + image4,
        ]
