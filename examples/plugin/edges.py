r"""A plug-in: a network, a critic, an objective, a metric and a data source.

One module is enough; a package works the same. Importing it registers everything::

    python -m data_prep.build arrays --plugins edges.py --source FOLDER --out data/arrays
    python -m tfdeblur.train --plugins edges.py --model shallow --objective edges \
        --output.best-metric edge_mae --data data/arrays --workdir runs/shallow
    python -m tfdeblur.train --plugins edges.py --model shallow --objective wgan_gp \
        --critic shallow --data data/arrays --workdir runs/shallow-gan
    python -m tfdeblur.evaluate --plugins edges.py --workdir runs/shallow --data data/arrays

`test_edges.py` beside it runs the library's contract tests on it.
"""

import dataclasses
import pathlib
from typing import Annotated, Any

import keras
import numpy as np
from keras import layers, ops
from pydantic import Field

import tfdeblur
from data_prep.blur import Blur
from data_prep.sources.source import Item, Listing, Source
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import DataError
from tfdeblur.losses.pixel import charbonnier_per_example
from tfdeblur.metrics import Metric
from tfdeblur.models.critics.critic import Critic
from tfdeblur.models.generator import Generator
from tfdeblur.objectives.objective import Loss, Objective, View


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Settings of `shallow`."""

    width: Annotated[int, Field(gt=0)] = 32
    """channels of the hidden layers"""


@tfdeblur.register("model", "shallow")
def build_model(options: ModelOptions) -> Generator:
    """Builds the network: two convolutions of 5x5 that correct their input.

    Args:
        options: Settings; with the defaults 4,835 parameters.

    Returns:
        A generator in [0, 1] for any size.
    """
    blurred = x = keras.Input((None, None, 3), name="blurred")
    x = layers.Conv2D(options.width, 5, padding="same", activation="relu", name="features")(x)
    correction = layers.Conv2D(3, 5, padding="same", dtype="float32", name="correction")(x)
    restored = layers.Add(dtype="float32", name="restored")([blurred, correction])
    return Generator(keras.Model(blurred, restored, name="shallow"), "unit", multiple=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CriticOptions:
    """Settings of the critic `shallow`."""

    width: Annotated[int, Field(gt=0)] = 32
    """channels of the hidden layers"""


@tfdeblur.register("critic", "shallow")
def build_critic(options: CriticOptions) -> Critic:
    """Builds the critic: two convolutions of stride 2, and a score for each position.

    Args:
        options: Settings.

    Returns:
        A critic for any size, without the blurred input.
    """
    images = x = keras.Input((None, None, 3), name="images")
    for index in range(2):
        x = layers.Conv2D(options.width, 4, strides=2, padding="same", name=f"conv{index}")(x)
        x = layers.LeakyReLU(0.2, name=f"relu{index}")(x)
    scores = layers.Conv2D(1, 3, padding="same", dtype="float32", name="scores")(x)
    network = keras.Model(images, scores, name="shallow_critic")
    return Critic(network, conditional=False, mixes_examples=False)


def edge_mae(sharp: Any, restored: Any) -> Any:
    """Returns the mean absolute error of the differences of neighboring pixels, float32 [B]."""
    error = ops.cast(restored, "float32") - ops.cast(sharp, "float32")
    down, right = error[:, 1:] - error[:, :-1], error[:, :, 1:] - error[:, :, :-1]
    return sum(ops.mean(ops.abs(part), axis=(1, 2, 3)) for part in (down, right))


tfdeblur.register_metric(
    Metric(
        key="edge_mae",
        title="Edge MAE",
        protocol="Mean absolute error of the differences of vertical and horizontal neighbors, "
        "added, over all pixels and channels.",
        compute=edge_mae,
        higher_is_better=False,
        unit="e-2",
        scale=1e2,
        decimals=3,
        min_size=2,
        quick=True,
    )
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveOptions:
    """Settings of the edges objective."""

    weight: Annotated[float, Field(ge=0)] = 0.5
    """weight of the differences"""


class EdgesObjective(Objective):
    """Minimizes ``charbonnier + weight * edge_mae`` on the finest output."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def term_names(self, network: str) -> tuple[str, ...]:
        """Returns the names of the curves; the generator is the only network."""
        return ("charbonnier", "edges")

    def loss(self, network: str, view: View) -> Loss:
        """Returns the weighted sum and its unweighted terms."""
        content = charbonnier_per_example(view.sharp, view.restored)
        edges = edge_mae(view.sharp, view.restored)
        return Loss(content + self.weight * edges, {"charbonnier": content, "edges": edges})


@tfdeblur.register("objective", "edges")
def build_objective(options: ObjectiveOptions) -> EdgesObjective:
    """Builds the objective."""
    return EdgesObjective(options.weight)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Settings of the arrays source."""

    source: str
    """folder of .npy files"""
    max_sigma: Annotated[float, Field(gt=0)] = 2.0
    """widest Gaussian, in pixels"""


class Arrays(Source):
    """Sharp photos in ``.npy`` files, each a scene, blurred here; a third for each split."""

    def __init__(self, options: SourceOptions) -> None:
        self.blur = Blur(Degradation(blur="gaussian", max_sigma=options.max_sigma))
        self._folder = pathlib.Path(options.source)

    def listing(self) -> Listing:
        """Lists the files, sorted."""
        items = []
        for path in sorted(self._folder.glob("*.npy")):
            height, width, _ = np.load(path, mmap_mode="r").shape
            items.append(Item(path.stem, "0", height, width, sharp=str(path)))
        if len(items) < 3:
            raise DataError(f"{self._folder} holds fewer than three .npy files.")
        splits = {"train": items[::3], "val": items[1::3], "test": items[2::3]}
        return Listing({split: tuple(part) for split, part in splits.items()})

    def load(self, item: Item) -> tuple[None, np.ndarray]:
        """Returns no blurred half, and the sharp one as uint8 [height, width, 3]."""
        return None, np.load(item.sharp)


@tfdeblur.register("source", "arrays")
def build_source(options: SourceOptions) -> Arrays:
    """Photos in .npy files, uint8 [height, width, 3], blurred by Gaussians."""
    return Arrays(options)
