r"""One generator trained with every objective: cost and benefit of a critic.

    python -m benchmarks.gan_bench --data data/cifar10 --model rednet30 --option output=tanh \
        --seeds 0 1 2

All contestants have the same generator with the same initial weights, the same pairs in the same
order and the same number of images seen; only the objective differs:

* `content`: log-cosh, which is also the content loss of all the others;
* `content + fft`: the same, plus the loss on Fourier coefficients;
* one for each objective with a critic, with the same critic and the same adversarial weight.

All run in one process and alternate in turns of a few steps, in reverse order every other round, so
that other load on the machine affects all of them equally. A turn ends when the metrics have been
read back from the device. The first step, which includes compilation, is not timed. Each round
gives one ratio to `content`; the median, minimum and maximum over rounds are reported. PSNR and
SSIM are those of the validation split after the last step. All contestants are trained for
each seed; differences are taken within a seed, and their mean has its 95 % interval (Student's t).

Two claims of DeblurGAN_PRO (Kuspys and Lutchyn) are compared with the results: that GANs train
about three times slower, and that the FFT loss gives more precise results. The slowdown depends on
the critic updates per step and on the sizes of both networks, which the table lists.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from tfdeblur import cli, config
from tfdeblur.cli import flags
from tfdeblur.data import inputs
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.errors import ConfigError
from tfdeblur.io import files
from tfdeblur.ops import devices
from tfdeblur.ops.precision import precision_scope
from tfdeblur.training import trainer
from tfdeblur.training.engines.tensorflow import runtime
from tfdeblur.training.gallery import Validation
from tfdeblur.training.loop import Diverged
from tfdeblur.training.validation import Validator

REFERENCE, FFT = "content", "content + fft"

# Tolerance of "about three times".
CLAIMED, TOLERANCE = 3.0, 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder made by data_prep.build")
    parser.add_argument("--split", default="val", help="split for evaluation")
    parser.add_argument("--limit", type=int, help="evaluate only its first images")
    parser.add_argument("--crop", help="random crop, 256 or WIDTHxHEIGHT; the whole tile if unset")
    parser.add_argument("--model", default="unet16", help="the generator")
    parser.add_argument("--width", type=int, help="option `width` of the generator")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another option of the generator",
    )
    parser.add_argument("--critic-width", type=int, default=64, help="channels of the critic")
    parser.add_argument(
        "--critic-layers", type=int, default=3, help="stride-2 convolutions of the critic"
    )
    parser.add_argument(
        "--adversarial-weight", type=float, default=1e-4, help="relative to log-cosh"
    )
    parser.add_argument("--fft-weight", type=float, default=0.1, help="relative to log-cosh")
    parser.add_argument(
        "--learning-rate", type=float, default=2e-4, help="of Adam, for all networks"
    )
    parser.add_argument("--steps", type=int, default=2000, help="timed steps per contestant")
    parser.add_argument("--rounds", type=int, default=10, help="turns per contestant")
    parser.add_argument("--batch", type=int, default=32, help="images per batch")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="of weights, order and augmentation"
    )
    parser.add_argument(
        "--contestants", nargs="+", metavar="NAME", help="names in the table; all if unset"
    )
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--out", help="JSON file for all results")
    arguments = parser.parse_args(argv)
    return cli.guard(lambda: _main(arguments))


def _main(arguments: argparse.Namespace) -> int:
    # TensorFlow warns that many similar graphs look like accidental retracing.
    tf.get_logger().setLevel("ERROR")
    found = []
    for seed in arguments.seeds:
        found.append(bench(arguments, seed))
        print(table(found[-1]), flush=True)
        if arguments.out:
            files.write_json(arguments.out, found)
    print("\n".join(verdicts(found)))
    return 0


# ------------------------------------------------------------------------------------ contestants


def objectives(adversarial_weight: float, fft_weight: float) -> dict[str, dict[str, Any]]:
    """Returns the `objective` section of each contestant, by its name in the table."""
    content = {"log_cosh": 1.0}
    sections: dict[str, dict[str, Any]] = {
        REFERENCE: {"name": "content", "losses": content},
        FFT: {"name": "content", "losses": {**content, "fft": fft_weight}},
    }
    for name in config.OBJECTIVES.names():
        if getattr(config.OBJECTIVES.options(name), "needs_critic", False):
            sections[name] = {
                "name": name,
                "losses": content,
                "adversarial_weight": adversarial_weight,
            }
    return sections


def run_config(
    arguments: argparse.Namespace, objective: Mapping[str, Any], seed: int, workdir: str
) -> config.TrainConfig:
    """Returns the configuration of one contestant.

    Raises:
        ConfigError: All errors in the flags.
    """
    model: dict[str, Any] = {"name": arguments.model}
    if arguments.width is not None:
        model["width"] = arguments.width
    for text in arguments.option:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(
                f"--option {text}: expected NAME=VALUE, such as --option output=tanh."
            )
        model[name] = flags.plain_value(f"model.{name}", value)
    tree: dict[str, Any] = {
        "workdir": workdir,
        "seed": seed,
        "model": model,
        "objective": dict(objective),
        "data": {"paths": [arguments.data], "crop": arguments.crop},
        "optimizer": {"learning_rate": arguments.learning_rate, "beta_1": 0.5, "beta_2": 0.9},
        "training": {
            "duration": f"{arguments.steps + 1} steps",
            "global_batch": arguments.batch,
        },
        # A whole turn is one compiled call.
        "runtime": {"precision": arguments.precision, "steps_per_loop": arguments.steps + 1},
    }
    if objective["name"] != "content":
        tree["critic"] = {
            "name": config.DEFAULT_CRITIC,
            "width": arguments.critic_width,
            "layers": arguments.critic_layers,
        }
    return config.resolve(tree)


class Contestant:
    """One training run in memory, which advances by some steps per turn.

    Args:
        run: The training configuration.
        data: The training data.
    """

    def __init__(
        self,
        run: config.TrainConfig,
        data: TrainingData,
    ) -> None:
        # The first weights depend on the seed alone: the generator is built before any critic.
        self._run = trainer.Trainer(run, train_data=data)
        self._run.prepare()
        self._run.build()
        self._iterator = self._run.engine.batches(data, 0, self._run.plan)
        self.diverged = ""
        self.seconds: list[float] = []

    @property
    def images(self) -> int:
        """Images seen."""
        return self._run.state.images_seen

    @property
    def parameters(self) -> dict[str, int]:
        """Parameter count of each network."""
        networks = self._run.state.networks
        return {name: int(trained.network.count_params()) for name, trained in networks.items()}

    @property
    def critic_updates(self) -> int:
        """Critic updates per step."""
        chosen = self._run.config
        return 0 if chosen.critic is None else int(chosen.objective.options.critic_updates)

    def advance(self, steps: int, *, timed: bool) -> None:
        """Trains some steps, unless diverged; records the seconds per step if `timed`."""
        if self.diverged:
            return
        goal = self.images + steps * self._run.step_images
        start = time.perf_counter()
        try:
            # Returns after the losses have been read back, so the device is idle.
            self._run.loop.run(self._iterator, goal, hooks=[])
        except Diverged as error:
            self.diverged = str(error)
            return
        if timed:
            self.seconds.append((time.perf_counter() - start) / steps)

    def evaluate(self, data: EvaluationData) -> Validation:
        """Evaluates on the validation split."""
        generator = self._run.state.generator
        return Validator(generator, data, self._run.engine.executor(), pictures=0)()


# ------------------------------------------------------------------------------------ comparison


def bench(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Trains the contestants in turns and evaluates them; returns all results of a seed.

    Raises:
        UserError: A flag is invalid, or the data cannot be used.
    """
    if not 1 <= arguments.rounds <= arguments.steps:
        raise ConfigError(
            "--rounds must be at least 1 and at most --steps, because a turn has at least one step."
        )
    sections = objectives(arguments.adversarial_weight, arguments.fft_weight)
    chosen = {REFERENCE, *(arguments.contestants or sections)}
    if unknown := chosen - sections.keys():
        raise ConfigError(f"--contestants: known are {', '.join(sections)}; got {unknown.pop()}.")
    sections = {name: section for name, section in sections.items() if name in chosen}
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            name: run_config(arguments, section, seed, files.join(folder, str(number)))
            for number, (name, section) in enumerate(sections.items())
        }
        reference = runs[REFERENCE]
        strategy = runtime.make_strategy(reference.runtime.strategy)
        policy = runtime.resolve_precision(reference.runtime.precision, strategy)
        data = inputs.open_training_data(reference)
        evaluated = EvaluationData(arguments.data, arguments.split, arguments.limit)
        with precision_scope(policy):
            contestants = {name: Contestant(run, data) for name, run in runs.items()}
            take_turns(list(contestants.values()), arguments.steps, arguments.rounds)
            rows = {name: figures_of(each, evaluated) for name, each in contestants.items()}
    times = {name: each.seconds for name, each in contestants.items()}
    for name, row in rows.items():
        row.update(ratio_to(times[REFERENCE], times[name]))
        row["objective"] = settings_of(runs[name])
    return {
        "arguments": vars(arguments),
        "seed": seed,
        "versions": f"TensorFlow {tf.__version__}",
        "devices": devices.device_summary(strategy),
        "precision": str(policy),
        "crop": [data.width, data.height],
        "evaluated_images": evaluated.records,
        "contestants": rows,
    }


def take_turns(contestants: Sequence[Contestant], steps: int, rounds: int) -> None:
    """Trains each contestant for one untimed step, and then for `steps` in turns."""
    for each in contestants:
        each.advance(1, timed=False)
    for number in range(rounds):
        # Rounded so that the turns add up to `steps`.
        share = steps * (number + 1) // rounds - steps * number // rounds
        # In reverse order every other round, so that no contestant always follows the same one.
        for each in contestants if number % 2 == 0 else contestants[::-1]:
            each.advance(share, timed=True)


def figures_of(contestant: Contestant, data: EvaluationData) -> dict[str, Any]:
    """Returns the properties and scores of one contestant."""
    row: dict[str, Any] = {
        "images_seen": contestant.images,
        "critic_updates": contestant.critic_updates,
        "parameters": contestant.parameters,
        "diverged": contestant.diverged,
        "seconds_per_step": contestant.seconds,
    }
    if not contestant.diverged:
        validation = contestant.evaluate(data)
        row["scores"] = {name: _finite(value) for name, value in validation.metrics.items()}
        row["blurred"] = {name: _finite(value) for name, value in validation.baseline.items()}
    return row


def ratio_to(reference: Sequence[float], seconds: Sequence[float]) -> dict[str, float | None]:
    """Returns the time per step relative to the reference: median, minimum and maximum."""
    # A diverged contestant has fewer rounds.
    found = [own / other for own, other in zip(seconds, reference, strict=False)]
    if not found:
        return {"time": None, "time_least": None, "time_most": None}
    return {"time": statistics.median(found), "time_least": min(found), "time_most": max(found)}


def settings_of(run: config.TrainConfig) -> dict[str, Any]:
    """Returns objective and critic as plain values."""
    return {
        "objective": run.objective.section(),
        "critic": None if run.critic is None else run.critic.section(),
    }


# ------------------------------------------------------------------------------------------- output


# Titles and widths.
_COLUMNS = (
    ("PSNR dB", 9),
    ("SSIM", 8),
    ("time", 7),
    ("least", 7),
    ("most", 7),
    ("critic updates", 16),
)


def table(figures: Mapping[str, Any]) -> str:
    """Returns the results as aligned text; `time` is per step, relative to `content`."""
    rows = figures["contestants"]
    first = rows[REFERENCE]
    arguments = figures["arguments"]
    size = "x".join(map(str, figures["crop"]))
    critic = next((r["parameters"]["critic"] for r in rows.values() if r["critic_updates"]), 0)
    lines = [
        f"{arguments['model']} ({first['parameters']['generator']:,} parameters) under each "
        f"objective, critic {critic:,} parameters; {first['images_seen']:,} images of "
        f"{size} in batches of {arguments['batch']}, {figures['precision']}, "
        f"{figures['devices']}, seed {figures['seed']}",
        f"{'':15s}" + "".join(title.rjust(width) for title, width in _COLUMNS),
    ]
    blurred: dict[str, Any] = next(
        (row["blurred"] for row in rows.values() if "blurred" in row), {}
    )
    lines.append(_line("blurred", [blurred.get("psnr_db"), blurred.get("ssim")], ""))
    for name, row in rows.items():
        scores = row.get("scores", {})
        values = [scores.get("psnr_db"), scores.get("ssim")]
        values += [row["time"], row["time_least"], row["time_most"]]
        lines.append(_line(name, values, str(row["critic_updates"])))
    lines += [f"{name}: {row['diverged']}" for name, row in rows.items() if row["diverged"]]
    return "\n".join(lines)


def _line(name: str, values: Sequence[float | None], last: str) -> str:
    decimals = (2, 4, 2, 2, 2)
    cells = [
        "-" if value is None else f"{value:.{places}f}"
        for value, places in zip(values, decimals, strict=False)
    ]
    cells += [""] * (len(decimals) - len(cells)) + [last]
    return f"{name:15s}" + "".join(
        cell.rjust(width) for cell, (_, width) in zip(cells, _COLUMNS, strict=True)
    )


def verdicts(seeds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns one sentence for each of the two claims, from the results of each seed."""
    return [slower(seeds), more_precise(seeds)]


def slower(seeds: Sequence[Mapping[str, Any]]) -> str:
    """Returns the result for the claim "GANs train about three times slower"."""
    found: dict[str, list[float]] = {}
    for figures in seeds:
        for name, row in figures["contestants"].items():
            if row["critic_updates"] and row["time"] is not None:
                found.setdefault(name, []).append(row["time"])
    if not found:
        return "GANs three times slower: not measured."
    times = {name: statistics.median(ratios) for name, ratios in found.items()}
    near = [name for name, time_ in times.items() if abs(time_ - CLAIMED) <= TOLERANCE]
    listed = ", ".join(f"{name} {time_:.2f}" for name, time_ in times.items())
    return (
        f"GANs about three times slower: a step takes {min(times.values()):.2f} to "
        f"{max(times.values()):.2f} times as long as without a critic ({listed}); within "
        f"{CLAIMED - TOLERANCE:g} to {CLAIMED + TOLERANCE:g}: {', '.join(near) or 'none'}."
    )


def more_precise(seeds: Sequence[Mapping[str, Any]]) -> str:
    """Returns the result for the claim "the FFT loss gives more precise results"."""
    gains: dict[str, list[float]] = {"psnr_db": [], "ssim": []}
    for figures in seeds:
        rows = figures["contestants"]
        plain, fft = (rows.get(name, {}).get("scores", {}) for name in (REFERENCE, FFT))
        for key, values in gains.items():
            if plain.get(key) is not None and fft.get(key) is not None:
                values.append(fft[key] - plain[key])
    if not gains["psnr_db"]:
        return "FFT loss more precise: not measured."
    low, high = interval(gains["psnr_db"])
    answer = "confirmed" if low > 0 else "refuted" if high < 0 else "not confirmed"
    text = f"FFT loss more precise: {answer}; PSNR {_interval_text(gains['psnr_db'], 2)} dB"
    if gains["ssim"]:
        text += f", SSIM {_interval_text(gains['ssim'], 4)}"
    listed = ", ".join(str(figures["seed"]) for figures in seeds)
    return f"{text}; seeds {listed}; {seeds[0]['evaluated_images']:,} images."


# Two-sided 95 % quantiles of Student's t, by the number of values; 2.262 for ten.
_STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the 95 % interval of the mean; everything for a single value."""
    if len(values) < 2:
        return -math.inf, math.inf
    mean, error = statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = _STUDENT.get(len(values), 2.262) * error
    return mean - reach, mean + reach


def _interval_text(values: Sequence[float], decimals: int) -> str:
    text = f"{statistics.mean(values):+.{decimals}f}"
    if len(values) < 2:
        return text
    low, high = interval(values)
    return f"{text} ({low:+.{decimals}f} to {high:+.{decimals}f})"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
