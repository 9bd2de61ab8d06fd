"""The perceptual loss: the distance of two images in the features of VGG19, trained on ImageNet.

The network is Keras's VGG19 with its published weights, which are Caffe's: they expect pixels in
0..255 in the order blue, green, red, with the ImageNet mean subtracted and no division. Images in
the generator's range, [0, 1] or [-1, 1], are converted here.
"""

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import array_files, files
from tfdeblur.losses.pixel import mse_per_example
from tfdeblur.ops import imaging
from tfdeblur.ops.shapes import ImageBatch, PerExample, Tensor
from tfdeblur.registry import did_you_mean

FEATURE_SCALE = (2.0 / 255.0) ** 2
"""Factor of the mean squared difference of features, 6.15e-5.

The papers' weight of 100 was found with torchvision's VGG19, which expects images divided by a
standard deviation of about 0.226, but which their code feeds with [-1, 1] directly: black and
white are 2 apart there, and 255 apart for Caffe's weights. A network of convolutions, ReLUs and
max pooling is positively homogeneous except for its biases: scaling images by 2/255 scales
features by 2/255 and their squares by (2/255)^2. Both sets of weights were trained separately, so
only the magnitude can be matched. The constant is derived, not fitted to the values below.

Measured with Caffe's weights at block3_conv3: 100 x the loss of blurred against sharp on 7 GoPro
test pairs, for resized frames and for nine crops of each; mean (minimum to maximum):

===========================  ===============  ===============
input                        before the ReLU  after the ReLU
===========================  ===============  ===============
7 frames resized to 256x256  379 (125-683)    277 (99-484)
63 crops of 256x256          506 (92-1190)    358 (65-802)
===========================  ===============  ===============

DeblurGAN's published code takes features before the ReLU, and one published training log starts at
480 to 560. Without the constant, features have a root mean square of 200 to 630 and their squared
differences a mean of 10,000 to 190,000: with a weight of 100, some millions.
"""

# ImageNet's mean in the order blue, green, red, which Caffe's weights expect to be subtracted.
CAFFE_MEAN = (103.939, 116.779, 123.68)
_CHANNELS = {
    f"block{block}_conv{number}": channels
    for block, (count, channels) in enumerate(
        ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), start=1
    )
    for number in range(1, count + 1)
}
LAYERS = tuple(_CHANNELS)
SUFFIXES = (".npz", ".h5", ".keras")
_VALUE_RANGES: dict[float, imaging.ValueRange] = {1.0: "unit", 2.0: "signed"}

_PARTS = ("kernel", "bias")
_Arrays = dict[str, Any]  # keys as in .npz files: "block1_conv1/kernel", "block1_conv1/bias"


class PerceptualLoss:
    """The mean squared difference of VGG19's features, times `FEATURE_SCALE`.

    Args:
        layer: The convolution whose output is compared, ``block1_conv1`` to ``block5_conv4``.
            ``block3_conv3`` is conv3_3 or VGG3,3 in the papers.
        after_activation: Whether features are taken after that convolution's ReLU, as the papers
            describe, or before it, as some of their code does.
        weights: A ``.npz`` file with arrays such as ``block1_conv1/kernel`` (HWIO) and
            ``block1_conv1/bias``, an ``.h5`` file (Keras's published one, or one written by
            `save_weights`) or a saved ``.keras`` model; local or on any file system of
            `tfdeblur.io.files`. If None, Keras downloads its own, 80 MB.
        reduction: ``mean`` is the mean over all elements of the features, as in the code of
            DeblurGAN; ``positions`` divides their sum by height times width alone, as in the
            formula of its paper, which is the number of channels times as much (256 at
            ``block3_conv3``).

    Raises:
        ConfigError: VGG19 has no such layer, or the file has another suffix.

    Reference:
        Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV
        2016, equation 2; as the content loss of Kupyn et al., "DeblurGAN: Blind Motion Deblurring
        Using Conditional Adversarial Networks", CVPR 2018, section 3.1, with weight 100. The
        network: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", ICLR 2015, configuration E.
    """

    def __init__(
        self,
        layer: str = "block3_conv3",
        after_activation: bool = True,
        weights: str | None = None,
        reduction: Literal["mean", "positions"] = "mean",
    ) -> None:
        if layer not in _CHANNELS:
            raise ConfigError(f"VGG19 has no layer {layer!r}.{did_you_mean(layer, LAYERS)}")
        if weights is not None and not weights.endswith(SUFFIXES):
            raise ConfigError(
                f"objective.perceptual.weights: {weights!r} must end in {', '.join(SUFFIXES[:-1])} "
                f"or {SUFFIXES[-1]}."
            )
        self.layer = layer
        self.after_activation = after_activation
        self.weights = weights
        self.reduction = reduction
        self._network: Any = None

    @property
    def network(self) -> Any:
        """The frozen network, from the output of `caffe_input` to float32 features.

        Raises:
            RuntimeError: `build` has not been called.
        """
        if self._network is None:
            raise RuntimeError("Call PerceptualLoss.build() before the first loss.")
        return self._network

    def build(self) -> None:
        """Builds the network and loads its weights; later calls have no effect.

        Call it where variables can be created: outside `tf.function`, within the strategy's scope.
        The current precision policy applies, except for the first convolution, which is float32:
        rounding 0..255 to 16 bits would hide the remaining error of a good restoration.

        Raises:
            ConfigError: No file is set, and Keras could not download its own.
            UserError: The file is missing or cannot be read.
            DataError: The file is damaged or lacks a required layer.
        """
        if self._network is not None:
            return
        required = LAYERS[: LAYERS.index(self.layer) + 1]
        arrays = _downloaded(required) if self.weights is None else _read(self.weights, required)
        caffe = x = keras.Input((None, None, 3), dtype="float32", name="caffe")
        for name in required:
            if name.endswith("conv1") and name != LAYERS[0]:
                x = keras.layers.MaxPooling2D(2, data_format="channels_last")(x)
            x = _FrozenConvolution(
                _CHANNELS[name],
                rectify=name != self.layer,
                name=name,
                dtype="float32" if name == LAYERS[0] else None,
            )(x)
        rectify = "relu" if self.after_activation else "linear"
        x = keras.layers.Activation(rectify, dtype="float32", name="features")(x)
        network = keras.Model(caffe, x, name=f"vgg19_{self.layer}")
        network.trainable = False
        for name in required:
            network.get_layer(name).set_weights([arrays[f"{name}/{p}"] for p in _PARTS])
        self._network = network

    def per_example(
        self, sharp: ImageBatch, restored: ImageBatch, *, data_range: float = 1.0
    ) -> PerExample:
        """Squared difference of the features of both images, reduced, times `FEATURE_SCALE`.

        The network runs once per image batch. One call on both would store activations and run the
        backward pass for the sharp half too, whose gradient is not needed: as a backward pass to
        the input costs as much as a forward pass, four units of work instead of three, and twice
        the activations.

        Args:
            sharp: Target images [B, H, W, 3], RGB; no gradient flows to them.
            restored: Restored images [B, H, W, 3] in the same value range.
            data_range: Width of the value range: 1 for images in [0, 1], 2 for [-1, 1].

        Returns:
            float32 [B], the same for an image in either range.

        Raises:
            RuntimeError: `build` has not been called.
            ValueError: `data_range` is neither 1 nor 2, or the images are too small for the layer.
        """
        target = ops.stop_gradient(self._features(sharp, data_range))
        mean = mse_per_example(target, self._features(restored, data_range))
        channels = _CHANNELS[self.layer] if self.reduction == "positions" else 1
        return FEATURE_SCALE * channels * mean

    def _features(self, images: ImageBatch, data_range: float) -> Tensor:
        min_size = 2 ** (int(self.layer[len("block")]) - 1)
        if any(size is not None and size < min_size for size in images.shape[1:3]):
            raise ValueError(
                f"{self.layer} needs images of at least {min_size}x{min_size}. "
                f"Received: {images.shape[1]}x{images.shape[2]}."
            )
        return self.network(caffe_input(images, data_range))


def caffe_input(images: ImageBatch, data_range: float) -> ImageBatch:
    """Converts images from a generator's range to the input of VGG19.

    Args:
        images: Floating-point tensor [..., 3], RGB.
        data_range: 1 for images in [0, 1], 2 for images in [-1, 1].

    Returns:
        float32 [..., 3], BGR: 0..255 minus `CAFFE_MEAN`.

    Raises:
        ValueError: `data_range` is neither 1 nor 2.
    """
    if data_range not in _VALUE_RANGES:
        raise ValueError(f"`data_range` must be 1 or 2. Received: {data_range}.")
    unit = imaging.to_unit(ops.cast(images, "float32"), _VALUE_RANGES[data_range])
    return ops.subtract(ops.flip(unit, axis=-1) * 255.0, np.array(CAFFE_MEAN, "float32"))


class _FrozenConvolution(keras.layers.Layer):
    """A 3x3 convolution whose weights are created as not trainable.

    Keras's layer creates trainable variables, even if it is frozen later; a gradient tape watches
    them and stores the activations for their gradient, those of the sharp images included.
    """

    def __init__(self, channels: int, rectify: bool, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.channels = channels
        self.rectify = rectify

    def build(self, input_shape: Any) -> None:
        """Creates the kernel [3, 3, C, channels] and the bias [channels]."""
        # Zeros: drawing random numbers here would change the initial weights of other networks.
        zeros = {"initializer": "zeros", "trainable": False}
        kernel = (3, 3, input_shape[-1], self.channels)
        self.kernel = self.add_weight(shape=kernel, name="kernel", **zeros)
        self.bias = self.add_weight(shape=(self.channels,), name="bias", **zeros)

    def call(self, x: Any) -> Any:
        """Convolves with zero padding and rectifies."""
        x = ops.conv(x, self.kernel, padding="same", data_format="channels_last")
        x = ops.add(x, self.bias)
        return ops.relu(x) if self.rectify else x


def _shape(name: str, part: str) -> tuple[int, ...]:
    """Returns the shape of a layer's kernel or bias."""
    if part == "bias":
        return (_CHANNELS[name],)
    before = LAYERS.index(name) - 1
    return (3, 3, 3 if before < 0 else _CHANNELS[LAYERS[before]], _CHANNELS[name])


def _downloaded(required: tuple[str, ...]) -> _Arrays:
    """Returns the weights that Keras publishes, from its cache or by a download."""
    try:
        network = keras.applications.VGG19(weights="imagenet", include_top=False)
    except Exception as error:  # Keras raises a bare Exception if a download fails
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"Keras could not download the ImageNet weights of VGG19 ({reason}): set "
            f"objective.perceptual.weights to a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file."
        ) from error
    return {
        f"{name}/{part}": array
        for name in required
        for part, array in zip(_PARTS, network.get_layer(name).get_weights(), strict=True)
    }


def _read(path: str, required: tuple[str, ...]) -> _Arrays:
    """Reads and checks the weights of the required layers."""
    data = files.read_bytes(path)
    if path.endswith(".npz"):
        found = array_files.read_npz(data, path)
    else:
        if path.endswith(".keras"):
            data = array_files.read_member(data, "model.weights.h5", path)
        found = _convolutions(array_files.read_hdf5(data, path, named_groups=True))
    _check(path, found, required)
    return found


def _convolutions(arrays: Mapping[str, Any]) -> _Arrays:
    """Returns the convolutions of VGG19 among the arrays of an HDF5 file, at any nesting depth.

    Keras's published file and older ones have groups that are named after the layers.
    """
    found: _Arrays = {}
    for key, array in arrays.items():
        parts = key.split("/")
        layer = next((part for part in parts if part in _CHANNELS), None)
        if layer is not None and "optimizer" not in parts:
            found[f"{layer}/{'kernel' if array.ndim > 1 else 'bias'}"] = array
    return found


def _check(path: str, found: Mapping[str, Any], required: tuple[str, ...]) -> None:
    """Raises a DataError for a layer that is missing, of another shape or not finite."""
    held = [name for name in LAYERS if all(f"{name}/{part}" in found for part in _PARTS)]
    for name in required:
        if name not in held:
            raise DataError(
                f"{path} has no weights of {name}, which {required[-1]} requires. It contains: "
                f"{', '.join(held) or 'no layer of VGG19'}. Use another weights file or an "
                "earlier layer."
            )
        for part in _PARTS:
            array, shape = found[f"{name}/{part}"], _shape(name, part)
            if array.shape != shape:
                raise DataError(
                    f"{path}: the {part} of {name} has shape {array.shape}, but VGG19 has {shape}."
                )
            if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
                raise DataError(
                    f"{path} is damaged: the {part} of {name} contains values that are not finite "
                    "numbers."
                )
