"""Measures a recipe's training step, its input and matrix products; also run as a program."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfdeblur.diagnostics.finding import Finding
from tfdeblur.io import subprocesses

if TYPE_CHECKING:
    from tfdeblur.config import TrainConfig
    from tfdeblur.data.pipeline import TrainingData
    from tfdeblur.execution import Executor

# Seconds for the step and for the input; a tenth of it for each dtype of matrix products.
SECONDS = 5.0

# Timeout in seconds, including tracing and compiling.
TIMEOUT = 600

# The input must be faster than the step by this factor, or training waits for data.
_MIN_INPUT_RATIO = 1.2

_STEPS = 5
# Side of the matrices on CPUs and on accelerators, and the products of one call.
_SIDES, _PRODUCTS = (1024, 8192), 8
_RECORDS = 512


def findings(recipe: str, data: Sequence[str], tpu: str | None) -> list[Finding]:
    """Measures in a subprocess.

    Args:
        recipe: Recipe whose step is timed.
        data: Folders written by `data_prep.build`; if empty, random records are used.
        tpu: As for `--tpu` of training.
    """
    request = {"recipe": recipe, "data": list(data), "tpu": tpu, "seconds": SECONDS}
    # Without TF_CONFIG, because a worker of a cluster would wait for the others.
    reply = subprocesses.call(__name__, request, seconds=TIMEOUT, environment={"TF_CONFIG": ""})
    if reply.error:
        advice = f"Reproduce it: python -m tfdeblur.train --recipe {recipe} --steps 10 ..."
        return [Finding("measured step", "wrong", reply.error, advice)]
    return evaluate(reply.values)


def evaluate(values: Mapping[str, Any]) -> list[Finding]:
    """Returns the findings for the measured values.

    Args:
        values: ``step`` and ``input`` in images/s, ``first`` in seconds, ``float32`` and
            ``bfloat16`` in FLOP/s, and the texts ``recipe``, ``size``, ``policy`` and ``source``.
    """
    step, input_rate = values["step"], values["input"]
    found = [
        Finding(
            "measured step",
            "ok",
            f"{step:,.0f} images/s with {values['recipe']} ({values['size']}, batch "
            f"{values['batch']}, {values['policy']}); the first steps took "
            f"{values['first']:.0f} s, with compilation",
        )
    ]
    text = f"{input_rate:,.0f} images/s from {values['source']}"
    if input_rate >= _MIN_INPUT_RATIO * step:
        found.append(Finding("measured input", "ok", text))
    else:
        advice = (
            "Training would wait for data. Use --data.cache if the data fit in memory, "
            "data_prep.build --encoding raw, a faster disk, or more cores."
        )
        found.append(Finding("measured input", "warning", f"{text}: too slow", advice))
    gain = values["bfloat16"] / values["float32"]
    text = (
        f"matrix products in bfloat16 are {gain:.1f} times as fast as in float32 "
        f"({values['bfloat16'] / 1e9:,.0f} and {values['float32'] / 1e9:,.0f} GFLOP/s)"
    )
    if gain < 0.9 and values["policy"] == "mixed_bfloat16":
        found.append(Finding("bfloat16", "warning", text, "Train with --precision float32."))
    else:
        found.append(Finding("bfloat16", "ok", text))
    return found


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    from tfdeblur import config
    from tfdeblur.config.backend import choose_backend
    from tfdeblur.config.train import RuntimeConfig
    from tfdeblur.data import inputs
    from tfdeblur.ops.precision import precision_scope
    from tfdeblur.tpu.targets import recipe_target
    from tfdeblur.training import engines, trainer

    choose_backend({"tpu": request["tpu"]})
    engine = engines.create()
    engine.start(0, RuntimeConfig(tpu=request["tpu"]))
    policy = engine.resolve_precision("auto")
    with tempfile.TemporaryDirectory() as folder, precision_scope(policy):
        target = recipe_target(request["recipe"])
        source = ", ".join(request["data"]) or "random records"
        paths = request["data"] or [_write_random_data(folder, target.height, target.width)]
        run_config = config.resolve(
            {
                "recipe": request["recipe"],
                "workdir": os.path.join(folder, "run"),
                "data": {"paths": list(paths)},
                "training": {
                    "global_batch": target.batch * engine.devices,
                    "stages": [],
                    "init_from": None,
                },
                # A call cannot be interrupted, and on a slow machine the default takes minutes.
                "runtime": {"steps_per_loop": _STEPS, "precision": "auto"},
            }
        )
        data = inputs.open_training_data(run_config)
        run = trainer.Trainer(run_config, train_data=data, engine=engine)
        run.prepare()
        run.build()
        begin = time.monotonic()
        step, first = _step_rate(run, request["seconds"])
        return {
            "recipe": request["recipe"],
            "size": f"{data.width}x{data.height}",
            "batch": run_config.training.global_batch,
            "policy": policy,
            "source": source,
            "step": step,
            "first": first - begin,
            "input": _input_rate(data, run_config, request["seconds"]),
            **{
                dtype: _product_rate(engine.executor(), dtype, request["seconds"] / 10)
                for dtype in ("float32", "bfloat16")
            },
        }


def _step_rate(run: Any, seconds: float) -> tuple[float, float]:
    """Returns images/s, and the time at which the first call ended."""
    ends: list[float] = []
    images = 0

    def count(done: int, metrics: Mapping[str, float]) -> None:
        nonlocal images
        # Without the first call, which traces and compiles.
        images += done if ends else 0
        ends.append(time.monotonic())

    def enough() -> bool:
        return len(ends) > 1 and ends[-1] - ends[0] > seconds

    batches = run.engine.batches(run.data, 0, run.plan)
    run.loop.run(batches, sys.maxsize // 2, [], count, enough)
    return images / (ends[-1] - ends[0]), ends[0]


def _input_rate(data: "TrainingData", run_config: "TrainConfig", seconds: float) -> float:
    batch = run_config.training.global_batch
    iterator = iter(data.batches(batch))
    next(iterator)
    return _rate(lambda: next(iterator), seconds) * batch


def _product_rate(executor: "Executor", dtype: str, seconds: float) -> float:
    """Returns the FLOP/s of one device in matrix products."""
    import keras
    import numpy as np
    from keras import ops

    on_cpu = all(name.startswith("cpu") for name in keras.distribution.list_devices())
    side = _SIDES[0 if on_cpu else 1]

    def products(matrices: Any) -> Any:
        own = found = ops.cast(matrices, dtype)
        for _ in range(_PRODUCTS):
            found = ops.matmul(found, own) / side
        return ops.max(found, axis=(1, 2))

    program = executor.compile(products)
    # One for each device, which all compute at the same time.
    matrices = executor.place(np.ones([executor.devices, side, side], np.float32))
    executor.wait(program(matrices))
    rate = _rate(lambda: executor.wait(program(matrices)), seconds)
    return rate * _PRODUCTS * 2.0 * side**3


def _rate(call: Callable[[], object], seconds: float) -> float:
    """Returns the number of calls per second."""
    begin = time.monotonic()
    count = 0
    while not count or time.monotonic() - begin < seconds:
        call()
        count += 1
    return count / (time.monotonic() - begin)


def _write_random_data(folder: str, height: int, width: int) -> str:
    """Writes a small data set of noise and returns its folder."""
    import numpy as np

    from tfdeblur.training.user_inputs import write_arrays

    path = os.path.join(folder, "data")
    os.mkdir(path)
    # At most 64 MiB, unless 8 records are larger.
    count = max(8, min(_RECORDS, (64 << 20) // (height * width * 6)))
    random = np.random.default_rng(0)
    blurred, sharp = random.integers(0, 256, (2, count, height, width, 3), np.uint8)
    write_arrays(path, "train", (blurred, sharp))
    return path


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
