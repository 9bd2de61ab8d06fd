"""FFTformer in PyTorch (Kong et al., CVPR 2023, section 3 and figures 2 and 3)."""

import torch
from torch import nn
from torch.nn.functional import gelu

from tests.torch_networks.nafnet import ChannelNorm


class Norm(nn.Module):
    """Layer norm over the channels of each pixel, named `body`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = ChannelNorm(channels, 1e-5)

    def forward(self, x):
        return self.body(x)


def conv(inputs: int, outputs: int, side: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)


def by_channel(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def spectra(x):
    """Returns the FFT of 8x8 patches, [B, C, h, w, 8, 5]."""
    return torch.fft.rfft2(x.unfold(2, 8, 8).unfold(3, 8, 8))


def joined(x):
    """Returns the features [B, C, H, W] of spectra."""
    patches = torch.fft.irfft2(x, (8, 8))
    batch, channels, rows, columns, *_ = patches.shape
    return patches.transpose(3, 4).reshape(batch, channels, 8 * rows, 8 * columns)


class FeedForward(nn.Module):
    """Learned factors of frequencies, and a gate."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.project_in = conv(channels, 2 * hidden)
        self.fft = nn.Parameter(torch.ones(2 * hidden, 1, 1, 8, 5))
        self.dwconv = by_channel(2 * hidden)
        self.project_out = conv(hidden, channels)

    def forward(self, x):
        first, second = self.dwconv(joined(spectra(self.project_in(x)) * self.fft)).chunk(2, 1)
        return self.project_out(gelu(first) * second)


class Attention(nn.Module):
    """Values times the normalized product of the spectra of queries and keys."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_hidden = conv(channels, 6 * channels)
        self.to_hidden_dw = by_channel(6 * channels)
        self.norm = Norm(2 * channels)
        self.project_out = conv(2 * channels, channels)

    def forward(self, x):
        queries, keys, values = self.to_hidden_dw(self.to_hidden(x)).chunk(3, 1)
        return self.project_out(values * self.norm(joined(spectra(queries) * spectra(keys))))


class Block(nn.Module):
    """Attention, if any, and the feed-forward network, each added to its input."""

    def __init__(self, channels: int, hidden: int, *, attention: bool) -> None:
        super().__init__()
        if attention:
            self.norm1, self.attn = Norm(channels), Attention(channels)
        self.norm2, self.ffn = Norm(channels), FeedForward(channels, hidden)
        self.attention = attention

    def forward(self, x):
        if self.attention:
            x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Fusion(nn.Module):
    """Features of the decoder and the encoder become one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.conv, self.conv2 = nn.Conv2d(wide, wide, 1), nn.Conv2d(wide, wide, 1)
        self.att_channel = Block(wide, int(2.66 * wide), attention=False)

    def forward(self, x, skip):
        y = self.conv2(self.att_channel(self.conv(torch.cat([x, skip], 1))))
        return sum(y.chunk(2, 1))


class Named(nn.Module):
    """One convolution named `proj`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = conv(3, channels, 3)

    def forward(self, x):
        return self.proj(x)


class Resized(nn.Module):
    """Linear interpolation and a convolution."""

    def __init__(self, factor: float, inputs: int, outputs: int) -> None:
        super().__init__()
        resize = nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)
        self.body = nn.Sequential(resize, conv(inputs, outputs, 3))

    def forward(self, x):
        return self.body(x)


class FFTformer(nn.Module):
    """The network, for sizes that are multiples of 8 * 2^(scales - 1)."""

    def __init__(self, width: int = 48, blocks=(6, 6, 12), refinement: int = 4) -> None:
        super().__init__()

        def stage(level: int, count: int, *, attention: bool) -> nn.Sequential:
            w = width << level
            return nn.Sequential(*(Block(w, 3 * w, attention=attention) for _ in range(count)))

        self.patch_embed = Named(width)
        self.scales = len(blocks)
        for level, count in enumerate(blocks):
            wide, scale = width << level, level + 1
            setattr(self, f"encoder_level{scale}", stage(level, count, attention=False))
            setattr(self, f"decoder_level{scale}", stage(level, count, attention=True))
            if level:
                setattr(self, f"down{level}_{scale}", Resized(0.5, wide // 2, wide))
                setattr(self, f"up{scale}_{level}", Resized(2, wide, wide // 2))
                setattr(self, f"fuse{level}", Fusion(wide // 2))
        # Present in weights files, and not used.
        self.reduce_chan_level2 = conv(4 * width, 2 * width)
        self.refinement = stage(0, refinement, attention=True)
        self.output = conv(width, 3, 3)

    def forward(self, image):
        x, skips = self.patch_embed(image), []
        for scale in range(1, self.scales + 1):
            if scale > 1:
                x = getattr(self, f"down{scale - 1}_{scale}")(x)
            x = getattr(self, f"encoder_level{scale}")(x)
            skips.append(x)
        for scale in range(self.scales, 0, -1):
            if scale < self.scales:
                x = getattr(self, f"up{scale + 1}_{scale}")(x)
                x = getattr(self, f"fuse{scale}")(x, skips[scale - 1])
            x = getattr(self, f"decoder_level{scale}")(x)
        return self.output(self.refinement(x)) + image
