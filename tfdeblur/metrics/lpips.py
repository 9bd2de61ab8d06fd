"""LPIPS 0.1: distance of two images in the features of a network trained on ImageNet.

Features of AlexNet or VGG16 after five of their ReLUs are scaled to unit length at each position;
their squared differences are weighted per channel by linear weights fitted to human judgements,
averaged over positions and summed over the five layers. The library ships no weights: the networks'
are torchvision's, the linear heads those of the authors' package.

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
from tfdeblur.metrics.metric import Metric

Part = Literal["backbone", "heads"]

# ImageNet's mean and standard deviation for images in [-1, 1].
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
_EPSILON = 1e-10
_MAX_NAMES = 3  # in a message

# Other arrays of a file, such as a classifier, are ignored.
_PREFIXES: dict[Part, str] = {"backbone": "features.", "heads": "lin"}


@dataclasses.dataclass(frozen=True)
class _Convolution:
    """A convolution and its ReLU.

    Attributes:
        place: Index in torchvision's `features`.
        channels: Output channels.
        kernel: Side of the kernel.
        stride: Stride.
        pool: Side of the max pooling with stride 2 that precedes it; 0 for none.
        compared: Whether the features after its ReLU are compared.
    """

    place: int
    channels: int
    kernel: int = 3
    stride: int = 1
    pool: int = 0
    compared: bool = True

    @property
    def padding(self) -> int:
        """Zeros at each border: half the kernel, except for AlexNet's first convolution."""
        return 2 if self.stride > 1 else self.kernel // 2


@dataclasses.dataclass(frozen=True)
class Network:
    """A network whose features are compared.

    Attributes:
        title: Name in tables.
        convolutions: The convolutions up to the last compared one.
        min_size: Smallest height and width in pixels.
        files: Name of the published file of each part.
        digests: By part, prefixes of the SHA-256 of the published files.
        outdated: SHA-256 of the heads of version 0.0, which does not scale images.
    """

    title: str
    convolutions: tuple[_Convolution, ...]
    min_size: int
    files: Mapping[Part, str]
    digests: Mapping[Part, tuple[str, ...]]
    outdated: str

    def shapes(self, part: Part) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of a part's arrays by their PyTorch names."""
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
        """Returns a description of the published file of a part."""
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
        min_size=31,
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
        min_size=16,
        files={"backbone": "vgg16-397923af.pth", "heads": "vgg.pth"},
        digests={
            "backbone": ("397923af",),
            "heads": ("a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",),
        },
        outdated="b9e4236260c3dd988fc79d2a48d645d885afcbb21f9fd595e6744cf7419b582c",
    ),
}
"""Networks used for LPIPS in papers, by their names in the authors' package."""


def check(network: str, part: Part, path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Checks the arrays of a file of weights.

    Args:
        network: A key of `NETWORKS`.
        part: The part that the file should hold.
        path: The file, for messages.
        arrays: Its arrays by their PyTorch names.

    Raises:
        DataError: An array is missing, has another shape or non-finite values, or the part has
            more arrays than the network.
    """
    known = NETWORKS[network]
    wanted = known.shapes(part)
    what = known.title if part == "backbone" else f"LPIPS with {known.title}"
    give = f"Give {known.where(part)}."
    for name, shape in wanted.items():
        if name not in arrays:
            raise DataError(
                f"{path} holds no {name}, which {what} requires; it holds {_some(list(arrays))}. "
                f"{give}"
            )
        array = arrays[name]
        if array.shape != shape:
            raise DataError(f"{path}: {name} has shape {array.shape}, {what}'s {shape}. {give}")
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise DataError(f"{path} is damaged: {name} has non-finite values. {give}")
    more = [name for name in arrays if name.startswith(_PREFIXES[part]) and name not in wanted]
    if more:
        raise DataError(f"{path} holds {_some(more)}, which {what} does not have. {give}")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMES
    return (", ".join(names[:_MAX_NAMES]) or "nothing") + (f" and {more} more" if more > 0 else "")


class Lpips:
    """The distance of LPIPS 0.1 between images.

    Args:
        network: A key of `NETWORKS`.
        weights: The arrays of both parts by their PyTorch names, validated by `check`; others are
            ignored.

    Attributes:
        network: A key of `NETWORKS`.
        sha256: Digest of all used arrays as float32. Equal digests mean the same function,
            whatever files the weights were read from.

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
        arrays, self.sha256 = used_arrays(weights, names)
        self._convolutions = [convolution_arrays(arrays, layer.place) for layer in self._layers]
        heads = NETWORKS[network].shapes("heads")
        self._heads = [ops.convert_to_tensor(arrays[name].reshape(-1, 1)) for name in heads]

    def __call__(self, sharp: Any, restored: Any) -> Any:
        """Returns the distance of images.

        Args:
            sharp: Images [B, H, W, 3] in [0, 1], red first.
            restored: Images of the same shape.

        Returns:
            float32 [B]; 0 for equal images. The distance is symmetric.

        Raises:
            ValueError: The images are smaller than `Network.min_size`.
        """
        return self.distance(self.features(sharp), restored)

    def features(self, images: Any) -> list[Any]:
        """Returns the compared features, to compute them once for several comparisons.

        Args:
            images: [B, H, W, 3] in [0, 1], red first.

        Returns:
            Five maps, float32 [B, h, w, C], of unit length over C.

        Raises:
            ValueError: The images are smaller than `Network.min_size`.
        """
        smallest = NETWORKS[self.network].min_size
        if any(size is not None and size < smallest for size in images.shape[1:3]):
            raise ValueError(
                f"{NETWORKS[self.network].title} needs images of at least {smallest} x {smallest} "
                f"pixels. Received: {tuple(images.shape)}."
            )
        signed = 2.0 * ops.cast(images, "float32") - 1.0
        x = (signed - _SHIFT) / _SCALE
        found = []
        for layer, (kernel, bias) in zip(self._layers, self._convolutions, strict=True):
            x = ops.relu(convolved(x, layer, kernel, bias))
            if layer.compared:
                length = ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True))
                found.append(x / (length + _EPSILON))
        return found

    def distance(self, sharp_features: Sequence[Any], restored: Any) -> Any:
        """Returns the distance of images from the `features` of others, float32 [B]."""
        return ops.sum(self.by_layer(sharp_features, restored), axis=-1)

    def by_layer(self, sharp_features: Sequence[Any], restored: Any) -> Any:
        """Returns the contribution of each of the five layers to `distance`, float32 [B, 5]."""
        found = []
        features = self.features(restored)
        for one, other, head in zip(sharp_features, features, self._heads, strict=True):
            # Averaged row by row: one sum over a million positions loses the fourth digit in
            # float32. The head is linear, so it may follow the mean.
            rows = ops.mean(ops.square(one - other), axis=2)
            found.append(ops.matmul(ops.mean(rows, axis=1), head))
        return ops.concatenate(found, axis=-1)


def used_arrays(
    weights: Mapping[str, np.ndarray], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], str]:
    """Returns arrays by name as float32, and the digest of names and values."""
    arrays = {name: np.ascontiguousarray(weights[name], "<f4") for name in names}
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(name.encode() + b"\0")
        digest.update(array.tobytes())
    return arrays, digest.hexdigest()


def convolution_arrays(arrays: Mapping[str, np.ndarray], place: int) -> tuple[Any, Any]:
    """Returns the kernel [h, w, in, out] and the bias of a layer of torchvision's `features`."""
    kernel = arrays[f"features.{place}.weight"].transpose(2, 3, 1, 0)
    bias = arrays[f"features.{place}.bias"]
    return ops.convert_to_tensor(kernel), ops.convert_to_tensor(bias)


def convolved(x: Any, layer: _Convolution, kernel: Any, bias: Any) -> Any:
    """Applies the pooling, if any, and the convolution as PyTorch does.

    Unlike `same`, PyTorch pads both sides equally with any stride; its pooling drops the rows and
    columns that do not fill a window.
    """
    shape = {"padding": "valid", "data_format": "channels_last"}
    if layer.pool:
        x = ops.max_pool(x, layer.pool, strides=2, **shape)
    border = (layer.padding, layer.padding)
    x = ops.pad(x, ((0, 0), border, border, (0, 0)))
    return ops.conv(x, kernel, strides=layer.stride, **shape) + bias


def _metric(network: str) -> Metric:
    title = NETWORKS[network].title
    return Metric(
        f"lpips_{network}",
        f"LPIPS ({title}, v0.1)",
        f"LPIPS 0.1 of RGB with the features of {title} after five of its ReLUs: images mapped"
        " from [0, 1] to [-1, 1], then shifted and scaled as in the reference implementation;"
        " features of unit length; squared differences weighted by the linear heads, averaged over"
        " positions and summed over the five layers. Whole images only. Lower is better. The"
        " reference implementation reads files, so the scores of images rounded to uint8 are"
        " comparable with papers.",
        higher_is_better=False,
        min_size=NETWORKS[network].min_size,
        whole_images_only=True,
    )


# `tfdeblur.evaluation.lpips_weights` adds `compute`, which needs weights.
METRICS = tuple(_metric(network) for network in NETWORKS)
