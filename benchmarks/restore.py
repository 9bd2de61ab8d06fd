"""Seconds and peak memory of restoring an image, beside the same networks in PyTorch, on a CPU.

    python -m benchmarks.restore --torch-python /path/to/an/environment/bin/python

NAFNet-32 with its local converter and MIMO-UNet restore a frame of 1280x720, which goes through
whole, and one of 3840x2160, which goes in tiles: ours by `tfdeblur.load` and `deblur` as they are,
PyTorch's by `benchmarks.restoration_torch`, with the same weights, the same tiles, one in a batch,
the same blending and the same number of threads. Ours restores several tiles at the same time,
which share the threads.

Each library, network and size has a process of its own, which reports its own peak of resident
memory, the library and the weights included. Each restores a small image or a single tile first;
then the two take turns, and the clock is read when the result is on the host. The results of the
first turn must agree to 1e-4 before a time is believed (MIMO-UNet's are equal to the bit: both
libraries call oneDNN's convolutions). Ratios are PyTorch's seconds by ours; the median over rounds
is reported.

Targets: ratios of at least 1, and less than 6 GiB for 3840x2160.

What was found on the way (TensorFlow 2.21, two cores, tiles of 512x512):

* NAFNet's pooling over windows by running sums took a third of the time. Products with band
  matrices, only for windows that lie inside the image, and the attention's convolution once a
  window and not once a pixel took that to a twentieth.
* Keras's layer normalization makes seven passes over tensors of full size; see
  `tfdeblur.models.nafnet.LayerNormalization`.
* A batch of four tiles takes as long as four batches of one, and twice the memory. Two tiles at the
  same time take a tenth to a fifth less, because many operations keep one core busy.
* XLA (`jit_compile`) takes one and a half times as long for MIMO-UNet and three times for NAFNet.
* PyTorch gives its memory back after each operation and takes it anew, with a page fault for every
  4 KiB: a third of its time for NAFNet. An allocator that keeps memory, or glibc's with
  `MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_TOP_PAD_=67108864` in
  the environment, prevents that; `--torch-keeps-memory` sets these for PyTorch's side.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import contestants

NETWORKS = {"nafnet32": 384, "mimo_unet": 0}
"""What is restored with, and the local converter's window: one and a half of 256-pixel crops."""

TOLERANCE = 1e-4
MOST_GIB = 6.0
_TILED = 3840 * 2160
_KEEP = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}


def main() -> int:
    """Runs the benchmark; the exit code tells whether the targets were reached."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch-python", help="Python that has PyTorch")
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK"
    )
    parser.add_argument("--sizes", nargs="+", default=["1280x720", "3840x2160"], metavar="WxH")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each")
    parser.add_argument(
        "--torch-keeps-memory", action="store_true", help="PyTorch's freed memory is not given back"
    )
    parser.add_argument("--out", help="file for all figures, as JSON")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve()
        return 0
    if not arguments.torch_python:
        parser.error("--torch-python is needed: there is nothing to compare with.")
    figures = race(arguments)
    print(table(figures))
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 0 if all(reached(row) for row in figures["rows"]) else 1


# ------------------------------------------------------------------------------------ the referee


class Worker(contestants.Worker):
    """A process that restores on request."""

    def restore(self, image: str, out: str = "", *, as_tile: bool = False) -> dict[str, float]:
        """Returns the seconds for an image in an .npy file, and the peak memory until now."""
        answer: dict[str, float] = self.ask({"image": image, "out": out, "as_tile": as_tile})
        return answer


@contextlib.contextmanager
def workers(
    arguments: argparse.Namespace, folder: str, network: str
) -> Iterator[dict[str, Worker]]:
    """Starts one process for each library, with a network."""
    settings = {
        "network": network,
        "weights": os.path.join(folder, f"{network}.pth"),
        "checkpoint": os.path.join(folder, network),
        "window": NETWORKS[network],
        "threads": arguments.threads,
    }
    started: dict[str, Worker] = {}
    try:
        ours = [sys.executable, "-m", "benchmarks.restore", "--worker"]
        started["tfdeblur"] = Worker(ours, settings)
        theirs = [arguments.torch_python, "-m", "benchmarks.restoration_torch"]
        settings |= started["tfdeblur"].about["cut"]
        keep = _KEEP if arguments.torch_keeps_memory else {}
        started["torch"] = Worker(theirs, settings, **keep)
        counts = {worker.about["parameters"] for worker in started.values()}
        if len(counts) > 1:
            sys.exit(f"The networks are not the same: {counts} parameters.")
        yield started
    finally:
        for worker in started.values():
            worker.close()


def race(arguments: argparse.Namespace) -> dict[str, Any]:
    """Lets the contestants take turns with each network and size; returns all figures."""
    rows: list[dict[str, Any]] = []
    versions: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        command = [arguments.torch_python, "-m", "benchmarks.restoration_torch"]
        subprocess.run([*command, "--weights", folder], check=True)
        for network in arguments.networks:
            out = os.path.join(folder, network)
            command = [sys.executable, "-m", "tfdeblur.convert", "--weights", f"{out}.pth"]
            subprocess.run([*command, "--out", out], check=True, stdout=subprocess.DEVNULL)
            for size in arguments.sizes:
                with workers(arguments, folder, network) as started:
                    versions = [worker.about["version"] for worker in started.values()]
                    row = {"network": network, "size": size}
                    rows.append(row | turns(started, folder, size, arguments.rounds))
    return {"versions": versions, "threads": arguments.threads, "rows": rows}


def turns(started: dict[str, Worker], folder: str, size: str, rounds: int) -> dict[str, Any]:
    """Returns the seconds of each turn, the peaks of memory and how far the results differ."""
    width, height = map(int, size.split("x"))
    cut = started["tfdeblur"].about["cut"]
    image = write_image(folder, height, width)
    tiles = 1 if height * width <= cut["max_pixels"] else count_tiles(height, width, cut)
    # A whole image of any size, or a tile of the only size: that program is then compiled.
    small = write_image(folder, *((128, 96) if tiles == 1 else (cut["side"], cut["side"])))
    for worker in started.values():
        worker.restore(small, as_tile=tiles > 1)
    seconds: dict[str, list[float]] = {name: [] for name in started}
    peaks: dict[str, float] = {}
    outs = {name: os.path.join(folder, f"{name}.npy") for name in started}
    differ = 0.0
    for number in range(rounds):
        for name, worker in list(started.items())[:: 1 if number % 2 == 0 else -1]:
            answer = worker.restore(image, "" if number else outs[name])
            seconds[name].append(answer["seconds"])
            peaks[name] = answer["peak_gib"]
        if number == 0:
            ours, theirs = (np.load(out) for out in outs.values())
            if np.mean((theirs > 0) & (theirs < 1)) < 0.5:
                sys.exit("Most of the restored image is black or white, which tells nothing.")
            differ = float(np.abs(ours - theirs).max())
            if not differ <= TOLERANCE:
                sys.exit(f"The restored images differ by up to {differ:g}: no time is believed.")
    ratio = statistics.median(t / o for o, t in zip(*seconds.values(), strict=True))
    return {"tiles": tiles, "seconds": seconds, "gib": peaks, "ratio": ratio, "differ": differ}


def write_image(folder: str, height: int, width: int) -> str:
    """Writes smooth colors with noise, float32 [height, width, 3] in [0, 1]; returns the file."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)[..., None] / 9
    waves = np.sin(rows * rng.uniform(0.5, 2, 3) + columns * rng.uniform(0.5, 2, 3))
    noise = rng.standard_normal(waves.shape, np.float32) * 0.02
    path = os.path.join(folder, f"{width}x{height}.npy")
    np.save(path, np.clip(0.5 + 0.3 * waves + noise, 0, 1).astype(np.float32))
    return path


def count_tiles(height: int, width: int, cut: dict[str, int]) -> int:
    """Returns how many tiles a large image is cut into."""
    from tfdeblur.ops import tiling

    side, stride = cut["side"], cut["side"] - cut["overlap"]
    return len(tiling.grid(height, width, side, side, stride, stride, cover=True))


def reached(row: dict[str, Any]) -> bool:
    """Tells whether a network and size are as fast and small as they must be."""
    width, height = map(int, row["size"].split("x"))
    large = height * width >= _TILED
    return row["ratio"] >= 1 and not (large and row["gib"]["tfdeblur"] >= MOST_GIB)


def table(figures: dict[str, Any]) -> str:
    """Returns the figures for people."""
    lines = [
        f"{figures['threads']} threads; {', '.join(figures['versions'])}",
        f"{'':11s}{'':>10s}{'tiles':>7s}{'seconds: ours':>15s}{'PyTorch':>9s}{'ratio':>7s}"
        f"{'GiB: ours':>11s}{'PyTorch':>9s}{'differ':>9s}",
    ]
    for row in figures["rows"]:
        ours, theirs = (statistics.median(values) for values in row["seconds"].values())
        lines.append(
            f"{row['network']:11s}{row['size']:>10s}{row['tiles']:7d}{ours:15.1f}{theirs:9.1f}"
            f"{row['ratio']:7.2f}{row['gib']['tfdeblur']:11.2f}{row['gib']['torch']:9.2f}"
            f"{row['differ']:9.0e}"
        )
    return "\n".join(lines)


# ------------------------------------------------------------------------------ ours, in a process


def serve() -> None:
    """Reads the settings and then requests from standard input, and answers with JSON lines."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    given = contestants.settings()
    import keras
    import tensorflow as tf

    contestants.limit_tensorflow(given["threads"])
    from tfdeblur.inference.restorer import load_restorer
    from tfdeblur.models.generator import Generator

    restorer = load_restorer(given["checkpoint"], pooling=given["window"] or "auto")
    generator = restorer.source
    assert isinstance(generator, Generator)
    about = {
        "version": f"TensorFlow {tf.__version__} with Keras {keras.__version__}",
        "parameters": generator.network.count_params(),
        "cut": {
            "max_pixels": restorer.max_pixels,
            "side": restorer.tiles.side,
            "overlap": restorer.tiles.overlap,
        },
    }

    def respond(request: dict[str, Any]) -> dict[str, float]:
        how: dict[str, Any] = {}
        if request["as_tile"]:
            how = {"max_pixels": 1, "tiles": restorer.tiles}
        return contestants.timed(request, lambda image: restorer.deblur(image, **how))

    contestants.answer(about, respond)


if __name__ == "__main__":
    sys.exit(main())
