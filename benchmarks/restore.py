"""Time and peak memory for restoring an image on a CPU, compared with PyTorch.

    python -m benchmarks.restore --torch-python /path/to/an/environment/bin/python

NAFNet-32 and NAFNet-16 with TLC, MIMO-UNet and FFTformer, or the networks in `--networks`, restore
a frame of 1280x720, which is not tiled, and one of 3840x2160, which is: tfdeblur by `tfdeblur.load`
and `deblur` with their defaults, PyTorch by `benchmarks.restoration_torch`, with the same weights,
the same tiles in batches of one, the same blending and the same number of threads. tfdeblur
restores several tiles in parallel, which share the threads.

PyTorch runs twice, once with its default allocator and once with one that keeps freed memory. Each
contestant, network and size has its own process, which reports its peak resident memory, including
the library and the weights. Each process first restores the frame untimed, and these results must
agree to 1e-4 (those of MIMO-UNet are bit-exact: both libraries call oneDNN's convolutions); then
they take turns, timed until the result is on the host. Ratios are the seconds of PyTorch, the
faster of the two, divided by tfdeblur's; the median over rounds is reported.

Targets: ratios of at least 1, no more memory than the larger of PyTorch's two, and less than 6 GiB
for 3840x2160.

Findings (TensorFlow 2.21, two cores, tiles of 512x512):

* NAFNet's pooling over windows by running sums took a third of the time. Products with band
  matrices, only for windows inside the image, with the attention's convolution per window instead
  of per pixel, reduced that to a twentieth.
* Keras's layer normalization makes seven passes over full-size tensors; see
  `tfdeblur.models.layers.LayerNormalization`.
* A batch of four tiles takes as long as four batches of one, and twice the memory. Two tiles in
  parallel take a tenth to a fifth less, because many operations use one core only.
* XLA (`jit_compile`) takes 1.5 times as long for MIMO-UNet and three times for NAFNet.
* PyTorch frees its memory after each operation and allocates it again, with a page fault for every
  4 KiB: a third of its time for NAFNet. glibc's allocator keeps it with the settings in `_KEEP`.
* FFTformer in PyTorch, written as the authors' code is, spends half of its time on FFTs and the
  copies around them (256x256); tfdeblur's products with constant matrices avoid both.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import contestants

NETWORKS = (
    "nafnet32",
    "nafnet16",
    "mimo_unet",
    "fftformer",
    "restormer",
    "deepdeblur",
    "deblurgan",
    "fpn_mobilenet",
    "fpn_inception",
)

_WINDOWS = {"nafnet32": 384, "nafnet16": 384}
"""TLC windows in pixels: 1.5 times crops of 256 pixels."""

TOLERANCE = 1e-4
# At 1280x720 PyTorch's own results in float32 and float64 differ by 8.7e-4.
_TOLERANCES = {"fpn_mobilenet": 2e-3}
MAX_GIB = 6.0
_TILED = 3840 * 2160
_KEEP = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}


def main() -> int:
    """Runs the benchmark; returns 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch-python", help="Python of an environment with PyTorch")
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=NETWORKS[:4], metavar="NETWORK"
    )
    parser.add_argument("--sizes", nargs="+", default=["1280x720", "3840x2160"], metavar="WxH")
    parser.add_argument("--rounds", type=int, default=3, help="turns per contestant")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads per library")
    parser.add_argument("--out", help="JSON file for all results")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve()
        return 0
    if not arguments.torch_python:
        parser.error("--torch-python is required for the comparison.")
    print(header())
    figures = race(arguments)
    print(f"{figures['threads']} threads; {', '.join(figures['versions'])}")
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 0 if all(reached(row) for row in figures["rows"]) else 1


# --------------------------------------------------------------------------------------- comparison


class Worker(contestants.Worker):
    """A process that restores images on request."""

    def restore(self, image: str, out: str = "") -> dict[str, float]:
        """Returns the seconds for an image in an .npy file, and the peak memory so far."""
        answer: dict[str, float] = self.ask({"image": image, "out": out})
        return answer


@contextlib.contextmanager
def workers(
    arguments: argparse.Namespace, folder: str, network: str, size: str
) -> Iterator[dict[str, Worker]]:
    """Starts one process per contestant for a network and a size of frame."""
    settings = {
        "network": network,
        "weights": os.path.join(folder, f"{network}.pth"),
        "checkpoint": os.path.join(folder, network),
        "window": _WINDOWS.get(network, 0),
        "threads": arguments.threads,
        "size": size,
    }
    started: dict[str, Worker] = {}
    try:
        ours = [sys.executable, "-m", "benchmarks.restore", "--worker"]
        started["tfdeblur"] = Worker(ours, settings)
        theirs = [arguments.torch_python, "-m", "benchmarks.restoration_torch"]
        settings["tile"] = started["tfdeblur"].about["tile"]
        started["torch"] = Worker(theirs, settings)
        started["torch, keeping memory"] = Worker(theirs, settings, **_KEEP)
        yield started
    finally:
        for worker in started.values():
            worker.close()


def race(arguments: argparse.Namespace) -> dict[str, Any]:
    """Times both libraries on each network and size; returns all results."""
    rows: list[dict[str, Any]] = []
    versions: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        command = [arguments.torch_python, "-m", "benchmarks.restoration_torch"]
        subprocess.run([*command, "--weights", folder, *arguments.networks], check=True)
        for network in arguments.networks:
            out = os.path.join(folder, network)
            command = [sys.executable, "-m", "tfdeblur.convert", "--weights", f"{out}.pth"]
            subprocess.run([*command, "--out", out], check=True, stdout=subprocess.DEVNULL)
            tolerance = _TOLERANCES.get(network, TOLERANCE)
            for size in arguments.sizes:
                with workers(arguments, folder, network, size) as started:
                    versions = list(dict.fromkeys(w.about["version"] for w in started.values()))
                    row = {"network": network, "size": size}
                    rows.append(row | turns(started, folder, size, arguments.rounds, tolerance))
                    print(line(rows[-1]), flush=True)
    return {"versions": versions, "threads": arguments.threads, "rows": rows}


def turns(
    started: dict[str, Worker], folder: str, size: str, rounds: int, tolerance: float
) -> dict[str, Any]:
    """Returns the seconds per turn, the peak memory and the difference of the results."""
    width, height = map(int, size.split("x"))
    tile = started["tfdeblur"].about["tile"]
    image = write_image(folder, height, width)
    outs = {name: os.path.join(folder, f"{name}.npy") for name in started}
    for name, worker in started.items():
        worker.restore(image, outs[name])  # compiles the network
    ours, theirs, _ = (np.load(out) for out in outs.values())
    if np.mean((theirs > 0) & (theirs < 1)) < 0.5:
        sys.exit("Most of the restored image is black or white, which makes it no test.")
    differ = float(np.abs(ours - theirs).max())
    if not differ <= tolerance:
        sys.exit(f"The restored images differ by up to {differ:g}; times are not comparable.")
    seconds: dict[str, list[float]] = {name: [] for name in started}
    peaks: dict[str, float] = {}
    for number in range(rounds):
        for name, worker in list(started.items())[:: 1 if number % 2 == 0 else -1]:
            answer = worker.restore(image)
            seconds[name].append(answer["seconds"])
            peaks[name] = answer["peak_gib"]
    ratio = statistics.median(min(t) / o for o, *t in zip(*seconds.values(), strict=True))
    return {
        "tiles": 1 if tile is None else count_tiles(height, width, tile),
        "seconds": seconds,
        "gib": peaks,
        "ratio": ratio,
        "differ": differ,
    }


def write_image(folder: str, height: int, width: int) -> str:
    """Writes smooth colors with noise, float32 [height, width, 3] in [0, 1]; returns the path."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)[..., None] / 9
    waves = np.sin(rows * rng.uniform(0.5, 2, 3) + columns * rng.uniform(0.5, 2, 3))
    noise = rng.standard_normal(waves.shape, np.float32) * 0.02
    path = os.path.join(folder, f"{width}x{height}.npy")
    np.save(path, np.clip(0.5 + 0.3 * waves + noise, 0, 1).astype(np.float32))
    return path


def count_tiles(height: int, width: int, tile: Sequence[int]) -> int:
    """Returns the number of tiles of an image, given their height, width and overlap."""
    from tfdeblur.inference.tiles import Tile

    return len(Tile(*tile).boxes(height, width))


def reached(row: dict[str, Any]) -> bool:
    """Returns whether a network and size reach the targets for speed and memory."""
    width, height = map(int, row["size"].split("x"))
    large = height * width >= _TILED
    ours, *theirs = row["gib"].values()
    return row["ratio"] >= 1 and ours <= max(theirs) and not (large and ours >= MAX_GIB)


def header() -> str:
    """Returns the titles of the columns of `line`."""
    columns = "".join(f"{name:>9s}" for name in ("ours", "PyTorch", "keeping"))
    return f"{'':23s}{'tiles':>7s}  seconds:{columns}{'ratio':>7s}  GiB:{columns}{'differ':>9s}"


def line(row: dict[str, Any]) -> str:
    """Returns the results of a network and size as text."""
    seconds = "".join(f"{statistics.median(values):9.1f}" for values in row["seconds"].values())
    gib = "".join(f"{value:9.2f}" for value in row["gib"].values())
    return (
        f"{row['network']:13s}{row['size']:>10s}{row['tiles']:7d}{'':10s}{seconds}"
        f"{row['ratio']:7.2f}{'':6s}{gib}{row['differ']:9.0e}"
    )


# ------------------------------------------------------------------------------- tfdeblur's process


def serve() -> None:
    """Reads settings and then requests from standard input; answers with JSON lines."""
    given, version = contestants.start_tensorflow()
    from tfdeblur.inference.restorer import load_restorer

    restorer = load_restorer(given["checkpoint"], pooling=given["window"] or "auto")
    width, height = map(int, given["size"].split("x"))
    about = {
        "version": version,
        "tile": restorer.tiles.tile_for(height, width, restorer.max_pixels),
    }
    contestants.answer(about, lambda request: contestants.timed(request, restorer.deblur))


if __name__ == "__main__":
    sys.exit(main())
