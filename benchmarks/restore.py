"""Time and peak memory for restoring an image on a CPU, compared with PyTorch.

    python -m benchmarks.restore --torch-python /path/to/an/environment/bin/python

NAFNet-32 with TLC and MIMO-UNet restore a frame of 1280x720, which is not tiled, and one of
3840x2160, which is: tfdeblur by `tfdeblur.load` and `deblur` with their defaults, PyTorch by
`benchmarks.restoration_torch`, with the same weights, the same tiles in batches of one, the same
blending and the same number of threads. tfdeblur restores several tiles in parallel, which share
the threads.

Each library, network and size has its own process, which reports its peak resident memory,
including the library and the weights. Each process first restores the frame untimed, and these
results must agree to 1e-4 (those of MIMO-UNet are bit-exact: both libraries call oneDNN's
convolutions); then the two alternate, timed until the result is on the host. Ratios are PyTorch's
seconds divided by tfdeblur's; the median over rounds is reported.

Targets: ratios of at least 1, and less than 6 GiB for 3840x2160.

Findings (TensorFlow 2.21, two cores, tiles of 512x512):

* NAFNet's pooling over windows by running sums took a third of the time. Products with band
  matrices, only for windows inside the image, with the attention's convolution per window instead
  of per pixel, reduced that to a twentieth.
* Keras's layer normalization makes seven passes over full-size tensors; see
  `tfdeblur.models.models.layers.LayerNormalization`.
* A batch of four tiles takes as long as four batches of one, and twice the memory. Two tiles in
  parallel take a tenth to a fifth less, because many operations use one core only.
* XLA (`jit_compile`) takes 1.5 times as long for MIMO-UNet and three times for NAFNet.
* PyTorch frees its memory after each operation and allocates it again, with a page fault for every
  4 KiB: a third of its time for NAFNet. An allocator that keeps memory, or glibc's with
  `MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_TOP_PAD_=67108864` in
  the environment, prevents that; `--torch-keeps-memory` sets these for PyTorch.
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

NETWORKS = {"nafnet32": 384, "mimo_unet": 0}
"""Networks and their TLC windows in pixels: 1.5 times crops of 256 pixels; 0 without TLC."""

TOLERANCE = 1e-4
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
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK"
    )
    parser.add_argument("--sizes", nargs="+", default=["1280x720", "3840x2160"], metavar="WxH")
    parser.add_argument("--rounds", type=int, default=3, help="turns per contestant")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads per library")
    parser.add_argument(
        "--torch-keeps-memory", action="store_true", help="make PyTorch keep freed memory"
    )
    parser.add_argument("--out", help="JSON file for all results")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve()
        return 0
    if not arguments.torch_python:
        parser.error("--torch-python is required for the comparison.")
    figures = race(arguments)
    print(table(figures))
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
    """Starts one process per library for a network and a size of frame."""
    settings = {
        "network": network,
        "weights": os.path.join(folder, f"{network}.pth"),
        "checkpoint": os.path.join(folder, network),
        "window": NETWORKS[network],
        "threads": arguments.threads,
        "size": size,
    }
    started: dict[str, Worker] = {}
    try:
        ours = [sys.executable, "-m", "benchmarks.restore", "--worker"]
        started["tfdeblur"] = Worker(ours, settings)
        theirs = [arguments.torch_python, "-m", "benchmarks.restoration_torch"]
        settings["tile"] = started["tfdeblur"].about["tile"]
        keep = _KEEP if arguments.torch_keeps_memory else {}
        started["torch"] = Worker(theirs, settings, **keep)
        counts = {worker.about["parameters"] for worker in started.values()}
        if len(counts) > 1:
            sys.exit(f"The networks differ: {counts} parameters.")
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
        subprocess.run([*command, "--weights", folder], check=True)
        for network in arguments.networks:
            out = os.path.join(folder, network)
            command = [sys.executable, "-m", "tfdeblur.convert", "--weights", f"{out}.pth"]
            subprocess.run([*command, "--out", out], check=True, stdout=subprocess.DEVNULL)
            for size in arguments.sizes:
                with workers(arguments, folder, network, size) as started:
                    versions = [worker.about["version"] for worker in started.values()]
                    row = {"network": network, "size": size}
                    rows.append(row | turns(started, folder, size, arguments.rounds))
    return {"versions": versions, "threads": arguments.threads, "rows": rows}


def turns(started: dict[str, Worker], folder: str, size: str, rounds: int) -> dict[str, Any]:
    """Returns the seconds per turn, the peak memory and the difference of the results."""
    width, height = map(int, size.split("x"))
    tile = started["tfdeblur"].about["tile"]
    image = write_image(folder, height, width)
    outs = {name: os.path.join(folder, f"{name}.npy") for name in started}
    for name, worker in started.items():
        worker.restore(image, outs[name])  # compiles the network
    ours, theirs = (np.load(out) for out in outs.values())
    if np.mean((theirs > 0) & (theirs < 1)) < 0.5:
        sys.exit("Most of the restored image is black or white, which makes it no test.")
    differ = float(np.abs(ours - theirs).max())
    if not differ <= TOLERANCE:
        sys.exit(f"The restored images differ by up to {differ:g}; times are not comparable.")
    seconds: dict[str, list[float]] = {name: [] for name in started}
    peaks: dict[str, float] = {}
    for number in range(rounds):
        for name, worker in list(started.items())[:: 1 if number % 2 == 0 else -1]:
            answer = worker.restore(image)
            seconds[name].append(answer["seconds"])
            peaks[name] = answer["peak_gib"]
    ratio = statistics.median(t / o for o, t in zip(*seconds.values(), strict=True))
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
    return row["ratio"] >= 1 and not (large and row["gib"]["tfdeblur"] >= MAX_GIB)


def table(figures: dict[str, Any]) -> str:
    """Returns the results as text."""
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


# ------------------------------------------------------------------------------- tfdeblur's process


def serve() -> None:
    """Reads settings and then requests from standard input; answers with JSON lines."""
    given, version = contestants.start_tensorflow()
    from tfdeblur.inference.restorer import load_restorer
    from tfdeblur.models.generator import Generator

    restorer = load_restorer(given["checkpoint"], pooling=given["window"] or "auto")
    width, height = map(int, given["size"].split("x"))
    generator = restorer.source
    assert isinstance(generator, Generator)
    about = {
        "version": version,
        "parameters": generator.network.count_params(),
        "tile": restorer.tiles.tile_for(height, width, restorer.max_pixels),
    }
    contestants.answer(about, lambda request: contestants.timed(request, restorer.deblur))


if __name__ == "__main__":
    sys.exit(main())
