"""DISTS: distance of two images in the statistics of VGG16's features; tolerates resampled texture.

The image itself and the features of VGG16 after five of its ReLUs are compared by their means
(texture) and by their covariance (structure), per channel. VGG16's max pooling is replaced by
smooth pooling. The library ships no weights: the network's are torchvision's, those of the channels
are the authors'.

Reference:
    Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", IEEE TPAMI
    2022, section 3 and equations 2 to 6.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from tfdeblur.errors import DataError
from tfdeblur.metrics.lpips import NETWORKS, convolution_arrays, convolved, used_arrays
from tfdeblur.metrics.metric import Metric

KEY = "dists"
NETWORK = "vgg"
PARTS = ("alpha", "beta")
"""Names of the arrays in the authors' file: weights of the texture and of the structure."""

FILE = "the DISTS_pytorch package's weights.pt"

_CHANNELS = (3, 64, 128, 256, 512, 512)
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
# The inner part of a Hann window of five, in both directions; its sum is 1.
_WINDOW = np.outer((0.5, 1.0, 0.5), (0.5, 1.0, 0.5)).astype(np.float32) / 4
_EPSILON = 1e-6
_POOL_EPSILON = 1e-12


def check(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Checks the arrays of the authors' file of weights.

    Args:
        path: The file, for messages.
        arrays: Its arrays by name.

    Raises:
        DataError: An array is missing, has another size or non-finite values.
    """
    for name in PARTS:
        if name not in arrays:
            raise DataError(f"{path} holds no {name}, which DISTS requires. Give {FILE}.")
        array = arrays[name]
        if array.size != sum(_CHANNELS):
            raise DataError(
                f"{path}: {name} has {array.size} values, DISTS has {sum(_CHANNELS)}. Give {FILE}."
            )
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise DataError(f"{path} is damaged: {name} has non-finite values. Give {FILE}.")


class Dists:
    """The distance of DISTS between images.

    Args:
        weights: VGG16's arrays by torchvision's names, validated by `lpips.check`, and those of
            `PARTS`, validated by `check`; others are ignored.

    Attributes:
        sha256: Digest of all used arrays as float32.
    """

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        known = NETWORKS[NETWORK]
        names = [*known.shapes("backbone"), *PARTS]
        arrays, self.sha256 = used_arrays(weights, names)
        self._layers = [
            (layer, *convolution_arrays(arrays, layer.place)) for layer in known.convolutions
        ]
        total = sum(float(arrays[name].sum(dtype=np.float64)) for name in PARTS)
        bounds = np.cumsum(_CHANNELS)[:-1]
        self._weights = [
            [ops.convert_to_tensor(part) for part in np.split(arrays[name].ravel() / total, bounds)]
            for name in PARTS
        ]

    def __call__(self, sharp: Any, restored: Any) -> Any:
        """Returns the distance of images.

        Args:
            sharp: Images [B, H, W, 3] in [0, 1], red first, at least 16x16 pixels.
            restored: Images of the same shape.

        Returns:
            float32 [B]; 0 for equal images. The distance is symmetric.
        """
        return self.distance(self.features(sharp), restored)

    def features(self, images: Any) -> list[Any]:
        """Returns the features of images, to be computed once for several comparisons.

        Args:
            images: [B, H, W, 3] in [0, 1], red first.

        Returns:
            The images and five maps of features, float32 [B, h, w, C].
        """
        x = ops.cast(images, "float32")
        found = [x]
        x = (x - _MEAN) / _DEVIATION
        for layer, kernel, bias in self._layers:
            if layer.pool:
                x = _pooled(x)
            x = ops.relu(convolved(x, dataclasses.replace(layer, pool=0), kernel, bias))
            if layer.compared:
                found.append(x)
        return found

    def distance(self, sharp_features: Sequence[Any], restored: Any) -> Any:
        """Returns the distance of images from the `features` of others, float32 [B]."""
        similarity = 0.0
        pairs = zip(sharp_features, self.features(restored), *self._weights, strict=True)
        for one, other, texture, structure in pairs:
            means = [_mean(part) for part in (one, other)]
            centered = [part - mean for part, mean in zip((one, other), means, strict=True)]
            first, second = (
                _ratio(*triple)
                for triple in (
                    (means[0] * means[1], ops.square(means[0]), ops.square(means[1])),
                    (
                        _mean(centered[0] * centered[1]),
                        _mean(ops.square(centered[0])),
                        _mean(ops.square(centered[1])),
                    ),
                )
            )
            similarity += ops.sum(first * texture + second * structure, axis=(1, 2, 3))
        return 1.0 - similarity


def _ratio(product: Any, one: Any, other: Any) -> Any:
    return (2 * product + _EPSILON) / (one + other + _EPSILON)


def _mean(maps: Any) -> Any:
    """Returns the means over positions, [B, 1, 1, C]; row by row, for float32's sake."""
    return ops.mean(ops.mean(maps, axis=2, keepdims=True), axis=1, keepdims=True)


def _pooled(x: Any) -> Any:
    """Returns the root of the windowed means of squares, at half the size."""
    channels = x.shape[-1]
    kernel = np.broadcast_to(_WINDOW[..., None, None], (3, 3, channels, 1)).copy()
    x = ops.pad(ops.square(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = ops.depthwise_conv(x, kernel, strides=2, padding="valid", data_format="channels_last")
    return ops.sqrt(x + _POOL_EPSILON)


# `tfdeblur.evaluation.lpips_weights` adds `compute`, which needs weights.
METRICS = (
    Metric(
        KEY,
        "DISTS",
        "DISTS of RGB in [0, 1] at full size (the authors' demonstration first reduces the shorter"
        " side to 256 pixels): the image and the features of VGG16 after five of its ReLUs, with"
        " smooth pooling; similarity of means and covariances per channel, weighted as fitted by"
        " the authors and subtracted from 1. Whole images only. Lower is better.",
        higher_is_better=False,
        min_size=NETWORKS[NETWORK].min_size,
        whole_images_only=True,
    ),
)
