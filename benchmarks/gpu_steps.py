"""Training steps on a GPU in bfloat16: this library on JAX against PyTorch, in images per second.

    python -m benchmarks.gpu_steps --torch-python PYTHON

The runs are those of the recipes: REDNet30 as a WGAN with gradient penalty (five critic updates),
NAFNet-32 and MIMO-UNet at 256x256. PyTorch runs `benchmarks/gpu_steps_torch.py`: channels-last
memory, autocast, fused optimizers and `torch.compile`. Both repeat steps on one batch that is on
the device, in processes of their own, and alternate in turns, so that other load affects both. A
turn ends when the device is idle; compilation is not timed. Each pair is printed as soon as it is
measured: the medians over turns, and the range of the ratios.

`--tiny` runs small networks on any device, to try the program.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import contestants

# Recipe, size of its samples, and sections for `--tiny`.
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "REDNet30, WGAN-GP": (
        "rednet30wgan_cifar10",
        32,
        {"model": {"depth": 10, "width": 8}, "critic": {"layers": 1, "width": 4}},
    ),
    "NAFNet-32": (
        "nafnet32_gopro",
        256,
        {"model": {"width": 4, "encoder": [1, 1], "middle": 1, "decoder": [1, 1]}},
    ),
    "MIMO-UNet": ("mimo_unet_gopro", 256, {"model": {"width": 8, "blocks": 1}}),
}

# The recipes' batches, and larger ones that fill a GPU.
BATCHES = {
    "rednet30wgan_cifar10": (256,),
    "nafnet32_gopro": (32,),
    "mimo_unet_gopro": (4, 32),
}
TINY_SIZE = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch-python", help="Python with PyTorch; without it, JAX alone runs")
    parser.add_argument("--steps", type=int, default=20, help="steps per turn")
    parser.add_argument("--turns", type=int, default=5, help="turns of each")
    parser.add_argument("--tiny", action="store_true", help="small networks and batches")
    arguments = parser.parse_args(argv)
    for title, (recipe, size, small) in CASES.items():
        for batch in (4,) if arguments.tiny else BATCHES[recipe]:
            case = {
                "recipe": recipe,
                "size": TINY_SIZE if arguments.tiny else size,
                "batch": batch,
                "sections": small if arguments.tiny else {},
            }
            print(_pair(title, case, arguments), flush=True)
    return 0


def _pair(title: str, case: dict[str, Any], arguments: argparse.Namespace) -> str:
    """Measures a case; returns the lines to print."""
    commands = {"JAX": [sys.executable, "-m", "benchmarks.gpu_steps_jax"]}
    if arguments.torch_python:
        commands["PyTorch"] = [arguments.torch_python, "-m", "benchmarks.gpu_steps_torch"]
    workers: dict[str, contestants.Worker] = {}
    speeds: dict[str, list[float]] = {name: [] for name in commands}
    try:
        for name, command in commands.items():
            start = time.perf_counter()
            workers[name] = contestants.Worker(command, case, **_ENVIRONMENT)
            workers[name].ask({"steps": 2})  # compiles
            about = workers[name].about
            print(
                f"  {about['version']} on {about['device']}, {about['parameters']:,} parameters; "
                f"started in {time.perf_counter() - start:.0f} s",
                flush=True,
            )
        for _ in range(arguments.turns):
            for name, worker in workers.items():
                seconds = worker.ask({"steps": arguments.steps})["seconds"]
                speeds[name].append(arguments.steps * case["batch"] / seconds)
    finally:
        for worker in workers.values():
            worker.close()
    text = f"{title}, {case['size']}x{case['size']}, batch {case['batch']}: " + ", ".join(
        f"{name} {statistics.median(found):,.0f} images/s" for name, found in speeds.items()
    )
    if "PyTorch" not in speeds:
        return text
    ratios = [a / b for a, b in zip(speeds["JAX"], speeds["PyTorch"], strict=True)]
    middle = statistics.median(ratios)
    return f"{text}; JAX / PyTorch = {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


# Both processes are on one GPU at the same time: JAX must not reserve most of its memory.
_ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "KERAS_BACKEND": "jax"}


if __name__ == "__main__":
    sys.exit(main())
