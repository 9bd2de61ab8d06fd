"""Reading speed of training pairs: the pipeline, a bare tf.data loop, and whole PNG frames.

    python -m benchmarks.input_pipeline --data /data/GOPRO_Large

Real frames are cut into 256x256 tiles and stored in both encodings, raw and PNG. Then these
alternate in one process, so that other load on the machine affects all of them equally:

* `pipeline`: `tfdeblur.data.pipeline.TrainingData` with its shuffled order, random crops and flips;
* `bare`: records of the same files, only parsed, decoded, cropped at a fixed place and batched;
* `frames`: whole frames, read and decoded as PNG files, with one crop from each.

Results are medians over all rounds, of ratios within a round. Targets: ratios of at least 0.85
(pipeline to bare) and 10 (pipeline to frames). The frames are read from the page cache, which
favors all three.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from data_prep import build
from tfdeblur.config import DataConfig
from tfdeblur.config.fields import Size
from tfdeblur.data import schema
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.io import files

TILE = 256
MIN_TO_BARE, MIN_TO_FRAMES = 0.85, 10.0

# Long enough to use up prefetched blocks and for autotuning to settle.
WARM_UP_SECONDS, WARM_UP_IMAGES = 1.5, 1024


def main() -> int:
    """Runs the benchmark; returns 1 if a target ratio was missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="GoPro folder: train or test with SCENE/...")
    parser.add_argument("--crop", type=int, default=224, help="side of the random crops")
    parser.add_argument("--stride", type=int, default=32, help="stride between tiles in pixels")
    parser.add_argument("--batch", type=int, default=16, help="pairs per batch")
    parser.add_argument("--rounds", type=int, default=5, help="turns per contestant")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one turn")
    parser.add_argument("--encodings", nargs="+", default=["raw", "png"], help="raw, png or both")
    arguments = parser.parse_args()
    reached = True
    with tempfile.TemporaryDirectory() as folder:
        source = native_layout(arguments.data, files.join(folder, "source"))
        for encoding in arguments.encodings:
            path = files.join(folder, encoding)
            build_tiles(source, path, encoding, arguments.stride)
            reached &= compare(source, path, encoding, arguments)
    return 0 if reached else 1


def native_layout(data: str, folder: str) -> str:
    """Returns a GoPro folder whose frames are all training frames, linked if necessary."""
    if files.is_dir(files.join(data, "train")):
        return data
    os.makedirs(folder)
    os.symlink(os.path.abspath(files.join(data, "test")), files.join(folder, "train"))
    return folder


def build_tiles(source: str, out: str, encoding: str, stride: int) -> None:
    """Builds overlapping tiles with data_prep."""
    command = ["gopro", "--source", source, "--out", out, "--encoding", encoding]
    command += ["--tile", f"{TILE}x{TILE}", "--stride", f"{stride}x{stride}"]
    if build.main(command):
        sys.exit("The tiles could not be built.")


def compare(source: str, path: str, encoding: str, arguments: argparse.Namespace) -> bool:
    """Times the contestants in alternation; returns whether the ratios reach their targets."""
    crop, batch = arguments.crop, arguments.batch
    data = TrainingData(DataConfig(paths=(path,), crop=Size(crop, crop), cache="off"))
    contestants: dict[str, Callable[[], tf.data.Dataset]] = {
        "pipeline": lambda: data.dataset(batch),
        "bare": lambda: bare(path, crop, batch),
        "frames": lambda: frames(source, crop, batch),
    }
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    work: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(arguments.rounds):
        # Every other round in reverse.
        for name in list(contestants)[:: -1 if turn % 2 else 1]:
            speed, seconds = timed(contestants[name](), batch, arguments.seconds)
            speeds[name].append(speed)
            work[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"\n{encoding}, {data.records} tiles of {TILE}x{TILE}, crop {crop}, batch {batch}:")
    for name, value in medians.items():
        low, high = min(speeds[name]), max(speeds[name])
        each = 1e6 * statistics.median(work[name])
        print(f"  {name:9s}{value:8.0f} pairs/s ({low:.0f} to {high:.0f}), CPU {each:6.0f} us/pair")
    reached = True
    for other, least in (("bare", MIN_TO_BARE), ("frames", MIN_TO_FRAMES)):
        pairs = zip(speeds["pipeline"], speeds[other], strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        reached &= ratio >= least
        print(f"  pipeline / {other} = {ratio:.2f} (at least {least:g})")
    return reached


def timed(dataset: tf.data.Dataset, batch: int, seconds: float) -> tuple[float, float]:
    """Returns pairs per second after warm-up, and CPU seconds per pair."""
    iterator = iter(dataset)
    _consume(iterator, WARM_UP_SECONDS, WARM_UP_IMAGES // batch)
    before, begin = _cpu_seconds(), time.perf_counter()
    pairs = _consume(iterator, seconds, 4) * batch
    elapsed = time.perf_counter() - begin
    return pairs / elapsed, (_cpu_seconds() - before) / pairs


def _consume(iterator: Iterator[Any], seconds: float, least: int) -> int:
    end = time.perf_counter() + seconds
    count = 0
    while count < least or time.perf_counter() < end:
        next(iterator)
        count += 1
        if time.perf_counter() > end + 4 * seconds:
            break
    return count


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def bare(path: str, crop: int, batch: int) -> tf.data.Dataset:
    """Returns the records of the same files, parsed, decoded, cropped and batched."""
    split = schema.Manifest.load(path).splits["train"]
    shards = [files.join(path, shard.file) for shard in split.shards]

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = schema.parse_example(
            record, split.height, split.width, split.encoding, with_place=False
        )
        return parsed["blurred"][:crop, :crop], parsed["sharp"][:crop, :crop]

    records = tf.data.TFRecordDataset(shards, num_parallel_reads=tf.data.AUTOTUNE).repeat()
    batches = records.map(parse, tf.data.AUTOTUNE).batch(batch, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def frames(source: str, crop: int, batch: int) -> tf.data.Dataset:
    """Returns crops of whole frames, read from PNG files."""
    sharp = [
        files.join(source, "train", name)
        for name in files.walk_files(files.join(source, "train"))
        if "/sharp/" in name and name.endswith(".png")
    ]
    blurred = [path.replace("/sharp/", "/blur/") for path in sharp]

    def read(*paths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = tf.stack([tf.io.decode_png(tf.io.read_file(path), 3) for path in paths])
        cut = tf.image.random_crop(images, [2, crop, crop, 3])
        return cut[0], cut[1]

    pairs = tf.data.Dataset.from_tensor_slices((blurred, sharp)).repeat()
    batches = pairs.map(read, tf.data.AUTOTUNE).batch(batch, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE)


if __name__ == "__main__":
    sys.exit(main())
