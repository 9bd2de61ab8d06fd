"""Command: exports a generator as a SavedModel, a file for another runtime, or a preset for a hub.

::

    python -m tfdeblur.export --workdir WORKDIR
    python -m tfdeblur.export --workdir WORKDIR --format onnx
    python -m tfdeblur.export --workdir WORKDIR --format litert --size 640x360 --weights float16
    python -m tfdeblur.export --workdir WORKDIR --format pytorch -o model.pth
    python -m tfdeblur.export --workdir WORKDIR --format hub --weights float16 -o NAME

`run` does the same for a notebook.
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from tfdeblur import cli
from tfdeblur.cli.environment import require_tensorflow
from tfdeblur.config.fields import Size
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.io import files

Format = Literal["saved_model", "litert", "onnx", "pytorch", "hub"]

# File names in the work directory, used if `out` is unset.
DEFAULT_NAMES: dict[Format, str] = {
    "saved_model": "saved_model",
    "litert": "model.tflite",
    "onnx": "model.onnx",
    "pytorch": "pytorch.safetensors",
    "hub": "",  # the folder's name becomes the preset's, so it is always given
}
SUFFIXES: dict[Format, tuple[str, ...]] = {
    "litert": (".tflite",),
    "onnx": (".onnx",),
    "pytorch": (".safetensors", ".pth"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of the export command."""

    workdir: str = ""
    """work directory of tfdeblur.train, or a checkpoint; or give --model"""
    model: str = ""
    """name of a preset, or its folder, or a checkpoint, instead of --workdir"""
    out: str = ""
    """folder or file to write; if unset, saved_model, model.tflite, model.onnx or
    pytorch.safetensors in WORKDIR; required with --model and --format hub"""
    format: Format = "saved_model"
    """saved_model: a folder for TensorFlow; litert: a file for phones, for one image size; onnx: a
    file for other runtimes (extra onnx); pytorch: weights of nafnet, fftformer or restormer that
    spandrel reads, .pth or .safetensors as --out ends; hub: a folder of weights, facts and model
    card, which --model and --init-from take"""
    size: Size | None = None
    """litert, onnx: size of the images, WIDTHxHEIGHT; onnx: any size if unset"""
    weights: Literal["float32", "float16"] = "float32"
    """litert, hub: precision of the stored weights; float16 halves the file"""
    checkpoint: Literal["best", "last"] = "best"
    """which checkpoint of the work directory"""
    tlc: int | Literal["auto", "off"] = "auto"
    """for networks that pool over the whole image: side of the window to pool over instead, in
    pixels; auto: 1.5 times the training crops"""
    max_pixels: Annotated[int | None, Field(ge=1)] = None
    """saved_model: requests of more pixels (batch x height x width; bytes: each image) fail before
    they need memory; unlimited if unset"""
    license: str = ""
    """hub: SPDX identifier of the license of the weights"""
    scores: str = ""
    """hub: scores.json of an evaluation of the preset, for its model card"""
    overwrite: bool = False
    """replace a file, write into a folder of other files, or replace a preset, whose texts are
    kept"""


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
    """Writes a SavedModel with float, uint8 and bytes signatures, another file, or a preset.

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
    out = config.out.rstrip("/") or files.join(config.workdir, DEFAULT_NAMES[config.format])
    if config.format == "hub":
        from tfdeblur.exporting import hub

        hub.check_target(out, config.overwrite)
    elif config.format != "saved_model":
        from tfdeblur.exporting import function

        function.check_target(out, SUFFIXES[config.format], config.overwrite)
    folder = checkpoint_folder(config.workdir or config.model, config.checkpoint)
    trained, meta = load_generator(folder)
    generator = tlc.convert(trained, config.tlc, folder)
    description: dict[str, Any] = {"model": {"name": generator.name, **dict(generator.options)}}
    if config.format == "saved_model":
        from tfdeblur.exporting import saved_model

        about: dict[str, Any] = {
            name: meta[name] for name in ("images", "averaged", "metrics", "origin") if name in meta
        }
        description = saved_model.export_saved_model(
            generator, out, about=about, max_pixels=config.max_pixels, overwrite=config.overwrite
        )
    elif config.format == "hub":
        hub.write(
            generator,
            out,
            meta,
            config=tlc.config_of(folder),
            precision=config.weights,
            license=config.license,
            scores=config.scores,
        )
    elif config.format == "litert":
        from tfdeblur.exporting import litert

        assert config.size is not None
        litert.write(generator, out, size=config.size, weights=config.weights)
    elif config.format == "pytorch":
        from tfdeblur.porting import torch_export

        description["loader"] = torch_export.write(generator, out)
    else:
        from tfdeblur.exporting import onnx

        onnx.write(generator, out, size=config.size)
    return ExportResult(out, description)


def _check(config: ExportConfig) -> None:
    if bool(config.workdir) == bool(config.model):
        raise UserError("Give one of --workdir (a run) and --model (a preset or checkpoint).")
    if not config.out and (config.model or config.format == "hub"):
        raise ConfigError("out: --model and --format hub require --out, the place to write to.")
    if config.format == "litert" and config.size is None:
        raise ConfigError("size: --format litert requires --size WIDTHxHEIGHT.")
    if config.format in ("saved_model", "pytorch", "hub") and config.size is not None:
        raise ConfigError(
            f"size: --format {config.format} is for images of any size; remove --size."
        )
    if config.format not in ("litert", "hub") and config.weights != "float32":
        raise ConfigError("weights: --weights float16 requires --format litert or hub.")
    if config.format != "saved_model" and config.max_pixels is not None:
        raise ConfigError("max_pixels: --max-pixels requires --format saved_model.")
    for name in ("license", "scores"):
        if config.format != "hub" and getattr(config, name):
            raise ConfigError(f"{name}: --{name} requires --format hub.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        ExportConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.export",
        description=(
            "Exports a generator as a SavedModel for images of any size, as a LiteRT or ONNX file, "
            "or as weights for PyTorch, which all run without tfdeblur; or as a preset: a folder "
            "with weights, facts and model card for a model hub."
        ),
        short={"out": "o"},
    )


def _run_and_report(config: ExportConfig) -> int:
    result = run(config)
    model = result.description["model"]
    if config.format == "hub":
        place = shlex.quote(result.path)
        print(f"{model['name']} written to {result.path}")
        print(f"Evaluate it: python -m tfdeblur.evaluate --model {place} --data DATA")
        print(
            "Describe it: edit the texts of preset.yaml (about, license, terms, training), and "
            f"export it again:\n  python -m tfdeblur.export --model {place} --format hub "
            f"--weights {config.weights} --overwrite -o {place} [--scores FOLDER/scores.json]"
        )
        return 0
    if config.format == "pytorch":
        print(
            f"{model['name']} written to {result.path} for PyTorch: pip install "
            f"{result.description['loader']}, then spandrel.ModelLoader().load_from_file"
        )
        return 0
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
