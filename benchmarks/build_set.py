"""Speed and memory of building a data set, compared with only decoding its PNG files.

    python -m benchmarks.build_set --data /data/GOPRO_Large --pairs 100 500

The real pairs are repeated under distinct names, as links, up to the given counts. Then these two
alternate, each in a new process after its imports, with the same number of workers:

* `decode`: Pillow decodes both halves of every pair in a pool of processes and discards them;
* `build`: `data_prep.build`, from listing the files to the finished manifest, raw encoding.

Both include the start of their worker processes. Pairs and megabytes (of the finished set) are
medians over all rounds. Memory is the peak of the sum over the main process and its workers, with
shared pages counted once (Pss). Targets: a ratio of build to decode of at least 0.8, and memory of
the largest set at most 1.1 times that of the smallest. The files are read from the page cache,
which makes the ratio harder to reach: a disk would slow both. CPU time is printed beside the wall
time; it is more meaningful on a busy machine.

The largest set also gives an estimate for the 24,000 training pairs of REDS, which have the same
size. It assumes that 100 workers of Apache Beam are as fast as the cores here, and that reading and
writing keep up with them.
"""

import argparse
import contextlib
import multiprocessing
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MIN_RATIO, MAX_GROWTH = 0.8, 1.1
REDS_PAIRS, BEAM_WORKERS = 24_000, 100
SAMPLE_SECONDS = 0.1
# Files per task of a decoding worker: about as many as in a shard.
CHUNK = 12


def main() -> int:
    """Runs the benchmark; returns 1 if a target for speed or memory was missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="GoPro folder: train or test with SCENE/...")
    parser.add_argument(
        "--pairs", type=int, nargs="+", default=[100, 500], help="sizes of the data sets"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="worker processes")
    parser.add_argument("--rounds", type=int, default=3, help="turns per contestant")
    parser.add_argument("--encoding", default="raw", help="raw or png")
    parser.add_argument("--runner", default="local", help="local or beam")
    arguments = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for pairs in sorted(arguments.pairs):
            source = repeat_pairs(arguments.data, f"{folder}/{pairs}", pairs)
            speed, ratio, peak = compare(source, f"{folder}/out", pairs, arguments)
            peaks.append(peak)
    workers = arguments.workers
    hours = REDS_PAIRS / speed / 3600
    print(
        f"\nREDS, {REDS_PAIRS} pairs, on paper: {hours:.2f} h with {workers} workers as here, "
        f"{60 * hours * workers / BEAM_WORKERS:.1f} min with {BEAM_WORKERS}"
    )
    # A build that ends before the first sample has no peak.
    growth = peaks[-1] / peaks[0] if peaks[0] else 1.0
    print(f"memory of the largest set / the smallest = {growth:.2f} (at most {MAX_GROWTH})")
    return 0 if ratio >= MIN_RATIO and growth <= MAX_GROWTH else 1


def repeat_pairs(data: str, folder: str, pairs: int) -> str:
    """Links the real pairs repeatedly under distinct names; returns the folder."""
    found = sorted(pathlib.Path(data).absolute().glob("t*/*/sharp/*.png"))
    if not found:
        sys.exit(f"{data} holds no train/SCENE/sharp/*.png and no test/SCENE/sharp/*.png.")
    for number in range(pairs):
        copy, which = divmod(number, len(found))
        sharp = found[which]
        scene = pathlib.Path(folder, "train", f"{sharp.parent.parent.name}_{copy:04d}")
        for half in ("sharp", "blur"):
            (scene / half).mkdir(parents=True, exist_ok=True)
            (scene / half / sharp.name).symlink_to(sharp.parent.parent / half / sharp.name)
    return folder


def compare(
    source: str, out: str, pairs: int, arguments: argparse.Namespace
) -> tuple[float, float, float]:
    """Times both in alternation; prints and returns pairs/s, the ratio, and the peak in MB."""
    workers = arguments.workers
    options = {"encoding": arguments.encoding, "runner": arguments.runner, "workers": workers}
    options |= {"source": source, "out": out, "val_share": 0.0}
    seconds: dict[str, list[float]] = {"decode": [], "build": []}
    work: dict[str, list[float]] = {"decode": [], "build": []}
    peaks: dict[str, list[float]] = {"decode": [], "build": []}
    for _ in range(arguments.rounds):
        for name, turn in (
            ("decode", (decode, source, workers)),
            ("build", (build_set, options)),
        ):
            taken, worked, peak = in_fresh_process(*turn)
            seconds[name].append(taken)
            work[name].append(worked)
            peaks[name].append(peak)
        megabytes = sum(path.stat().st_size for path in pathlib.Path(out).iterdir()) / 1e6
        shutil.rmtree(out)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n{pairs} pairs, {arguments.encoding}, {workers} workers, load {load}:")
    for name, values in seconds.items():
        speeds = sorted(pairs / value for value in values)
        written = f", {megabytes / statistics.median(values):.0f} MB/s" if name == "build" else ""
        print(
            f"  {name:7s}{statistics.median(speeds):7.1f} pairs/s "
            f"({speeds[0]:.1f} to {speeds[-1]:.1f}){written}, "
            f"CPU {1e3 * statistics.median(work[name]) / pairs:.1f} ms/pair, "
            f"peak {max(peaks[name]):.0f} MB"
        )
    ratios = [d / b for d, b in zip(seconds["decode"], seconds["build"], strict=True)]
    ratio = statistics.median(ratios)
    each = ", ".join(f"{value:.2f}" for value in ratios)
    print(f"  build / decode = {ratio:.2f} ({each}; at least {MIN_RATIO})")
    by_work = statistics.median(d / b for d, b in zip(work["decode"], work["build"], strict=True))
    print(f"  the same by processor time = {by_work:.2f}")
    return pairs / statistics.median(seconds["build"]), ratio, max(peaks["build"])


# ------------------------------------------------------------------------------- the contestants


def decode(source: str, workers: int) -> Callable[[], None]:
    """Returns a function that decodes all files of a folder in a pool of processes."""
    paths = sorted(str(path) for path in pathlib.Path(source).glob("*/*/*/*.png"))
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]

    def run() -> None:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context) as pool:
            for _ in pool.map(_decode_files, chunks):
                pass

    return run


def _decode_files(paths: list[str]) -> None:
    from PIL import Image

    for path in paths:
        with Image.open(path) as picture:
            picture.load()


def build_set(options: dict[str, Any]) -> Callable[[], None]:
    """Returns a function that builds the data set."""
    from data_prep import build

    config = build.config_class("gopro")(**options)

    def run() -> None:
        os.environ["TQDM_DISABLE"] = "1"
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            build.run(config)

    return run


# -------------------------------------------------------------------------------- time and memory


def in_fresh_process(
    make: Callable[..., Callable[[], None]], *words: Any
) -> tuple[float, float, float]:
    """Runs the function that `make(*words)` returns; returns seconds, CPU seconds and peak MB."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_timed, args=(theirs, make, words))
    process.start()
    theirs.close()
    ours.recv()
    ours.send("go")
    peak = 0.0
    while not ours.poll(SAMPLE_SECONDS):
        peak = max(peak, sum(proportional_size(pid) for pid in family(process.pid or 0)))
    seconds, work = ours.recv()
    process.join()
    return seconds, work, peak / 1e6


def _timed(
    connection: Connection, make: Callable[..., Callable[[], None]], words: tuple[Any, ...]
) -> None:
    run = make(*words)
    connection.send("ready")
    connection.recv()
    begin, before = time.perf_counter(), _cpu_seconds()
    run()
    connection.send((time.perf_counter() - begin, _cpu_seconds() - before))


def _cpu_seconds() -> float:
    # Includes ended workers; both contestants wait for theirs.
    usage = os.times()
    return usage.user + usage.system + usage.children_user + usage.children_system


def family(pid: int) -> Iterator[int]:
    """Yields a process and all its descendants."""
    yield pid
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                for child in file.read().split():
                    yield from family(int(child))


def proportional_size(pid: int) -> int:
    """Returns the bytes of memory of a process; pages shared by n processes count 1/n."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
