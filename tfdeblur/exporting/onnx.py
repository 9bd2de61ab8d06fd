"""ONNX files: one network for images of any size, for runtimes other than TensorFlow.

For example onnxruntime::

    session = onnxruntime.InferenceSession("model.onnx")
    (restored,) = session.run(["restored"], {"images": images})
"""

from typing import Any

from tfdeblur.errors import UserError
from tfdeblur.exporting.function import INPUT, OUTPUT, as_function
from tfdeblur.io import files
from tfdeblur.models.generator import Generator

# The first with all operations of the networks; onnxruntime reads it from 1.14 (2023) on.
OPSET = 18


def write(generator: Generator, path: str, *, size: tuple[int, int] | None = None) -> None:
    """Writes a generator as an ONNX file.

    Args:
        generator: The trained generator.
        path: File to write; any scheme that TensorFlow writes.
        size: Height and width of the images in pixels, for a batch of one; None for any sizes
            and any batch. Runtimes that allocate memory ahead of time require it.

    Raises:
        UserError: tf2onnx is not installed, or the file cannot be written.
    """
    try:
        import tf2onnx
    except ImportError as error:
        raise UserError(
            "--format onnx needs tf2onnx, which is not installed: pip install 'tfdeblur[onnx]', "
            "or pip install tf2onnx onnx."
        ) from error
    function = as_function(generator, size, batch=1 if size else None)
    proto, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=OPSET
    )
    _check_names(proto)
    files.write_bytes(path, proto.SerializeToString())


def _check_names(proto: Any) -> None:
    graph = proto.graph
    names = [value.name for value in graph.input], [value.name for value in graph.output]
    if names != ([INPUT], [OUTPUT]):
        raise UserError(
            f"tf2onnx named the inputs and outputs {names} instead of {INPUT} and {OUTPUT}; "
            "try another version of tf2onnx."
        )
