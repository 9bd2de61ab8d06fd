"""Cost of blur synthesized on the fly: the same input pipeline with and without it.

    python -m benchmarks.synthesis

Records of random images are written to a temporary folder in raw encoding, so that reading is as
fast as possible. Then these alternate in one process, so that other load on the machine affects all
of them equally:

* `stored`: `tfdeblur.data.pipeline.TrainingData` with the stored blurred images;
* `gaussian`, `disc`, `trajectory`, `varying`, `camera`: the same with `synthesis`; `varying` has
  four kernels per image, and `camera` adds linear light, highlights, noise and JPEG to one;
* `scipy`: padded float32 images convolved with precomputed kernels by `scipy.signal.fftconvolve`,
  in as many threads as there are cores.

Results are medians over all rounds, timed until the last batch has arrived. A ratio of 0.5 means
that synthesizing the blur takes as long as the rest of the pipeline.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import scipy.signal
import tensorflow as tf

from tfdeblur.config import DataConfig
from tfdeblur.data import schema
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.degradation import kernels
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.io import files

# Enough to use up prefetched batches and for autotuning to settle.
WARM_UP_BATCHES = 6


def contestants() -> dict[str, Degradation | None]:
    """Returns the degradations to compare, by name; None is the stored blur."""
    trajectory = Degradation(blur="trajectory")
    camera = dataclasses.replace(
        trajectory, linear_light=True, highlights=4.0, read_noise=0.01, shot_noise=0.02, jpeg=50
    )
    return {
        "stored": None,
        "gaussian": Degradation(blur="gaussian"),
        "disc": Degradation(blur="disc"),
        "trajectory": trajectory,
        "varying": dataclasses.replace(trajectory, variation=0.5),
        "camera": camera,
    }


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=32, help="images per batch")
    parser.add_argument("--records", type=int, default=256, help="images in the data set")
    parser.add_argument("--rounds", type=int, default=5, help="turns per contestant")
    parser.add_argument("--batches", type=int, default=8, help="batches per turn")
    arguments = parser.parse_args()
    batch, count = arguments.batch, arguments.batches
    turns: dict[str, Callable[[], float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_records(folder, arguments.records, arguments.size)
        for name, options in contestants().items():
            data = TrainingData(DataConfig(paths=(folder,), cache="off"), synthesis=options)
            dataset = data.dataset(batch)
            turns[name] = functools.partial(pipeline_speed, dataset, batch, count)
        turns["scipy"] = functools.partial(scipy_speed, arguments.size, batch)
        speeds: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(arguments.rounds):
            for name, turn in turns.items():
                speeds[name].append(turn())
    stored = statistics.median(speeds["stored"])
    side = f"{arguments.size}x{arguments.size}"
    print(f"{side}, batch {batch}, {os.cpu_count()} cores:")
    for name, values in speeds.items():
        median = statistics.median(values)
        print(
            f"  {name:11s}{median:9.1f} images/s ({min(values):.1f} to {max(values):.1f}), "
            f"{median / stored:.3f} of stored"
        )
    return 0


def write_records(folder: str, records: int, size: int) -> None:
    """Writes a data set of blocks of random colors, in one raw shard."""
    rng = np.random.default_rng(0)

    def record(number: int) -> schema.Record:
        colors = rng.integers(0, 256, (-(-size // 8), -(-size // 8), 3), np.uint8)
        picture = colors.repeat(8, axis=0).repeat(8, axis=1)[:size, :size]
        return schema.Record(picture, picture, "scene", f"{number}", 0, 0, size, size)

    shard = schema.write_shard(
        files.join(folder, schema.shard_name("train", 0, 1)),
        (schema.encode_record(record(number), "raw") for number in range(records)),
    )
    split = schema.Split(size, size, "raw", records, ("scene",), (shard,))
    schema.Manifest("benchmark", {"kind": "none"}, {}, {"train": split}).save(folder)


def pipeline_speed(dataset: tf.data.Dataset, batch: int, batches: int) -> float:
    """Returns images per second of a pipeline, after warm-up."""
    iterator = iter(dataset)
    for _ in range(WARM_UP_BATCHES):
        next(iterator)
    begin = time.perf_counter()
    for _ in range(batches):
        last = next(iterator)["blurred"]
    last.numpy()
    return batch * batches / (time.perf_counter() - begin)


def scipy_speed(size: int, pictures: int) -> float:
    """Returns images per second of SciPy's convolution only, on all cores."""
    rng = np.random.default_rng(0)
    paths = kernels.trajectories(kernels.draw_trajectories(rng, pictures), 60.0)
    shapes = [kernels.path_kernel(path, 64)[..., None] for path in paths]
    padded = rng.uniform(size=(pictures, size + 64, size + 64, 3)).astype(np.float32)

    def convolve(number: int) -> np.ndarray:
        return scipy.signal.fftconvolve(padded[number], shapes[number], "valid", axes=(0, 1))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        convolve(0)
        begin = time.perf_counter()
        for _ in pool.map(convolve, range(pictures)):
            pass
        return pictures / (time.perf_counter() - begin)


if __name__ == "__main__":
    sys.exit(main())
