"""``python -m tfdeblur.convert``: converts weights that were trained with PyTorch.

::

    python -m tfdeblur.convert --weights NAFNet-GoPro-width32.pth --out nafnet32

Reads the published weights of the networks in `tfdeblur.porting.architectures`, with the array
names of their authors' code, and writes a checkpoint for `tfdeblur.load` and for the commands:
deblur, evaluate, export, and train's `--init-from`. PyTorch is not needed, and no code in the file
is run. Use `run` in notebooks.
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from tfdeblur import cli
from tfdeblur.cli.environment import require_tensorflow
from tfdeblur.io import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Settings of the conversion."""

    weights: Annotated[str, Field(min_length=1)]
    """file of torch.save (.pth), safetensors or numpy.savez"""
    out: Annotated[str, Field(min_length=1)]
    """folder of the checkpoint to write"""
    architecture: str | None = None
    """network of the weights, such as nafnet; detected if unset"""
    entry: str | None = None
    """key of the weights in files with several sets, such as model"""
    options: tuple[str, ...] = ()
    """options that do not follow from the weights, NAME=VALUE: residual=false (deblurgan trained
    without learn_residual), dropout=0 (deblurgan of one convolution trained with no_dropout),
    pool_window=384 (nafnet with its local converter)"""
    license: str = ""
    """license of the weights, stored in the checkpoint"""
    overwrite: bool = False
    """replace a checkpoint in the folder"""


@dataclasses.dataclass(frozen=True)
class ConvertResult:
    """A converted checkpoint.

    Attributes:
        path: Folder of the checkpoint.
        meta: Content of its `meta.json`: `model` is the network with its options, `origin` the
            source of the weights.
        arrays: Number of converted arrays.
        omitted: Numbers of omitted arrays by reason.
        parameters: Number of parameters of the network.
    """

    path: str
    meta: Mapping[str, Any]
    arrays: int
    omitted: Mapping[str, int]
    parameters: int


def run(config: ConvertConfig) -> ConvertResult:
    """Converts a weights file to a checkpoint.

    Args:
        config: Settings of the conversion.

    Returns:
        The checkpoint.

    Raises:
        ConfigError: Unknown architecture or option.
        DataError: The file is damaged, or its weights do not fit the network.
        UserError: The file contains several sets of weights, or the folder cannot be written.
    """
    require_tensorflow()
    from tfdeblur.porting import conversion, reading
    from tfdeblur.porting.architectures import REGISTRY

    out = config.out.rstrip("/") or config.out
    chosen = conversion.parse_choices(config.options)
    if config.architecture:
        # Rejects an unknown name before a large file is read.
        REGISTRY.load(config.architecture)
    conversion.refuse_other_content(out, config.overwrite)
    weights = reading.read(config.weights, config.entry)
    architecture = config.architecture or conversion.recognize(weights)
    ported = conversion.port(weights, architecture, chosen)
    origin = {
        "file": files.base_name(config.weights),
        "sha256": weights.sha256,
        "entry": weights.entry,
        "architecture": architecture,
        "repository": REGISTRY.load(architecture).REPOSITORY,
        "license": config.license,
    }
    meta = conversion.write(ported, out, origin)
    parameters = ported.generator.network.count_params()
    return ConvertResult(out, meta, ported.arrays, ported.omitted, parameters)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(
        ConvertConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.convert",
        description=(
            "Converts published PyTorch weights of networks such as NAFNet, with the array names "
            "of their authors' code, to a checkpoint. PyTorch is not needed, and no code in "
            "the file is run."
        ),
    )


def _run_and_report(config: ConvertConfig) -> int:
    result = run(config)
    model = dict(result.meta["model"])
    name = model.pop("name")
    options = ", ".join(f"{option} {value}" for option, value in model.items())
    print(f"{name} with {result.parameters:,} parameters written to {result.path}")
    print(f"  {options}")
    print(f"  {result.arrays} arrays converted")
    for reason, count in result.omitted.items():
        print(f"  {count} omitted: {reason}")
    if not config.license:
        print("  the license of the weights is their authors'; store it with --license")
    place = shlex.quote(result.path)
    print(f"Use it: python -m tfdeblur.deblur PHOTO -o OUT --model {place}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
