"""The perceptual loss: how far two images are from each other for VGG19, trained on ImageNet.

The network is Keras's VGG19 with its published weights, which are Caffe's: they expect pixels of
0..255 in the order blue, green, red with the mean of ImageNet subtracted, and no division.
Generators see [0, 1] or [-1, 1]; the conversion happens here.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import h5py
import keras
import numpy as np
from keras import ops

from tfdeblur.errors import ConfigError, DataError
from tfdeblur.losses.pixel import mse_per_example
from tfdeblur.ops import imaging
from tfdeblur.registry import did_you_mean

FEATURE_SCALE = (2.0 / 255.0) ** 2
"""What the mean squared difference of features is multiplied by, 6.15e-5.

The weight of 100 that the papers give was found with torchvision's VGG19, which expects images
over a standard deviation of about 0.226, and which their code feeds with [-1, 1] as it is: black
and white are 2 apart, for Caffe's weights 255. A network of convolutions, ReLUs and max pooling is
positively homogeneous but for its biases: images 2/255 as wide give features 2/255 as large, and
squares (2/255)^2. The two sets of weights were trained apart, so that only the magnitude can be
matched, and nothing here was fitted to the following.

Measured with Caffe's weights at block3_conv3: 100 x the loss of blurred against sharp on 7 GoPro
test pairs, as resized frames and in nine crops of each; mean (least to most):

===========================  ===============  ===============
input                        before the ReLU  after the ReLU
===========================  ===============  ===============
7 frames resized to 256x256  379 (125-683)    277 (99-484)
63 crops of 256x256          506 (92-1190)    358 (65-802)
===========================  ===============  ===============

DeblurGAN's published code cuts before the ReLU, and one log of a training of it begins with 480 to
560. Before the constant, features have a root mean square of 200 to 630 and their squared
differences a mean of 10,000 to 190,000: with a weight of 100, some millions.
"""

# Blue, green, red: the mean of ImageNet that Caffe's weights were trained without.
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
# What NumPy, zipfile and h5py raise where a file is cut off, altered or of another kind.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_Arrays = dict[str, Any]  # "block1_conv1/kernel" and "block1_conv1/bias": as in .npz files


class PerceptualLoss:
    """The mean squared difference of VGG19's features, times `FEATURE_SCALE`.

    Args:
        layer: The convolution whose output is compared, ``block1_conv1`` to ``block5_conv4``.
            ``block3_conv3`` is what the papers call conv3_3 or VGG3,3.
        after_activation: Whether the features are taken after that convolution's ReLU, as the
            papers' text has it, or before it, as some of their code does.
        weights: A ``.npz`` file with arrays such as ``block1_conv1/kernel`` (HWIO) and
            ``block1_conv1/bias``, an ``.h5`` file (Keras's published one, or one of Keras's
            `save_weights`) or a saved ``.keras`` model; local or on any file system of
            `tfdeblur.io.files`. None has Keras download its own, 80 MB.

    Raises:
        ConfigError: VGG19 has no such layer, or the file is of another kind.

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
    ) -> None:
        if layer not in _CHANNELS:
            raise ConfigError(f"VGG19 has no layer {layer!r}.{did_you_mean(layer, LAYERS)}")
        if weights is not None and not weights.endswith(SUFFIXES):
            raise ConfigError(
                f"objective.perceptual.weights: {weights!r} is none of {', '.join(SUFFIXES)}."
            )
        self.layer = layer
        self.after_activation = after_activation
        self.weights = weights
        self._network: Any = None

    @property
    def network(self) -> Any:
        """The frozen network: [B, H, W, 3] as Caffe has it, to float32 features.

        Raises:
            RuntimeError: It has not been built.
        """
        if self._network is None:
            raise RuntimeError("Call PerceptualLoss.build() before the first loss.")
        return self._network

    def build(self) -> None:
        """Makes the network and loads its weights; done once, however often it is called.

        To be called where variables may be made: outside `tf.function`, within the strategy's
        scope. The precision policy of that moment holds, but for the first convolution, which
        is float32: rounded to 16 bits, 0..255 would lose what a good restoration still differs by.

        Raises:
            ConfigError: No file was given, and Keras could not download its own.
            UserError: The file is missing or cannot be read.
            DataError: The file is damaged, or lacks a layer that is needed.
        """
        if self._network is not None:
            return
        wanted = LAYERS[: LAYERS.index(self.layer) + 1]
        arrays = _downloaded(wanted) if self.weights is None else _read(self.weights, wanted)
        caffe = x = keras.Input((None, None, 3), dtype="float32", name="caffe")
        for name in wanted:
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
        for name in wanted:
            network.get_layer(name).set_weights([arrays[f"{name}/{p}"] for p in _PARTS])
        self._network = network

    def per_example(self, sharp: Any, restored: Any, *, data_range: float = 1.0) -> Any:
        """Mean squared difference of the features of both images, times `FEATURE_SCALE`.

        The network runs twice, once for each of them. In one call with both, everything kept for
        the backward pass, and the backward pass itself, would cover the sharp half as well, whose
        gradient nobody asks for: with a backward pass to the input as costly as a forward one,
        four units of work instead of three, and twice the activations.

        Args:
            sharp: True images [B, H, W, 3], red first; no gradient flows to them.
            restored: Restored images [B, H, W, 3] in the same range.
            data_range: Distance between black and white: 1 for images in [0, 1], 2 in [-1, 1].

        Returns:
            float32 [B], the same for a picture in either range.

        Raises:
            RuntimeError: `build` has not been called.
            ValueError: `data_range` is neither 1 nor 2, or the images are too small for the layer.
        """
        truth = ops.stop_gradient(self._features(sharp, data_range))
        return FEATURE_SCALE * mse_per_example(truth, self._features(restored, data_range))

    def _features(self, images: Any, data_range: float) -> Any:
        least = 2 ** (int(self.layer[len("block")]) - 1)
        if any(size is not None and size < least for size in images.shape[1:3]):
            raise ValueError(
                f"{self.layer} needs images of at least {least}x{least}. "
                f"Received: {images.shape[1]}x{images.shape[2]}."
            )
        return self.network(caffe_input(images, data_range))


def caffe_input(images: Any, data_range: float) -> Any:
    """Takes images from a generator's range to what VGG19 expects.

    Args:
        images: Floating-point tensor [..., 3], red first.
        data_range: 1 for images in [0, 1], 2 for images in [-1, 1].

    Returns:
        float32 [..., 3], blue first: 0..255 minus `CAFFE_MEAN`.

    Raises:
        ValueError: `data_range` is neither 1 nor 2.
    """
    if data_range not in _VALUE_RANGES:
        raise ValueError(f"`data_range` must be 1 or 2. Received: {data_range}.")
    unit = imaging.to_unit(ops.cast(images, "float32"), _VALUE_RANGES[data_range])
    return ops.subtract(ops.flip(unit, axis=-1) * 255.0, np.array(CAFFE_MEAN, "float32"))


class _FrozenConvolution(keras.layers.Layer):
    """A 3x3 convolution whose weights are made as not trainable.

    Keras's own makes trainable variables, whatever it is told later; a tape then watches them and
    keeps what the gradient with respect to them would need, the sharp image's activations too.
    """

    def __init__(self, channels: int, rectify: bool, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.channels = channels
        self.rectify = rectify

    def build(self, input_shape: Any) -> None:
        """Makes kernel [3, 3, C, channels] and bias [channels]."""
        # Zeros, because random numbers drawn here would change what other networks begin with.
        zeros = {"initializer": "zeros", "trainable": False}
        kernel = (3, 3, input_shape[-1], self.channels)
        self.kernel = self.add_weight(shape=kernel, name="kernel", **zeros)
        self.bias = self.add_weight(shape=(self.channels,), name="bias", **zeros)

    def call(self, x: Any) -> Any:
        """Convolves, with zeros outside, and rectifies."""
        x = ops.conv(x, self.kernel, padding="same", data_format="channels_last")
        x = ops.add(x, self.bias)
        return ops.relu(x) if self.rectify else x


def _shape(name: str, part: str) -> tuple[int, ...]:
    """Returns the shape of a layer's kernel or bias."""
    if part == "bias":
        return (_CHANNELS[name],)
    before = LAYERS.index(name) - 1
    return (3, 3, 3 if before < 0 else _CHANNELS[LAYERS[before]], _CHANNELS[name])


def _downloaded(wanted: tuple[str, ...]) -> _Arrays:
    """Returns the weights that Keras publishes, from its cache or the network."""
    try:
        network = keras.applications.VGG19(weights="imagenet", include_top=False)
    except Exception as error:  # Keras raises a bare Exception where a download fails
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"Keras could not download the ImageNet weights of VGG19 ({reason}): set "
            f"objective.perceptual.weights to a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file "
            "of them."
        ) from error
    return {
        f"{name}/{part}": array
        for name in wanted
        for part, array in zip(_PARTS, network.get_layer(name).get_weights(), strict=True)
    }


def _read(path: str, wanted: tuple[str, ...]) -> _Arrays:
    """Reads the weights of some layers from a file and checks them."""
    # Not at the top: `files` needs TensorFlow, and the loss itself runs without.
    from tfdeblur.io import files

    data = files.read_bytes(path)
    try:
        if path.endswith(".npz"):
            found = _npz_arrays(data)
        elif path.endswith(".keras"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                found = _hdf5_arrays(archive.read("model.weights.h5"))
        else:
            found = _hdf5_arrays(data)
    except _DAMAGE as error:
        raise DataError(
            f"{path} is damaged or not a {path[path.rindex('.') :]} file: {error}."
        ) from error
    _check(path, found, wanted)
    return found


def _npz_arrays(data: bytes) -> _Arrays:
    archive = np.load(io.BytesIO(data), allow_pickle=False)
    if isinstance(archive, np.ndarray):
        raise ValueError("it holds one array without a name")
    known = {f"{name}/{part}" for name in LAYERS for part in _PARTS}
    return {key: archive[key] for key in archive.files if key in known}


def _hdf5_arrays(data: bytes) -> _Arrays:
    """Finds the convolutions of VGG19 in an HDF5 file, however deep the model they stand in.

    Keras's published file and older ones have groups named after the layers. Newer ones number
    the layers by class (``layers/conv2d_3/vars/0``) and keep the name as the group's attribute.
    """
    found: _Arrays = {}

    def collect(key: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or key.startswith("optimizer"):
            return
        names = [*key.split("/"), item.parent.attrs.get("name")]
        layer = next((name for name in names if name in _CHANNELS), None)
        if layer is not None:
            found[f"{layer}/{'kernel' if item.ndim > 1 else 'bias'}"] = item[()]

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(collect)
    return found


def _check(path: str, found: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    """Raises where a layer is missing, of another shape or not finite."""
    held = [name for name in LAYERS if all(f"{name}/{part}" in found for part in _PARTS)]
    for name in wanted:
        if name not in held:
            raise DataError(
                f"{path} holds no weights of {name}, which {wanted[-1]} needs. It holds: "
                f"{', '.join(held) or 'no layer of VGG19'}. Give another file of weights, or "
                "choose a layer before it."
            )
        for part in _PARTS:
            array, shape = found[f"{name}/{part}"], _shape(name, part)
            if array.shape != shape:
                raise DataError(
                    f"{path}: the {part} of {name} has shape {array.shape}; VGG19's has {shape}."
                )
            if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
                raise DataError(f"{path} is damaged: the {part} of {name} is not all numbers.")
