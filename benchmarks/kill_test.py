"""Kills a real training again and again, and compares what it reaches with an undisturbed run.

    python -m benchmarks.kill_test --data data/cifar10 --out kills

First the run is made undisturbed. Then it is made once more in another work directory, where the
process is killed with SIGKILL at random: at a random time after it has saved something that it had
not when it was killed before, so that every kill counts and some of them hit a checkpoint that is
being written. The same command is started again each time. In the end every array of the last
checkpoint (weights, optimizers, averages, seeds, counters) must be the same to the bit.

The run is REDNet at depth 10 against the critic of `rednet30wgan_cifar10`, WGAN-GP, with
deterministic operations. What was done so far is kept in ``OUT/kills.json``: the same command goes
on where this benchmark itself was stopped.
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

# A process that has saved nothing after so many seconds will not.
PATIENCE_SECONDS = 1200


def main() -> int:
    """Runs the benchmark; the exit code tells whether the runs agree."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="CIFAR-10, built by data_prep.build")
    parser.add_argument("--out", required=True, help="folder for both runs and the figures")
    parser.add_argument("--kills", type=int, default=50, help="kills that count")
    parser.add_argument("--steps", type=int, default=400, help="length of the run")
    parser.add_argument("--save-steps", type=int, default=2, help="between two checkpoints")
    parser.add_argument("--batch", type=int, default=4, help="images in a batch")
    parser.add_argument("--critic-updates", type=int, default=5, help="of each step")
    parser.add_argument("--spread", type=float, default=4.0, help="longest wait before a kill, s")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills")
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
        *("--training.ema-decay", "0.99", "--runtime.deterministic"),
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
            # Sums are the same to the bit only with as many threads, and a process has as many
            # as there are cores that it may use when it starts.
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"},
        )


def finish(workdir: pathlib.Path, arguments: argparse.Namespace) -> None:
    """Lets a run come to its end."""
    process = start(workdir, arguments)
    try:
        code = process.wait()
    except BaseException:
        process.kill()
        raise
    if code:
        sys.exit(f"The run left with {code}; see {workdir}.log.")


def newest(workdir: pathlib.Path) -> int:
    """Returns the images seen at the newest checkpoint, 0 where there is none."""
    names = (path.parent.name for path in workdir.glob("checkpoints/*/meta.json"))
    # A damaged one, which should not be there, was put aside under another name.
    return max((int(name) for name in names if name.isdigit()), default=0)


def disturb(out: pathlib.Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kills the second run as often as asked for, then lets it end."""
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
                    sys.exit(f"The run did not go on; see {workdir}.log.")
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
    """Returns the names of the arrays of the last checkpoints that differ."""
    import numpy as np
    import tensorflow as tf

    readers = [
        tf.train.load_checkpoint(str(run / "checkpoints" / f"{newest(run):012d}" / "state"))
        for run in (one, other)
    ]
    names = [set(reader.get_variable_to_shape_map()) for reader in readers]
    different = sorted(names[0] ^ names[1])
    for name in sorted(names[0] & names[1]):
        first, second = (np.asarray(reader.get_tensor(name)) for reader in readers)
        if "OBJECT_GRAPH" not in name and not np.array_equal(first, second):
            different.append(name)
    return different


def table(figures: dict[str, Any], different: list[str]) -> str:
    """Returns the figures for people."""
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
