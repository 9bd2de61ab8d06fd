"""Program: times a recipe's step, its input and matrix products, for a few seconds each."""

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfdeblur.diagnostics.finding import Finding
from tfdeblur.io import subprocesses

if TYPE_CHECKING:
    import tensorflow as tf

    from tfdeblur.config import TrainConfig
    from tfdeblur.data.pipeline import TrainingData

# Seconds for the step and for the input; a tenth of it for each kind of matrix product.
SECONDS = 5.0

# Tracing and compiling come before the first step.
LIMIT = 600

# Training is held up where the input is not faster than the step by this factor.
_MARGIN = 1.2

_STEPS = 5
_MATRIX = 1024
_RECORDS = 512


def findings(recipe: str, data: Sequence[str], tpu: str | None) -> list[Finding]:
    """Measures in a program of its own.

    Args:
        recipe: Whose step is timed.
        data: Folders of `data_prep.build`; made-up records where there are none.
        tpu: As for `--tpu` of training.
    """
    request = {"recipe": recipe, "data": list(data), "tpu": tpu, "seconds": SECONDS}
    # This machine alone is timed: as one of several workers it would wait for the others.
    answer = subprocesses.ask(__name__, request, seconds=LIMIT, environment={"TF_CONFIG": ""})
    if answer.error:
        advice = f"See what it says: python -m tfdeblur.train --recipe {recipe} --steps 10 ..."
        return [Finding("measured step", "wrong", answer.error, advice)]
    return judged(answer.values)


def judged(values: Mapping[str, Any]) -> list[Finding]:
    """Draws conclusions from what was measured.

    Args:
        values: What the program answers: ``step`` and ``input`` in images a second, ``first`` in
            seconds, ``float32`` and ``bfloat16`` in operations a second, and words.
    """
    step, input_rate = values["step"], values["input"]
    found = [
        Finding(
            "measured step",
            "ok",
            f"{step:,.0f} images/s with {values['recipe']} ({values['size']}, batch "
            f"{values['batch']}, {values['policy']}), the first after {values['first']:.0f} s",
        )
    ]
    text = f"{input_rate:,.0f} images/s from {values['source']}"
    if input_rate >= _MARGIN * step:
        found.append(Finding("measured input", "ok", text))
    else:
        advice = (
            "Training would wait for data: --data.cache where they fit in memory, "
            "data_prep.build --encoding raw, a faster disk, or more cores."
        )
        found.append(Finding("measured input", "warning", f"{text}: too slow", advice))
    gain = values["bfloat16"] / values["float32"]
    text = (
        f"matrix products in bfloat16 are {gain:.1f} times as fast as in float32 "
        f"({values['bfloat16'] / 1e9:,.0f} against {values['float32'] / 1e9:,.0f} GFLOP/s)"
    )
    if gain < 1 and values["policy"] == "mixed_bfloat16":
        found.append(Finding("bfloat16", "warning", text, "Train with --precision float32."))
    else:
        found.append(Finding("bfloat16", "ok", text))
    return found


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    from tfdeblur import config
    from tfdeblur.data import inputs
    from tfdeblur.tpu.targets import recipe_target
    from tfdeblur.training import trainer
    from tfdeblur.training.engines.tensorflow import runtime

    strategy = runtime.make_strategy("auto", request["tpu"])
    policy = runtime.resolve_precision("auto", strategy)
    with tempfile.TemporaryDirectory() as folder, runtime.precision_scope(policy):
        target = recipe_target(request["recipe"])
        source = ", ".join(request["data"]) or "made-up records"
        paths = request["data"] or [_made_up(folder, target.height, target.width)]
        replicas = strategy.num_replicas_in_sync
        run_config = config.resolve(
            {
                "recipe": request["recipe"],
                "workdir": os.path.join(folder, "run"),
                "data": {"paths": list(paths)},
                "training": {"global_batch": target.batch * replicas, "init_from": None},
                # A call can only be waited for: on a slow machine fifty steps take minutes.
                "runtime": {"steps_per_loop": _STEPS},
            }
        )
        data = inputs.open_training_data(run_config)
        run = trainer.Run(run_config, strategy, data, run_config.workdir)
        begin = time.monotonic()
        step, first = _step_rate(run, request["seconds"])
        return {
            "recipe": request["recipe"],
            "size": f"{data.width}x{data.height}",
            "batch": run.global_batch,
            "policy": policy,
            "source": source,
            "step": step,
            "first": first - begin,
            "input": _input_rate(data, run_config, request["seconds"]),
            **{
                dtype: _product_rate(strategy, dtype, request["seconds"] / 10)
                for dtype in ("float32", "bfloat16")
            },
        }


def _step_rate(run: Any, seconds: float) -> tuple[float, float]:
    """Returns images a second, and when the first call was over; nothing is kept of the run."""
    ends: list[float] = []
    images = 0

    def count(done: int, metrics: Mapping[str, float]) -> None:
        nonlocal images
        # The first call traces and compiles.
        images += done if ends else 0
        ends.append(time.monotonic())

    def enough() -> bool:
        return len(ends) > 1 and ends[-1] - ends[0] > seconds

    run.loop.run(iter(run.batches()), sys.maxsize // 2, [], count, enough)
    return images / (ends[-1] - ends[0]), ends[0]


def _input_rate(data: "TrainingData", run_config: "TrainConfig", seconds: float) -> float:
    batch = run_config.training.global_batch
    iterator = iter(data.dataset(batch))
    next(iterator)
    return _rate(lambda: next(iterator), seconds) * batch


def _product_rate(strategy: "tf.distribute.Strategy", dtype: str, seconds: float) -> float:
    """Returns floating-point operations a second of one device in a matrix product."""
    import tensorflow as tf

    with tf.device(strategy.extended.worker_devices[0]):
        matrix = tf.ones([_MATRIX, _MATRIX], dtype)

        @tf.function
        def product() -> Any:
            return tf.reduce_max(tf.matmul(matrix, matrix))

        product().numpy()
        return _rate(lambda: product().numpy(), seconds) * 2.0 * _MATRIX**3


def _rate(call: Callable[[], object], seconds: float) -> float:
    """Returns how often a second something can be done."""
    begin = time.monotonic()
    count = 0
    while not count or time.monotonic() - begin < seconds:
        call()
        count += 1
    return count / (time.monotonic() - begin)


def _made_up(folder: str, height: int, width: int) -> str:
    """Writes a small data set of noise; returns its folder."""
    import numpy as np
    import tensorflow as tf

    from tfdeblur.data import schema
    from tfdeblur.io import files

    path = files.join(folder, "data")
    files.make_dirs(path)
    # No more than 64 MiB, however large the pictures.
    count = max(8, min(_RECORDS, (64 << 20) // (height * width * 6)))
    random = np.random.default_rng(0)
    name = schema.shard_name("train", 0, 1)
    with tf.io.TFRecordWriter(files.join(path, name)) as writer:
        for index in range(count):
            pixels = random.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
            record = schema.Record(
                pixels[0], pixels[1], "noise", f"{index:04d}", 0, 0, height, width
            )
            writer.write(schema.encode_record(record, "raw"))
    content = files.read_bytes(files.join(path, name))
    shard = schema.Shard(name, count, len(content), hashlib.sha256(content).hexdigest())
    split = schema.Split(height, width, "raw", count, ("noise",), (shard,))
    schema.Manifest(source="made up", blur={}, options={}, splits={"train": split}).save(path)
    return path


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
