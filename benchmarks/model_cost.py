"""Cost of each generator: parameters, and multiply-adds per image.

    python -m benchmarks.model_cost [MODEL ...] [--size 256]
    python -m benchmarks.model_cost --recipes

A multiply-add is one multiplication and one addition of a convolution or a dense layer; norms,
activations, sums and pooling are omitted, as in most papers. A transposed convolution multiplies
every input pixel by its kernel; tools that count its output pixels instead report up to four times
as many. The moving statistics of batch norm do not count as parameters. The costs follow from
shapes; no network is run.

With `--recipes` it prints the table of docs/recipes.md: each network as a recipe trains it, with
the least time on a TPU from docs/preflight.json, and time and memory on a CPU from
docs/restoring.json.

Without, it also checks the claim that a dense network is smaller and cheaper than DeblurGAN, whose
paper does not give the widths: `dense_deblurgan` is listed with three growth rates, and `deblurgan`
with nine blocks. The last line compares the default growth with the latter.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfdeblur import config, models
from tfdeblur.config import recipes
from tfdeblur.errors import ConfigError
from tfdeblur.tpu.targets import recipe_target

# Configurations from papers; all other models are counted with their defaults.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "deblurgan": ({"blocks": 9}, {"blocks": 6}),
    "dense_deblurgan": ({"growth": 16}, {"growth": 32}, {"growth": 64}),
    "mimo_unet": ({}, {"plus": True}),
    "ms_deblur": ({"blocks": 19}, {"blocks": 5}),
    "nafnet": ({"width": 16}, {"width": 32}, {"width": 64}),
}

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"

# Slices of v5e chips, the first choice first.
_SLICES = ("v5e-8", "v5e-1")

# Recipes that train the networks of docs/restoring.json.
_RESTORED = {
    "nafnet32": "nafnet32_gopro",
    "nafnet16": "nafnet16_rsblur",
    "mimo_unet": "mimo_unet_gopro",
    "fftformer": "fftformer_gopro",
    "restormer": "restormer_gopro",
    "deepdeblur": "deepdeblur_gopro",
    "fpn_mobilenet": "deblurgan_v2",
}
_FRAME = "1280x720"

RECIPES_HEADER = (
    "| network | recipe | parameters | multiply-adds | v5e, ms | CPU, s | CPU, GiB | reported, dB "
    "| papers |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Size and work of a network.

    Attributes:
        parameters: Number of trainable parameters.
        multiply_adds: Multiply-adds of the convolutions and dense layers for one image.
    """

    parameters: int
    multiply_adds: int


def cost(network: keras.Model, size: int) -> Cost:
    """Returns the cost of a functional network for one image of `size` by `size` pixels.

    Args:
        network: Functional model of one image batch, [B, H, W, C].
        size: Height and width in pixels, a multiple of the network's stride.

    Returns:
        The cost, with layers that are called several times counted per call.
    """
    multiply_adds = 0

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        nonlocal multiply_adds
        output = layer(*inputs, **options)
        if hasattr(inputs[0], "shape"):
            multiply_adds += _multiply_adds(layer, inputs[0].shape, output.shape)
        return output

    # Calls the same layers again, with symbolic tensors of known sizes.
    keras.models.clone_model(
        network,
        input_tensors=keras.Input((size, size, network.input.shape[-1]), batch_size=1),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    parameters = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    return Cost(parameters, multiply_adds)


def _multiply_adds(layer: Any, source: Sequence[int], target: Sequence[int]) -> int:
    """Returns the multiply-adds of one layer from the shapes of its input and output."""
    kinds = keras.layers
    pixels = math.prod(target[1:-1])
    if isinstance(layer, kinds.SeparableConv2D):
        weights = (layer.depthwise_kernel, layer.pointwise_kernel)
        return pixels * sum(math.prod(kernel.shape) for kernel in weights)
    if isinstance(layer, kinds.Conv2DTranspose):
        # Each input pixel is multiplied by the whole kernel.
        return math.prod(source[1:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, kinds.Conv2D | kinds.DepthwiseConv2D | kinds.Dense):
        return pixels * math.prod(layer.kernel.shape)
    return 0


def rows(names: Sequence[str], size: int) -> list[tuple[str, Mapping[str, Any], Cost]]:
    """Builds all variants of the named models and returns their costs."""
    found: list[tuple[str, Mapping[str, Any], Cost]] = []
    for name in names:
        for options in VARIANTS.get(name, ({},)):
            found.append((name, options, cost(models.create(name, options).network, size)))
            keras.backend.clear_session()
    return found


def table(found: Sequence[tuple[str, Mapping[str, Any], Cost]], size: int) -> str:
    """Returns the costs as aligned text."""
    lines = [f"{'model':<34}{'parameters':>14}  multiply-adds, {size}x{size}"]
    for name, options, spent in found:
        label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
        lines.append(f"{label:<34}{spent.parameters:>14,}{spent.multiply_adds / 1e9:>12.2f} G")
    spent_by = {(name, *options.items()): spent for name, options, spent in found}
    nine = spent_by.get(("deblurgan", ("blocks", 9)))
    dense = spent_by.get(("dense_deblurgan", ("growth", 32)))
    if nine and dense:
        lines.append(
            f"dense_deblurgan at growth 32 has {dense.parameters / nine.parameters:.2f} of the "
            f"parameters of deblurgan and {dense.multiply_adds / nine.multiply_adds:.2f} of its "
            "multiply-adds."
        )
    return "\n".join(lines)


def recipe_of_each_network() -> list[str]:
    """Returns a recipe for each network of the recipes, with its options, one that reports scores.

    The networks that no recipe reports are left out.
    """
    found: dict[str, str] = {}
    for name in recipes.names():
        if recipes.load(name).about["reported"]:
            found.setdefault(repr(_model(name)), name)
    return list(found.values())


def recipe_row(name: str, size: int) -> str:
    """Returns the row of a recipe's network in the table of docs/recipes.md."""
    model = _model(name)
    spent = cost(models.create(model.name, model.options).network, size)
    keras.backend.clear_session()
    reported = recipes.load(name).about["reported"]["psnr_db"]
    papers = recipes.bibtex(name).split("\n\n")[:-1]  # the last one is this library
    cells = (
        f"`{model.name}`",
        f"`{name}`",
        f"{spent.parameters:,}",
        f"{spent.multiply_adds / 1e9:.1f} G",
        least_on_a_tpu(name),
        on_a_cpu(name, "seconds"),
        on_a_cpu(name, "gib"),
        f"{reported:.2f}",
        ", ".join(map(_reference, papers)),
    )
    return f"| {' | '.join(cells)} |".replace("  |", " |")


def least_on_a_tpu(name: str) -> str:
    """Returns the least time of a recipe's step on TPU v5e, and the size of its samples.

    It is in milliseconds of one chip per image, so neither the chips nor the batch matter; of the
    first stage, if the recipe has several. Empty if the step was not compiled.
    """
    target = recipe_target(name)
    first = (name, target.size, target.batch)
    compiled = {
        row["slice"]: row
        for row in _published("preflight")
        if (row["name"], row["size"], row["batch"]) == first
    }
    for tpu in _SLICES:
        if row := compiled.get(tpu):
            least = max(row["least_ms"].values()) * row["devices"] / row["images"]
            return f"{least:.3g} ({row['size']})"
    return ""


def on_a_cpu(name: str, quantity: str) -> str:
    """Returns what a frame of 1280x720 takes, by tfdeblur and the better PyTorch.

    Empty if the benchmark of restoring has not compared the recipe's network.

    Args:
        name: The recipe.
        quantity: ``seconds``, or ``gib`` for the memory.
    """
    for row in _published("restoring"):
        if _RESTORED.get(row["network"]) == name and row["size"] == _FRAME:
            ours, *theirs = row[quantity].values()
            return f"{ours} / {min(theirs)}"
    return ""


def _published(name: str) -> list[dict[str, Any]]:
    """Returns the rows of a file of figures in docs/."""
    rows: list[dict[str, Any]] = json.loads((DOCS / f"{name}.json").read_text("utf-8"))
    return rows


def _model(name: str) -> config.PlugIn:
    return config.resolve({"recipe": name, "workdir": "unused"}).model


def _reference(entry: str) -> str:
    """Returns authors and year of a BibTeX entry."""
    author, year = (re.search(rf"{key} = {{(.*)}}", entry) for key in ("author", "year"))
    names = [word.split(",")[0] for word in (author[1] if author else "").split(" and ")]
    text = names[0] if len(names) == 1 else " and ".join(names)
    if len(names) > 2 or "others" in names:
        text = f"{names[0]} et al."
    return f"{text} {year[1]}" if year else text


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    names = config.MODELS.names()
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="models to count; all by default"
    )
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels")
    parser.add_argument("--recipes", action="store_true", help="print the table of docs/recipes.md")
    chosen = parser.parse_args(arguments)
    if chosen.recipes:
        print(RECIPES_HEADER)
        for name in recipe_of_each_network():
            print(recipe_row(name, chosen.size))
        return
    for name in chosen.models:
        try:
            config.MODELS.load(name)
        except ConfigError as error:  # names the nearest model
            parser.error(str(error))
    print(table(rows(chosen.models or names, chosen.size), chosen.size))


if __name__ == "__main__":
    main()
