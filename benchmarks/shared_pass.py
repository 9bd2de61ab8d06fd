"""What restoring a batch once for a whole WGAN-GP step saves, against restoring it for each update.

    python -m benchmarks.shared_pass

Both sides are the library's own training step as one `tf.function`, in one process, with the same
networks, precision, batch and fused pass of the critic over true and restored images; only the
number of the generator's passes differs: one, or six with five updates of the critic. They take
turns of a few steps in alternating order, the first step of a turn is not counted, and the clock is
read after the results have arrived. A round gives one ratio of speeds; the median is reported.

Also compared, with the same first weights, are the losses and the weights after one step of either
kind: networks with batch norm differ in their moving averages alone.

Targets in float32: 1.5 for REDNet30WGAN, 2.2 for MSDeblurWGAN.
"""

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

LEAST = {"rednet30wgan_cifar10": 1.5, "msdeblurwgan_cifar10": 2.2}


def main() -> int:
    """Runs the benchmark; the exit code tells whether the ratios were reached."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=list(LEAST), help="what is trained")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batch", type=int, default=8, help="images in a batch")
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each side")
    parser.add_argument("--steps", type=int, default=2, help="counted steps in one turn")
    parser.add_argument("--out", help="file for all figures, as JSON")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    figures = {recipe: race(recipe, arguments) for recipe in arguments.recipes}
    print(table(figures, arguments))
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 0 if all(f["speedup"] >= LEAST.get(name, 1.0) for name, f in figures.items()) else 1


class Side:
    """One way of making the step, on the same batch again and again."""

    def __init__(self, recipe: str, share: bool, arguments: argparse.Namespace) -> None:
        import numpy as np
        import tensorflow as tf

        from tfdeblur import config, models, objectives
        from tfdeblur.models import critics
        from tfdeblur.training.engines.tensorflow import runtime
        from tfdeblur.training.engines.tensorflow.step import ReplicaStep
        from tfdeblur.training.state import TrainingState

        batch = arguments.batch
        run_config = config.resolve(
            {"workdir": "unused", "recipe": recipe, "training": {"global_batch": batch}}
        )
        chosen = run_config.critic
        if chosen is None:
            sys.exit(f"The recipe {recipe} has no critic: there is nothing to share.")
        runtime.seed_everything(0)
        objective = objectives.create(run_config.objective.name, run_config.objective.options)
        with runtime.precision_scope(runtime.resolve_precision(arguments.precision)):
            generator = models.create(run_config.model.name, run_config.model.options)
            opponents = {"critic": critics.create(chosen.name, chosen.options)}
            self.state = TrainingState(
                run_config, generator, opponents, total_images=10**9, epoch_images=10**6
            )
        step = ReplicaStep(
            generator, objective, self.state, global_batch=batch, share_generator_pass=share
        )
        self._run = tf.function(step)
        rng = np.random.default_rng(0)
        shape = (batch, arguments.size, arguments.size, 3)
        self._pair = {
            kind: tf.constant(rng.integers(0, 256, shape, dtype=np.uint8))
            for kind in ("blurred", "sharp")
        }

    def step(self) -> dict[str, float]:
        """Makes one step and waits for its results."""
        return {name: float(value) for name, value in self._run(self._pair).items()}

    def turn(self, steps: int) -> float:
        """Returns the seconds of a step, after one that does not count."""
        self.step()
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return (time.perf_counter() - start) / steps


def race(recipe: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Lets both sides take turns; returns their times, the ratio, and how far they differ."""
    sides = {"shared": Side(recipe, True, arguments), "literal": Side(recipe, False, arguments)}
    first = {name: side.step() for name, side in sides.items()}
    difference = compare(sides, first)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(arguments.rounds):
        order = list(sides.items())
        for name, side in order if number % 2 == 0 else order[::-1]:
            seconds[name].append(side.turn(arguments.steps))
    ratios = [b / a for a, b in zip(seconds["shared"], seconds["literal"], strict=True)]
    return {
        "speedup": statistics.median(ratios),
        "ratios": ratios,
        "seconds": seconds,
        **difference,
    }


def compare(sides: dict[str, Side], first: dict[str, dict[str, float]]) -> dict[str, float]:
    """Returns the largest differences after one step, relative to the largest value.

    Weights are compared by what the step did to them, but for moving averages.
    """
    import numpy as np

    scalars = max(
        abs(value - first["literal"][name]) / max(abs(first["literal"][name]), 1e-3)
        for name, value in first["shared"].items()
    )
    weights = 0.0
    players = (sides["shared"].state.players, sides["literal"].state.players)
    for name in players[0]:
        pairs = zip(players[0][name].variables, players[1][name].variables, strict=True)
        weights = max(weights, *(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs))
    return {"scalars_differ": scalars, "weights_differ": weights}


def table(figures: dict[str, Any], arguments: argparse.Namespace) -> str:
    """Returns the figures for people."""
    lines = [
        f"batch {arguments.batch} of {arguments.size}x{arguments.size}, {arguments.precision}; "
        "seconds a step",
        f"{'recipe':24s}{'literal':>9s}{'shared':>9s}{'speed':>7s}{'least':>7s}{'most':>7s}"
        f"{'scalars':>9s}{'weights':>9s}",
    ]
    for name, f in figures.items():
        literal, shared = (statistics.median(f["seconds"][k]) for k in ("literal", "shared"))
        lines.append(
            f"{name:24s}{literal:9.2f}{shared:9.2f}{f['speedup']:7.2f}{min(f['ratios']):7.2f}"
            f"{max(f['ratios']):7.2f}{f['scalars_differ']:9.1e}{f['weights_differ']:9.1e}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
