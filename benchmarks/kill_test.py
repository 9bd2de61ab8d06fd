"""Kills a training run repeatedly and compares its result with that of an undisturbed run.

    python -m benchmarks.kill_test --data data/cifar10 --out kills

First the run is trained undisturbed. Then it is trained again in another work directory, where the
process is killed with SIGKILL at a random time after it has saved a new checkpoint, so that every
kill counts and some hit a checkpoint while it is written. The same command is restarted each time.
In the end every array of the last checkpoint (weights, optimizers, averages, seeds, counters) must
be bit-exact.

The run is REDNet at depth 10 with the critic of `rednet30wgan_cifar10`, WGAN-GP, with deterministic
ops. The progress is kept in ``OUT/kills.json``, from which the same command resumes this benchmark.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time
from typing import Any

# A process that saves nothing for this long is considered stuck.
PATIENCE_SECONDS = 1200


def main() -> int:
    """Runs the benchmark; returns 1 if the runs differ or there were too few kills."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="CIFAR-10, built by data_prep.build")
    parser.add_argument("--out", required=True, help="folder for both runs and the results")
    parser.add_argument("--kills", type=int, default=50, help="number of kills")
    parser.add_argument("--steps", type=int, default=400, help="length of the run in steps")
    parser.add_argument("--save-steps", type=int, default=2, help="steps between checkpoints")
    parser.add_argument("--batch", type=int, default=4, help="images per batch")
    parser.add_argument("--critic-updates", type=int, default=5, help="critic updates per step")
    parser.add_argument(
        "--spread", type=float, default=4.0, help="longest wait before a kill in seconds"
    )
    parser.add_argument(
        "--engine", choices=("tensorflow", "jax"), default="tensorflow", help="engine of the run"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the times of kills")
    arguments = parser.parse_args()
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    if newest(out / "whole") < arguments.steps * arguments.batch:
        finish(out / "whole", arguments)
    figures = disturb(out, arguments)
    different = compare(out / "whole", out / "killed")
    print(table(figures, different))
    return 1 if different or figures["kills"] < arguments.kills else 0


def command(workdir: pathlib.Path, arguments: argparse.Namespace) -> list[str]:
    """Returns the command of the run."""
    return [
        *(sys.executable, "-m", "tfdeblur.train", "--recipe", "rednet30wgan_cifar10"),
        *("--model.depth", "10", "--data", arguments.data, "--workdir", str(workdir)),
        *("--global-batch", str(arguments.batch), "--steps", str(arguments.steps)),
        *("--objective.critic-updates", str(arguments.critic_updates)),
        *("--training.ema-decay", "0.99", "--runtime.deterministic", "--engine", arguments.engine),
        *("--save-every", f"{arguments.save_steps} steps", "--output.log-every", "10 steps"),
        *("--output.validation-images", "8", "--output.validate-every", "100 steps"),
    ]


def start(workdir: pathlib.Path, arguments: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Starts the run."""
    with open(workdir.parent / f"{workdir.name}.log", "ab") as log:
        return subprocess.Popen(
            command(workdir, arguments),
            stdout=log,
            stderr=subprocess.STDOUT,
            # Sums are bit-exact only for a fixed number of threads, which by default is the
            # number of cores available at the start.
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"},
        )


def finish(workdir: pathlib.Path, arguments: argparse.Namespace) -> None:
    """Runs until the end."""
    process = start(workdir, arguments)
    try:
        code = process.wait()
    except BaseException:
        process.kill()
        raise
    if code:
        sys.exit(f"The run exited with code {code}; see {workdir}.log.")


def newest(workdir: pathlib.Path) -> int:
    """Returns the images seen at the newest checkpoint; 0 without a checkpoint."""
    names = (path.parent.name for path in workdir.glob("checkpoints/*/meta.json"))
    # A damaged checkpoint, which should not occur, is set aside under another name.
    return max((int(name) for name in names if name.isdigit()), default=0)


def disturb(out: pathlib.Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kills the second run the requested number of times, then lets it finish."""
    path, workdir = out / "kills.json", out / "killed"
    figures: dict[str, Any] = {"kills": 0, "in_a_checkpoint": 0, "seconds_to_progress": []}
    if path.exists():
        figures = json.loads(path.read_text(encoding="utf-8"))
    chance = random.Random(f"{arguments.seed} {figures['kills']}")
    goal = arguments.steps * arguments.batch
    while figures["kills"] < arguments.kills and newest(workdir) < goal:
        before, begun = newest(workdir), time.monotonic()
        process = start(workdir, arguments)
        try:
            while newest(workdir) <= before:
                if process.poll() is not None or time.monotonic() - begun > PATIENCE_SECONDS:
                    sys.exit(f"The run made no progress; see {workdir}.log.")
                time.sleep(0.05)
            figures["seconds_to_progress"].append(time.monotonic() - begun)
            time.sleep(chance.uniform(0.0, arguments.spread))
        finally:
            process.kill()
            process.wait()
        figures["kills"] += 1
        folders = [folder for folder in workdir.glob("checkpoints/*") if folder.is_dir()]
        figures["in_a_checkpoint"] += any(not (f / "meta.json").exists() for f in folders)
        path.write_text(json.dumps(figures), encoding="utf-8")
        print(f"kill {figures['kills']}: {newest(workdir):,} of {goal:,} images", flush=True)
    if newest(workdir) < goal:
        finish(workdir, arguments)
    return figures


def compare(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """Returns the names of arrays that differ between the last checkpoints."""
    import numpy as np

    from tfdeblur.checkpoints.arrays import read_arrays
    from tfdeblur.checkpoints.manifest import STATE, checkpoint_name

    first, second = (
        read_arrays(str(run / "checkpoints" / checkpoint_name(newest(run)) / STATE))
        for run in (one, other)
    )
    different = sorted(first.keys() ^ second.keys())
    different += [
        name
        for name in sorted(first.keys() & second.keys())
        if not np.array_equal(first[name], second[name])
    ]
    return different


def table(figures: dict[str, Any], different: list[str]) -> str:
    """Returns the results as text."""
    seconds = figures["seconds_to_progress"] or [0.0]
    verdict = "every array equal" if not different else f"{len(different)} differ: {different[:3]}"
    return (
        f"{figures['kills']} kills, each after progress; {figures['in_a_checkpoint']} left a "
        f"half-written checkpoint. From start to the next checkpoint: median "
        f"{statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s.\n"
        f"Last checkpoints of both runs: {verdict}."
    )


if __name__ == "__main__":
    sys.exit(main())
