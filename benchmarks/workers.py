"""What several workers reach together, and how much of it they spend on talking.

    python -m benchmarks.workers --recipe unet16_cifar10 --replica-batch 32

One, two and three processes on this machine, each with one thread for its operations, train the
library's own step over loopback with MultiWorkerMirroredStrategy; each has the same batch of its
own, so that the global batch grows with them. Then the sum over workers of as many bytes as the
gradients have is timed alone in the same job. Its share of a step is the share of time spent in
communication, provided that nothing overlaps; with more workers than cores the processes also wait
for each other's turn, which no longer says anything about communication, and the table says so.

From the bytes follows, on paper, what a ring over n chips needs: 2 (n - 1) / n times the bytes over
the bandwidth of a link, and 2 (n - 1) times its latency. The published figures of TPU v5e are 1,600
Gbit/s a chip between chips, on four links of which a ring in one direction of the torus uses one;
a microsecond a hop is assumed. Steps of a chip are not measured here: the table gives the
communication alone, which a step must be long against.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

# TPU v5e: 1,600 Gbit/s a chip over four links.
LINK_BYTES_PER_SECOND = 1600e9 / 8 / 4
HOP_SECONDS = 1e-6
CHIPS = (8, 256)


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="unet16_cifar10", help="what is trained")
    parser.add_argument("--replica-batch", type=int, default=32, help="images of one worker")
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=10, help="counted steps in one turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns")
    parser.add_argument("--out", help="file for all figures, as JSON")
    parser.add_argument("--as-worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_worker:
        print(json.dumps(work(arguments)))
        return 0
    figures = [job(count) for count in arguments.workers]
    print(table(figures))
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 0


def job(count: int) -> dict[str, Any]:
    """Starts the workers of one job and returns what the first one measured."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    processes = []
    for index in range(count):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.workers", *sys.argv[1:], "--as-worker"],
                env={**os.environ, "TF_CONFIG": json.dumps(task), "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    answers = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(f"A worker of {count} failed.")
    return dict(json.loads(answers[0].splitlines()[-1]))


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures a step and the sum of its gradients, as one worker of a job."""
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    from tfdeblur import config, models, objectives
    from tfdeblur.models import critics
    from tfdeblur.training.engines.tensorflow import runtime
    from tfdeblur.training.engines.tensorflow.step import ReplicaStep
    from tfdeblur.training.state import TrainingState

    strategy = runtime.make_strategy("multi_worker")
    replicas = strategy.num_replicas_in_sync
    batch = arguments.replica_batch * replicas
    tree = {"workdir": "unused", "recipe": arguments.recipe, "training": {"global_batch": batch}}
    run_config = config.resolve(tree)
    runtime.seed_everything(0)
    objective = objectives.create(run_config.objective.name, run_config.objective.options)
    with strategy.scope():
        generator = models.create(run_config.model.name, run_config.model.options)
        chosen = run_config.critic
        opponents = {"critic": critics.create(chosen.name, chosen.options)} if chosen else {}
        objective.prepare()
        state = TrainingState(
            run_config, generator, opponents, total_images=10**9, epoch_images=10**6
        )
    step = ReplicaStep(generator, objective, state, global_batch=batch)
    shape = (arguments.replica_batch, arguments.size, arguments.size, 3)
    rng = np.random.default_rng(0)
    pair = {
        kind: tf.constant(rng.integers(0, 256, shape, dtype=np.uint8))
        for kind in ("blurred", "sharp")
    }

    @tf.function
    def train() -> tf.Tensor:
        results = strategy.run(step, args=(pair,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, results["generator/loss"], axis=None)

    # What one step sums: a player's gradients as often as it moves.
    shapes = [v.shape for m in objective.moves for v in state.players[m].variables]

    def send() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.zeros(s) + 1.0 for s in shapes])
        return tf.add_n([tf.reduce_sum(value) for value in sums])

    @tf.function
    def communicate() -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(send), axis=None)

    times: dict[str, list[float]] = {"step": [], "sum": []}
    for _ in range(arguments.rounds):
        for name, function in (("step", train), ("sum", communicate)):
            function().numpy()
            begun = time.perf_counter()
            for _ in range(arguments.steps):
                function().numpy()
            times[name].append((time.perf_counter() - begun) / arguments.steps)
    return {
        "recipe": arguments.recipe,
        "workers": replicas,
        "replica_batch": arguments.replica_batch,
        "bytes": 4 * sum(int(np.prod(shape)) for shape in shapes),
        "moves": len(objective.moves),
        "cores": len(os.sched_getaffinity(0)),
        "step": statistics.median(times["step"]),
        "sum": statistics.median(times["sum"]) if replicas > 1 else 0.0,
    }


def ring_seconds(bytes_: int, sums: int, chips: int) -> float:
    """Returns the seconds in which a ring of chips adds up so many bytes, in so many sums."""
    turns = 2 * (chips - 1)
    return turns / chips * bytes_ / LINK_BYTES_PER_SECOND + sums * turns * HOP_SECONDS


def table(figures: list[dict[str, Any]]) -> str:
    """Returns the figures for people."""
    first = figures[0]
    alone = first["workers"] * first["replica_batch"] / first["step"]
    lines = [
        f"{first['recipe']}, {first['replica_batch']} images a worker, "
        f"{first['bytes'] / 2**20:.1f} MiB of gradients a step, {first['cores']} cores",
        f"{'workers':>8s}{'step ms':>10s}{'images/s':>10s}{'of ideal':>10s}{'sum ms':>10s}"
        f"{'share':>8s}",
    ]
    for f in figures:
        rate = f["workers"] * f["replica_batch"] / f["step"]
        ideal = rate / (alone * f["workers"] / first["workers"])
        share = min(f["sum"] / f["step"], 1.0)
        note = "  more workers than cores" if f["workers"] > f["cores"] else ""
        lines.append(
            f"{f['workers']:8d}{1e3 * f['step']:10.1f}{rate:10.1f}{ideal:10.0%}"
            f"{1e3 * f['sum']:10.1f}{share:8.0%}{note}"
        )
    for chips in CHIPS:
        seconds = ring_seconds(first["bytes"], first["moves"], chips)
        lines.append(f"on paper, {chips} chips of TPU v5e in a ring: {1e3 * seconds:.2f} ms a step")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
