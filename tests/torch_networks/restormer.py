"""Restormer in PyTorch (Zamir et al., CVPR 2022, section 3 and figure 2)."""

import torch
from torch import nn
from torch.nn.functional import gelu, normalize

from tests.torch_networks.fftformer import Named, Norm, by_channel, conv


class Attention(nn.Module):
    """Attention between the channels of each head."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = conv(channels, 3 * channels)
        self.qkv_dwconv = by_channel(3 * channels)
        self.project_out = conv(channels, channels)

    def forward(self, x):
        batch, _, height, width = x.shape
        shape = (batch, 3, self.heads, -1, height * width)
        queries, keys, values = self.qkv_dwconv(self.qkv(x)).reshape(shape).unbind(1)
        cosines = normalize(queries, dim=-1) @ normalize(keys, dim=-1).transpose(-2, -1)
        mixed = torch.softmax(cosines * self.temperature, -1) @ values
        return self.project_out(mixed.reshape(batch, -1, height, width))


class FeedForward(nn.Module):
    """A gated feed-forward network with depthwise convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = int(2.66 * channels)
        self.project_in = conv(channels, 2 * hidden)
        self.dwconv = by_channel(2 * hidden)
        self.project_out = conv(hidden, channels)

    def forward(self, x):
        first, second = self.dwconv(self.project_in(x)).chunk(2, 1)
        return self.project_out(gelu(first) * second)


class Block(nn.Module):
    """Attention and the feed-forward network, each added to its input."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = Norm(channels), Attention(channels, heads)
        self.norm2, self.ffn = Norm(channels), FeedForward(channels)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Shuffled(nn.Module):
    """A convolution and a change of size by moving pixels."""

    def __init__(self, inputs: int, outputs: int, move: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(inputs, outputs, 3), move)

    def forward(self, x):
        return self.body(x)


class Restormer(nn.Module):
    """The network, for sizes that are multiples of 2^(scales - 1)."""

    def __init__(
        self, width: int = 48, blocks=(4, 6, 6, 8), heads=(1, 2, 4, 8), refinement: int = 4
    ) -> None:
        super().__init__()

        def stage(channels: int, level: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(Block(channels, heads[level]) for _ in range(count)))

        self.patch_embed = Named(width)
        self.scales = len(blocks) - 1
        for level in range(self.scales):
            wide, scale = width << level, level + 1
            setattr(self, f"encoder_level{scale}", stage(wide, level, blocks[level]))
            deep = wide if level else 2 * wide
            setattr(self, f"decoder_level{scale}", stage(deep, level, blocks[level]))
            down = Shuffled(wide, wide // 2, nn.PixelUnshuffle(2))
            setattr(self, f"down{scale}_{scale + 1}", down)
            up = Shuffled(2 * wide, 4 * wide, nn.PixelShuffle(2))
            setattr(self, f"up{scale + 1}_{scale}", up)
            if level:
                setattr(self, f"reduce_chan_level{scale}", conv(2 * wide, wide))
        self.latent = stage(width << self.scales, self.scales, blocks[-1])
        self.refinement = stage(2 * width, 0, refinement)
        self.output = conv(2 * width, 3, 3)

    def forward(self, image):
        x, skips = self.patch_embed(image), []
        for scale in range(1, self.scales + 1):
            x = getattr(self, f"encoder_level{scale}")(x)
            skips.append(x)
            x = getattr(self, f"down{scale}_{scale + 1}")(x)
        x = self.latent(x)
        for scale in range(self.scales, 0, -1):
            x = getattr(self, f"up{scale + 1}_{scale}")(x)
            x = torch.cat([x, skips[scale - 1]], 1)
            if scale > 1:
                x = getattr(self, f"reduce_chan_level{scale}")(x)
            x = getattr(self, f"decoder_level{scale}")(x)
        return self.output(self.refinement(x)) + image
