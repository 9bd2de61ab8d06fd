"""Command: exports the generator of a run as a SavedModel, a LiteRT file or an ONNX file.

::

    python -m tfdeblur.export --workdir WORKDIR
    python -m tfdeblur.export --workdir WORKDIR --format onnx
    python -m tfdeblur.export --workdir WORKDIR --format litert --size 640x360 --weights float16

`run` does the same for a notebook.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from tfdeblur import cli
from tfdeblur.cli.environment import require_tensorflow
from tfdeblur.config.fields import Size
from tfdeblur.errors import ConfigError
from tfdeblur.io import files

Format = Literal["saved_model", "litert", "onnx"]

# File names in the work directory, used if `out` is unset.
DEFAULT_NAMES: dict[Format, str] = {
    "saved_model": "saved_model",
    "litert": "model.tflite",
    "onnx": "model.onnx",
}
SUFFIXES: dict[Format, str] = {"litert": ".tflite", "onnx": ".onnx"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of the export command."""

    workdir: Annotated[
        str, Field(description="work directory of tfdeblur.train, or a checkpoint", min_length=1)
    ]
    out: Annotated[
        str,
        Field(
            description="folder or file to write; if unset, saved_model, model.tflite or "
            "model.onnx in WORKDIR"
        ),
    ] = ""
    format: Annotated[
        Format,
        Field(
            description="saved_model: a folder for TensorFlow; litert: a file for phones, for one "
            "image size; onnx: a file for other runtimes (extra onnx)"
        ),
    ] = "saved_model"
    size: Annotated[
        Size | None,
        Field(
            description="litert, onnx: size of the images, WIDTHxHEIGHT; onnx: any size if unset"
        ),
    ] = None
    weights: Annotated[
        Literal["float32", "float16"],
        Field(description="litert: precision of the stored weights; float16 halves the file"),
    ] = "float32"
    checkpoint: Annotated[
        Literal["best", "last"], Field(description="which checkpoint of the work directory")
    ] = "best"
    tlc: Annotated[
        int | Literal["auto", "off"],
        Field(
            description="for networks that pool over the whole image: side of the window to pool "
            "over instead, in pixels; auto: 1.5 times the training crops"
        ),
    ] = "auto"
    overwrite: Annotated[
        bool,
        Field(description="replace a file, or write into a folder of other files"),
    ] = False


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """The exported folder or file.

    Attributes:
        path: The folder or file.
        description: The network and its options (`model`); for a SavedModel, the content of its
            `tfdeblur.json`.
    """

    path: str
    description: Mapping[str, Any]


def run(config: ExportConfig) -> ExportResult:
    """Writes a SavedModel with float, uint8 and bytes signatures, or a file for other runtimes.

    Args:
        config: Settings of the command.

    Raises:
        ConfigError: A setting is missing, or belongs to another format.
        UserError: There is no checkpoint, the network does not support this format, or the
            output exists.
    """
    require_tensorflow()
    from tfdeblur.checkpoints.weights import checkpoint_folder, load_generator
    from tfdeblur.inference import tlc

    _check(config)
    out = config.out or files.join(config.workdir, DEFAULT_NAMES[config.format])
    if config.format != "saved_model":
        from tfdeblur.exporting import function

        function.check_target(out, SUFFIXES[config.format], config.overwrite)
    folder = checkpoint_folder(config.workdir, config.checkpoint)
    trained, meta = load_generator(folder)
    generator = tlc.convert(trained, config.tlc, folder)
    description: dict[str, Any] = {"model": {"name": generator.name, **dict(generator.options)}}
    if config.format == "saved_model":
        from tfdeblur.exporting import saved_model

        about: dict[str, Any] = {
            name: meta[name] for name in ("images", "averaged", "metrics", "origin") if name in meta
        }
        description = saved_model.export_saved_model(
            generator, out, about=about, overwrite=config.overwrite
        )
    elif config.format == "litert":
        from tfdeblur.exporting import litert

        assert config.size is not None
        litert.write(generator, out, size=config.size, weights=config.weights)
    else:
        from tfdeblur.exporting import onnx

        onnx.write(generator, out, size=config.size)
    return ExportResult(out, description)


def _check(config: ExportConfig) -> None:
    if config.format == "litert" and config.size is None:
        raise ConfigError("size: --format litert requires --size WIDTHxHEIGHT.")
    if config.format == "saved_model" and config.size is not None:
        raise ConfigError("size: a SavedModel restores images of any size; remove --size.")
    if config.format != "litert" and config.weights != "float32":
        raise ConfigError("weights: --weights float16 requires --format litert.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        ExportConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.export",
        description=(
            "Exports the generator of a run as a SavedModel for images of any size, or as a LiteRT "
            "or ONNX file. All run without tfdeblur."
        ),
    )


def _run_and_report(config: ExportConfig) -> int:
    result = run(config)
    model = result.description["model"]
    if config.format != "saved_model":
        size = "any size" if config.size is None else f"{config.size[1]}x{config.size[0]}"
        print(
            f"{model['name']} written to {result.path}, for images of {size}: images float32 "
            "[B, H, W, 3] in [0, 1] -> restored, same shape, clipped"
        )
        return 0
    print(f"{model['name']} written to {result.path}; its signatures:")
    for name, description in result.description["signatures"].items():
        print(f"  {name:<16} {description}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
