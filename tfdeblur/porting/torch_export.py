"""Weights for PyTorch: a generator's weights under the names of its authors' code.

The file is safetensors, which holds no program, or a ``.pth`` file, for programs that read only
those. spandrel, and so chaiNNer and ComfyUI, reads both::

    from spandrel import ModelLoader
    network = ModelLoader().load_from_file("model.safetensors")
"""

from tfdeblur.checkpoints.arrays import write_arrays
from tfdeblur.errors import ConfigError
from tfdeblur.io import files
from tfdeblur.models.generator import Generator
from tfdeblur.porting import mapping, torch_writing
from tfdeblur.porting.architectures import REGISTRY


def check(generator: Generator) -> None:
    """Checks that PyTorch code reads the weights of a generator.

    Raises:
        ConfigError: There is none that is known for this network, or it has other sizes.
    """
    loaders = {n: m for n in REGISTRY.names() if hasattr(m := REGISTRY.load(n), "LOADER")}
    if generator.name not in loaders:
        raise ConfigError(
            f"format: --format pytorch is for {', '.join(loaders)}, which spandrel reads, and not "
            f"for {generator.name}. ONNX files run everywhere: --format onnx."
        )
    module = loaders[generator.name]
    scales = len(generator.options.get("blocks", ()))
    if module.LOADER_SCALES not in (None, scales):
        raise ConfigError(
            f"format: {module.LOADER} reads a {generator.name} of {module.LOADER_SCALES} scales, "
            f"and this one has {scales} (model.blocks). ONNX files run everywhere: --format onnx."
        )


def write(generator: Generator, path: str) -> str:
    """Writes the weights of a generator for PyTorch.

    Args:
        generator: The trained generator; a window of TLC is not part of the file.
        path: The ``.safetensors`` or ``.pth`` file to write; any scheme that TensorFlow writes.

    Returns:
        The package that reads the file, ``spandrel`` or ``spandrel-extra-arches``.

    Raises:
        ConfigError: See `check`.
        UserError: The file cannot be written.
    """
    check(generator)
    module = REGISTRY.load(generator.name)
    arrays = mapping.extract(generator, module.layout(generator.options))
    if path.endswith(".pth"):
        files.write_bytes(path, torch_writing.serialized(arrays))
    else:
        write_arrays(path, arrays)
    loader: str = module.LOADER
    return loader
