"""Speedup of a WGAN-GP step that restores its batch once instead of once per update.

    python -m benchmarks.shared_pass

Both variants are the library's own training step as one `tf.function`, in one process, with the
same networks, precision, batch and fused critic pass over sharp and restored images; only the
number of generator passes differs: one, or six with five critic updates. They run in turns of a few
steps in alternating order; the first step of a turn is not timed, and timing ends when the metrics
have been read back. Each round gives one ratio of speeds; the median is reported.

The losses and weights after one step from the same initial weights are compared as well: networks
with batch norm differ in their moving averages only.

Targets in float32: 1.5 for REDNet30WGAN, 2.2 for MSDeblurWGAN.
"""

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

MIN_SPEEDUP = {"rednet30wgan_cifar10": 1.5, "msdeblurwgan_cifar10": 2.2}


def main() -> int:
    """Runs the benchmark; returns 1 if a target ratio was missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=list(MIN_SPEEDUP), help="recipes to train")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batch", type=int, default=8, help="images per batch")
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--rounds", type=int, default=6, help="turns per variant")
    parser.add_argument("--steps", type=int, default=2, help="timed steps per turn")
    parser.add_argument("--out", help="JSON file for all results")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    figures = {recipe: race(recipe, arguments) for recipe in arguments.recipes}
    print(table(figures, arguments))
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return (
        0 if all(f["speedup"] >= MIN_SPEEDUP.get(name, 1.0) for name, f in figures.items()) else 1
    )


class Side:
    """One variant of the step, run repeatedly on one batch."""

    def __init__(self, recipe: str, share: bool, arguments: argparse.Namespace) -> None:
        import numpy as np
        import tensorflow as tf

        from tfdeblur import config, models, objectives
        from tfdeblur.models import critics
        from tfdeblur.ops.precision import precision_scope
        from tfdeblur.training.engines.engine import StepPlan
        from tfdeblur.training.engines.tensorflow import runtime
        from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep
        from tfdeblur.training.state import TrainingState

        batch = arguments.batch
        run_config = config.resolve(
            {"workdir": "unused", "recipe": recipe, "training": {"global_batch": batch}}
        )
        chosen = run_config.critic
        if chosen is None:
            sys.exit(f"The recipe {recipe} has no critic, so there is no pass to share.")
        runtime.seed_everything(0)
        objective = objectives.create(run_config.objective.name, run_config.objective.options)
        with precision_scope(runtime.resolve_precision(arguments.precision)):
            generator = models.create(run_config.model.name, run_config.model.options)
            built = {"critic": critics.create(chosen.name, chosen.options)}
            self.state = TrainingState(
                run_config, generator, built, total_images=10**9, epoch_images=10**6
            )
        step = ReplicaStep(
            objective, self.state, StepPlan(global_batch=batch, share_generator_pass=share)
        )
        self._run = tf.function(step)
        rng = np.random.default_rng(0)
        shape = (batch, arguments.size, arguments.size, 3)
        self._pair = {
            kind: tf.constant(rng.integers(0, 256, shape, dtype=np.uint8))
            for kind in ("blurred", "sharp")
        }

    def step(self) -> dict[str, float]:
        """Runs one step and waits for its metrics."""
        return {name: float(value) for name, value in self._run(self._pair).items()}

    def turn(self, steps: int) -> float:
        """Returns the seconds per step, after an untimed step."""
        self.step()
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return (time.perf_counter() - start) / steps


def race(recipe: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Times both variants in turns; returns times, ratios, and their difference."""
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
    """Returns the largest differences after one step: of scalars (relative) and of weights."""
    import numpy as np

    scalars = max(
        abs(value - first["literal"][name]) / max(abs(first["literal"][name]), 1e-3)
        for name, value in first["shared"].items()
    )
    weights = 0.0
    networks = (sides["shared"].state.networks, sides["literal"].state.networks)
    for name in networks[0]:
        pairs = zip(networks[0][name].variables, networks[1][name].variables, strict=True)
        weights = max(weights, *(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs))
    return {"scalars_differ": scalars, "weights_differ": weights}


def table(figures: dict[str, Any], arguments: argparse.Namespace) -> str:
    """Returns the results as text."""
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
