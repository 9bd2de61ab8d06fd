"""A trace of some training steps, for TensorBoard."""

import shutil
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
from tqdm import tqdm

from tfdeblur.io import files
from tfdeblur.ops.lazy import tensorflow as tf
from tfdeblur.training.callbacks import Callback
from tfdeblur.training.history import TENSORBOARD
from tfdeblur.training.loop import Report

if TYPE_CHECKING:
    from tfdeblur.training.trainer import Trainer


class Profiler:
    """Traces the second call of steps; the first one includes compilation.

    Args:
        run: The run. The process that owns the work directory writes the trace to its
            ``tensorboard`` folder.

    Attributes:
        begin: The callback that is called last, after validation and checkpoints.
        end: The callback that is called first.
    """

    def __init__(self, run: "Trainer") -> None:
        self._out = files.join(run.output, TENSORBOARD)
        self._folder: str | None = None
        self._done = not run.owns_workdir
        # The length of the loop's own calls: another one would be compiled.
        every = f"{run.config.runtime.steps_per_loop} steps"
        self.begin = _At(every, self._begin)
        self.end = _At(every, self._end)

    def _begin(self, report: Report) -> None:
        if self._done or self._folder is not None:
            return
        if report.last:
            tqdm.write("warning: output.profile: the run ended before the steps to trace.")
            return
        self._folder = tempfile.mkdtemp()
        if keras.backend.backend() == "jax":
            import jax

            jax.profiler.start_trace(self._folder)
        else:
            tf.profiler.experimental.start(self._folder)

    def _end(self, report: Report) -> None:
        if self._folder is None:
            return
        if keras.backend.backend() == "jax":
            import jax

            jax.profiler.stop_trace()
        else:
            tf.profiler.experimental.stop()
        # The profilers write to fewer file systems.
        files.copy_tree(self._folder, self._out)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder, self._done = None, True
        tqdm.write(f"Trace of the steps before image {report.images:,}: {self._out}")


class _At(Callback):
    """Calls a function at an interval."""

    def __init__(self, every: str, call: Callable[[Report], None]) -> None:
        self.every = every
        self._call = call

    def __call__(self, report: Report) -> None:
        """Calls the function with the report."""
        self._call(report)
