"""LPIPS 0.1: how different two images look to a network that was trained on ImageNet.

The features of AlexNet or VGG16 after five of their ReLUs, each position's scaled to unit length;
their squared differences, weighted channel by channel by linear heads that were fitted to what
people said, averaged over positions and summed over the five. Nothing is learned here, and no
weights come with the library: the network's are torchvision's, the heads those of the authors'
package.

Reference:
    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
    2018, section 3 and equation 1; version 0.1 of the authors' program, which scales its input.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from keras import ops

from tfdeblur.errors import DataError

Part = Literal["backbone", "heads"]

# What is subtracted from images in [-1, 1] and what they are divided by: ImageNet's mean and
# deviation, carried over to that range.
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
_EPSILON = 1e-10
_NAMED = 3  # arrays that a message names

# Only these parts of a file are looked at; a classifier, for one, may be there or not.
_PREFIXES: dict[Part, str] = {"backbone": "features.", "heads": "lin"}


@dataclasses.dataclass(frozen=True)
class _Convolution:
    """A convolution and its ReLU.

    Attributes:
        place: Its number in torchvision's `features`.
        channels: That it makes.
        kernel: Side of its kernel.
        stride: Its step.
        pool: Side of the max pooling before it, whose step is 2; 0 for none.
        compared: Whether its features are compared.
    """

    place: int
    channels: int
    kernel: int = 3
    stride: int = 1
    pool: int = 0
    compared: bool = True

    @property
    def padding(self) -> int:
        """Zeros at each border: half the kernel, but for AlexNet's first convolution."""
        return 2 if self.stride > 1 else self.kernel // 2


@dataclasses.dataclass(frozen=True)
class Network:
    """A network whose features are compared.

    Attributes:
        title: What it is called.
        convolutions: In their order, as far as they are needed.
        smallest: Pixels that height and width must have.
        files: The file of each part, as it was published.
        digests: By part, how the SHA-256 of published files begins.
        outdated: The SHA-256 of the heads of version 0.0, which wants images that are not scaled.
    """

    title: str
    convolutions: tuple[_Convolution, ...]
    smallest: int
    files: Mapping[Part, str]
    digests: Mapping[Part, tuple[str, ...]]
    outdated: str

    def shapes(self, part: Part) -> dict[str, tuple[int, ...]]:
        """Returns the arrays of a part by the names that PyTorch gives them, and their shapes."""
        found: dict[str, tuple[int, ...]] = {}
        if part == "heads":
            compared = [layer for layer in self.convolutions if layer.compared]
            for place, layer in enumerate(compared):
                found[f"lin{place}.model.1.weight"] = (1, layer.channels, 1, 1)
            return found
        before = 3
        for layer in self.convolutions:
            name = f"features.{layer.place}"
            found[f"{name}.weight"] = (layer.channels, before, layer.kernel, layer.kernel)
            found[f"{name}.bias"] = (layer.channels,)
            before = layer.channels
        return found

    def where(self, part: Part) -> str:
        """Returns in words which file is wanted."""
        owner = "torchvision's" if part == "backbone" else "the lpips package's weights/v0.1/"
        return f"{owner}{' ' if part == 'backbone' else ''}{self.files[part]}"


def _vgg16() -> tuple[_Convolution, ...]:
    places = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
    return tuple(
        _Convolution(
            place,
            channels,
            pool=2 if block and place == row[0] else 0,
            compared=place == row[-1],
        )
        for block, (row, channels) in enumerate(zip(places, (64, 128, 256, 512, 512), strict=True))
        for place in row
    )


NETWORKS: dict[str, Network] = {
    "alex": Network(
        "AlexNet",
        (
            _Convolution(0, 64, kernel=11, stride=4),
            _Convolution(3, 192, kernel=5, pool=3),
            _Convolution(6, 384, pool=3),
            _Convolution(8, 256),
            _Convolution(10, 256),
        ),
        smallest=31,
        files={"backbone": "alexnet-owt-7be5be79.pth", "heads": "alex.pth"},
        # torchvision has published the same network twice.
        digests={
            "backbone": ("7be5be79", "4df8aa71"),
            "heads": ("df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",),
        },
        outdated="18720f55913d0af89042f13faa7e536a6ce1444a0914e6db9461355ece1e8cd5",
    ),
    "vgg": Network(
        "VGG16",
        _vgg16(),
        smallest=16,
        files={"backbone": "vgg16-397923af.pth", "heads": "vgg.pth"},
        digests={
            "backbone": ("397923af",),
            "heads": ("a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",),
        },
        outdated="b9e4236260c3dd988fc79d2a48d645d885afcbb21f9fd595e6744cf7419b582c",
    ),
}
"""The networks that papers report LPIPS with, by the names they have in the authors' package."""


def check(network: str, part: Part, path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises where a file of weights is not of a network.

    Args:
        network: A key of `NETWORKS`.
        part: Which of its parts the file should hold.
        path: The file, for messages.
        arrays: What it holds, by the names that PyTorch gives them.

    Raises:
        DataError: An array is missing, of another shape or not all numbers, or the part has more
            arrays than the network.
    """
    known = NETWORKS[network]
    wanted = known.shapes(part)
    what = known.title if part == "backbone" else f"LPIPS with {known.title}"
    give = f"Give {known.where(part)}."
    for name, shape in wanted.items():
        if name not in arrays:
            raise DataError(
                f"{path} holds no {name}, which {what} has. It holds {_some(list(arrays))}. {give}"
            )
        array = arrays[name]
        if array.shape != shape:
            raise DataError(f"{path}: {name} has shape {array.shape}, {what}'s {shape}. {give}")
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise DataError(f"{path} is damaged: {name} is not all numbers. {give}")
    more = [name for name in arrays if name.startswith(_PREFIXES[part]) and name not in wanted]
    if more:
        raise DataError(f"{path} holds {_some(more)}, which {what} has not. {give}")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return (", ".join(names[:_NAMED]) or "nothing") + (f" and {more} more" if more > 0 else "")


class Lpips:
    """The distance of LPIPS 0.1 between images.

    Args:
        network: A key of `NETWORKS`.
        weights: The arrays of both parts by the names that PyTorch gives them, as `check` lets
            them pass; others are left aside.

    Attributes:
        network: A key of `NETWORKS`.
        sha256: Of all arrays that are used, as float32: two distances with one digest are the same
            function, whatever files they were read from.

    Reference:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
        2018. AlexNet as torchvision has it: Krizhevsky, "One weird trick for parallelizing
        convolutional neural networks", 2014. VGG16: Simonyan and Zisserman, "Very Deep
        Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, configuration D.
    """

    def __init__(self, network: str, weights: Mapping[str, np.ndarray]) -> None:
        self.network = network
        self._layers = NETWORKS[network].convolutions
        parts: tuple[Part, ...] = ("backbone", "heads")
        names = [name for part in parts for name in NETWORKS[network].shapes(part)]
        arrays = {name: np.ascontiguousarray(weights[name], "<f4") for name in names}
        digest = hashlib.sha256()
        for name, array in arrays.items():
            digest.update(name.encode() + b"\0")
            digest.update(array.tobytes())
        self.sha256 = digest.hexdigest()
        self._convolutions = []
        for layer in self._layers:
            kernel = arrays[f"features.{layer.place}.weight"].transpose(2, 3, 1, 0)
            pair = (kernel, arrays[f"features.{layer.place}.bias"])
            self._convolutions.append([ops.convert_to_tensor(part, "float32") for part in pair])
        heads = NETWORKS[network].shapes("heads")
        self._heads = [ops.convert_to_tensor(arrays[name].reshape(-1, 1)) for name in heads]

    def __call__(self, sharp: Any, restored: Any) -> Any:
        """Returns how far images are from each other.

        Args:
            sharp: Images [B, H, W, 3] in [0, 1], red first.
            restored: Images of the same shape.

        Returns:
            float32 [B]; 0 for equal images, more for more different ones. The order of the two
            does not matter.

        Raises:
            ValueError: The images are known to be smaller than the network allows.
        """
        return self.distance(self.features(sharp), restored)

    def features(self, images: Any) -> list[Any]:
        """Returns what is compared of images, so that it is computed once for many comparisons.

        Args:
            images: [B, H, W, 3] in [0, 1], red first.

        Returns:
            Five maps, float32 [B, h, w, C], of unit length over C.

        Raises:
            ValueError: The images are known to be smaller than the network allows.
        """
        least = NETWORKS[self.network].smallest
        if any(size is not None and size < least for size in images.shape[1:3]):
            raise ValueError(
                f"{NETWORKS[self.network].title} needs images of at least {least} x {least} "
                f"pixels. Received: {tuple(images.shape)}."
            )
        signed = 2.0 * ops.cast(images, "float32") - 1.0
        x = (signed - _SHIFT) / _SCALE
        found = []
        for layer, (kernel, bias) in zip(self._layers, self._convolutions, strict=True):
            x = ops.relu(_convolved(x, layer, kernel, bias))
            if layer.compared:
                length = ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True))
                found.append(x / (length + _EPSILON))
        return found

    def distance(self, truth: Sequence[Any], restored: Any) -> Any:
        """Returns how far images are from others of which `features` are given, float32 [B]."""
        return ops.sum(self.by_layer(truth, restored), axis=-1)

    def by_layer(self, truth: Sequence[Any], restored: Any) -> Any:
        """Returns what each of the five layers adds to `distance`, float32 [B, 5]."""
        found = []
        for one, other, head in zip(truth, self.features(restored), self._heads, strict=True):
            # Rows by themselves: one sum over a million positions loses the fourth digit in
            # float32. The head is linear, so that it may follow the mean.
            rows = ops.mean(ops.square(one - other), axis=2)
            found.append(ops.matmul(ops.mean(rows, axis=1), head))
        return ops.concatenate(found, axis=-1)


def _convolved(x: Any, layer: _Convolution, kernel: Any, bias: Any) -> Any:
    """Pools where that is asked and convolves, as PyTorch does it at every size.

    Its padding is the same on both sides whatever the stride, where `same` is not, and its pooling
    leaves out the rows and columns that fill no window.
    """
    shape = {"padding": "valid", "data_format": "channels_last"}
    if layer.pool:
        x = ops.max_pool(x, layer.pool, strides=2, **shape)
    border = (layer.padding, layer.padding)
    x = ops.pad(x, ((0, 0), border, border, (0, 0)))
    return ops.conv(x, kernel, strides=layer.stride, **shape) + bias
