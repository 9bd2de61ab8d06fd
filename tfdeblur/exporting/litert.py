"""LiteRT (TensorFlow Lite) files: one network for one image size, for phones and small boards.

The package ai-edge-litert, or TensorFlow, runs them::

    interpreter = ai_edge_litert.interpreter.Interpreter("model.tflite")
    restored = interpreter.get_signature_runner()(images=images)["restored"]
"""

from typing import Any, Literal

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfdeblur.errors import UserError, reason_of
from tfdeblur.exporting.function import OUTPUT, as_function
from tfdeblur.io import files
from tfdeblur.models.generator import Generator

Weights = Literal["float32", "float16"]


def write(
    generator: Generator, path: str, *, size: tuple[int, int], weights: Weights = "float32"
) -> None:
    """Writes a generator as a LiteRT file.

    Args:
        generator: The trained generator.
        path: File to write; any scheme that TensorFlow writes.
        size: Height and width of the images in pixels, fixed in the file.
        weights: Stored precision. With float16 the file is half as large, and results differ by
            about the rounding of an 8-bit image; GPU delegates compute in float16 in any case.

    Raises:
        UserError: The network cannot be converted, or the file cannot be written.
    """
    function = as_function(generator, size, batch=1)
    # The format has no initialized variables.
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())

    @tf.function(input_signature=function.input_signature, autograph=False)
    def restore(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: frozen(images)[0]}

    with files.temporary_folder() as folder:
        # Converted from a SavedModel, to keep the names of inputs and outputs.
        module = tf.Module()
        module.restore = restore
        tf.saved_model.save(module, folder, {"serving_default": restore})
        converter: Any = tf.lite.TFLiteConverter.from_saved_model(folder)
        if weights == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        try:
            content: bytes = converter.convert()
        except (RuntimeError, ValueError, tf.errors.OpError) as error:
            # The converter's own error class is private and derives from one of these.
            raise UserError(
                f"{generator.name} cannot be converted to LiteRT: {reason_of(error)}. "
                "--format saved_model and onnx support every network."
            ) from error
    files.write_bytes(path, content)
