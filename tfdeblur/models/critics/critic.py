"""The critic, and the building blocks of critics."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import keras
from keras import ops
from pydantic import Field

from tfdeblur.models.layers import BatchNormalization, GroupNormalization, LayerNormalization
from tfdeblur.ops.shapes import ImageBatch, ScoreMap

Norm = Literal["layer", "layer_all", "instance", "batch", "spectral", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CriticOptions:
    """Settings of every critic."""

    width: Annotated[int, Field(gt=0)] = 64
    """channels of the first convolution"""
    norm: Norm = "instance"
    """layer: over channels; layer_all: over height, width and channels, as in the WGAN-GP paper;
    instance; batch; spectral: of the kernels; none"""
    norm_first: bool = False
    """also normalize after the first convolution"""
    conditional: bool = False
    """also use the blurred input"""
    residual: bool = False
    """add a 1x1 convolution of its input, with the same stride, to each block of 4x4 convolution,
    normalization and LeakyReLU"""


@dataclasses.dataclass(frozen=True)
class Critic:
    """A network that scores patches of images.

    Attributes:
        network: Keras model from [B, H, W, 3] in the generator's value range ([B, H, W, 6] if
            conditional: the image, then its blurred input) to one or several score maps, each
            float32 [B, h, w, 1], linear.
        conditional: Whether the critic also gets the blurred input.
        mixes_examples: Whether scores depend on the other images of the batch (batch norm), so that
            sharp and restored images must not share one.
        name: Name of the plug-in that built it, set by `tfdeblur.models.critics.create`.
        options: All options of the plug-in by name, set by `tfdeblur.models.critics.create`.
    """

    network: keras.Model
    conditional: bool
    mixes_examples: bool
    name: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def scores(self, images: ImageBatch, blurred: ImageBatch) -> tuple[ScoreMap, ...]:
        """Scores images.

        Args:
            images: float32 [B, H, W, 3] in the generator's value range.
            blurred: Their blurred inputs, same shape; used by conditional critics only.

        Returns:
            Score maps, each float32 [B, h, w, 1].
        """
        if self.conditional:
            images = ops.concatenate([images, blurred], axis=-1)
        scores = self.network(images, training=True)
        # Keras returns a single output without its list.
        return tuple(scores) if isinstance(scores, list | tuple) else (scores,)

    def scores_of_both(
        self, first: ImageBatch, second: ImageBatch, blurred: ImageBatch
    ) -> tuple[tuple[ScoreMap, ...], tuple[ScoreMap, ...]]:
        """Scores two batches of images with the same blurred inputs.

        Both are scored in one pass, which uses devices better than two, unless that would change
        the scores.
        """
        if self.mixes_examples:
            return self.scores(first, blurred), self.scores(second, blurred)
        images = ops.concatenate([first, second], axis=0)
        twice = ops.concatenate([blurred, blurred], axis=0) if self.conditional else blurred
        halves = [ops.split(scores, 2, axis=0) for scores in self.scores(images, twice)]
        return tuple(half[0] for half in halves), tuple(half[1] for half in halves)


@keras.saving.register_keras_serializable(package="tfdeblur")
class SpectralConv2D(keras.layers.Conv2D):
    """A convolution whose kernel is divided by its largest singular value.

    The value is estimated by one power iteration per training call, on the kernel as a matrix
    [height * width * channels in, channels out]; gradients flow through the division. (Keras's
    layer overwrites the kernel instead, so gradients of micro-batches would not add up.)

    Reference:
        Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018,
        algorithm 1.
    """

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.vector_u = self.add_weight(
            shape=(1, self.filters), initializer="random_normal", trainable=False, name="vector_u"
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        kernel = ops.cast(self.kernel, "float32")
        matrix = ops.reshape(kernel, (-1, self.filters))
        fixed = ops.stop_gradient(matrix)
        u = ops.cast(self.vector_u, "float32")
        v = _unit(ops.matmul(u, ops.transpose(fixed)))
        u = _unit(ops.matmul(v, fixed))
        if training:
            self.vector_u.assign(u)
        largest = ops.matmul(ops.matmul(v, matrix), ops.transpose(u))[0, 0]
        outputs = self.convolution_op(inputs, ops.cast(kernel / largest, self.compute_dtype))
        return outputs + ops.cast(self.bias, self.compute_dtype) if self.use_bias else outputs


def _unit(vector: Any) -> Any:
    return vector / (ops.sqrt(ops.sum(ops.square(vector))) + 1e-12)


def _normalize(x: Any, norm: Norm, name: str) -> Any:
    if norm == "layer":
        return LayerNormalization(axis=-1, epsilon=1e-5, name=name)(x)
    if norm in ("layer_all", "instance"):
        groups = 1 if norm == "layer_all" else -1
        return GroupNormalization(groups=groups, epsilon=1e-5, name=name)(x)
    return BatchNormalization(name=name)(x) if norm == "batch" else x


def critic_of(name: str, options: CriticOptions, layers: Mapping[str, int]) -> Critic:
    """Builds a critic of one or several PatchGANs that score the same image.

    A PatchGAN is `layers` convolutions of stride 2 and one of stride 1, with `width` times 1, 2, 4
    and at most 8 channels, all 4x4 with normalization and LeakyReLU(0.2), and a 4x4 convolution to
    one linear score in float32.

    Args:
        name: Name of the network.
        options: Settings of the critic.
        layers: The number of convolutions of stride 2 of each PatchGAN, by the prefix of its names.
    """
    images = keras.Input((None, None, 6 if options.conditional else 3), name="images")
    maps = [_patch_scores(images, options, count, prefix) for prefix, count in layers.items()]
    network = keras.Model(images, maps, name=name)
    return Critic(network, options.conditional, mixes_examples=options.norm == "batch")


def _patch_scores(images: Any, options: CriticOptions, layers: int, prefix: str) -> Any:
    """Adds a PatchGAN to a graph: from images [B, H, W, C] to a score map [B, h, w, 1]."""
    convolution = SpectralConv2D if options.norm == "spectral" else keras.layers.Conv2D
    x = images
    for index in range(layers + 1):
        channels = options.width * min(2**index, 8)
        name, block_input = f"{prefix}block{index + 1}", x
        strides = 2 if index < layers else 1
        x = convolution(channels, 4, strides=strides, padding="same", name=f"{name}_conv")(x)
        if index or options.norm_first:
            x = _normalize(x, options.norm, f"{name}_norm")
        x = keras.layers.LeakyReLU(0.2, name=f"{name}_relu")(x)
        if options.residual:
            # The stride as a slice: see `resnet16` for strided 1x1 convolutions of few channels.
            shortcut = convolution(channels, 1, name=f"{name}_shortcut")
            kept = block_input[:, ::strides, ::strides]
            x = keras.layers.Add(name=f"{name}_add")([x, shortcut(kept)])
    last = convolution(1, 4, padding="same", dtype="float32", name=f"{prefix}scores")
    return last(x)
