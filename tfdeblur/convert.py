"""Command: takes over weights that were trained with PyTorch.

::

    python -m tfdeblur.convert --weights NAFNet-GoPro-width32.pth --out nafnet32

Reads the published weights of MIMO-UNet and MIMO-UNet+, DeblurGAN and NAFNet, by the names of their
authors' code, and writes a checkpoint that `tfdeblur.load` and the commands take: deblur, evaluate,
export, and train's `--init-from`. PyTorch is not needed, and no code in the file is run. `run` does
the same for a notebook.
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from tfdeblur import cli
from tfdeblur.cli.environment import require_tensorflow


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """What is taken over, and where to."""

    weights: Annotated[
        str,
        Field(description="file of torch.save (.pth), safetensors or numpy.savez", min_length=1),
    ]
    out: Annotated[str, Field(description="folder of the checkpoint to write", min_length=1)]
    architecture: Annotated[
        str | None,
        Field(description="mimo_unet, deblurgan or nafnet; recognized where not given"),
    ] = None
    entry: Annotated[
        str | None,
        Field(description="which weights are meant, where a file holds several, such as model"),
    ] = None
    options: Annotated[
        tuple[str, ...],
        Field(
            description="what weights do not tell of a network, NAME=VALUE: residual=false "
            "(deblurgan trained without learn_residual), pool_window=384 (nafnet with its local "
            "converter)"
        ),
    ] = ()
    license: Annotated[
        str, Field(description="terms of the weights, which are their authors'; kept as a note")
    ] = ""
    overwrite: Annotated[bool, Field(description="replace a checkpoint in the folder")] = False


@dataclasses.dataclass(frozen=True)
class ConvertResult:
    """What was taken over.

    Attributes:
        path: Folder of the checkpoint.
        meta: Content of its `meta.json`; `model` is the network with its options and `origin`
            tells where the weights come from.
        arrays: How many arrays of the file were taken over.
        left_out: How many were not, by the reason.
        parameters: Numbers in the network.
    """

    path: str
    meta: Mapping[str, Any]
    arrays: int
    left_out: Mapping[str, int]
    parameters: int


def run(config: ConvertConfig) -> ConvertResult:
    """Makes a checkpoint of a file of weights.

    Args:
        config: What is taken over.

    Returns:
        Where it lies and what it is.

    Raises:
        ConfigError: An architecture or option that there is not.
        DataError: The file cannot be read, or its weights are not those of the network.
        UserError: The file holds several sets of weights, or the folder cannot be written.
    """
    require_tensorflow()
    from tfdeblur.io import files
    from tfdeblur.porting import conversion, reading
    from tfdeblur.porting.architectures import REGISTRY

    out = config.out.rstrip("/") or config.out
    chosen = conversion.parse_choices(config.options)
    if config.architecture:
        # A wrong name should be known before a large file is read.
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
    return ConvertResult(out, meta, ported.arrays, ported.left_out, parameters)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        ConvertConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.convert",
        description=(
            "Takes over weights that were trained with PyTorch: published ones of MIMO-UNet, "
            "DeblurGAN and NAFNet, by the names of their authors' code. PyTorch is not needed, "
            "and no code in the file is run."
        ),
    )


def _run_and_report(config: ConvertConfig) -> int:
    result = run(config)
    model = dict(result.meta["model"])
    name = model.pop("name")
    options = ", ".join(f"{option} {value}" for option, value in model.items())
    print(f"{name} with {result.parameters:,} parameters written to {result.path}")
    print(f"  {options}")
    print(f"  {result.arrays} arrays taken over, each into its place")
    for reason, count in result.left_out.items():
        print(f"  {count} left out: {reason}")
    if not config.license:
        print("  the weights have their authors' terms; --license keeps a note of them")
    place = shlex.quote(result.path)
    print(f"Restore with it: python -m tfdeblur.deblur PHOTO -o OUT --model {place}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
