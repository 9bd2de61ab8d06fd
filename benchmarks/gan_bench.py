r"""Claims of the papers on critics, losses and scales, tested by training.

    python -m benchmarks.gan_bench --data data/cifar10 --model rednet30 --option output=tanh \
        --seeds 0 1 2 --out rednet30.json
    python -m benchmarks.gan_bench --from rednet30.json ms_deblur.json

The contestants of a seed see the same pairs in the same order, and the same number of images. All
but those of one scale have the same generator with the same initial weights. They are:

* `content`: log-cosh, which is also the content loss of all the others;
* `content + fft`: the same, plus the loss on Fourier coefficients;
* one for each objective with a critic, with the same critic and the same adversarial weight;
* `wgan_gp, 1 update`: one update of the critic in each step instead of five;
* for a generator of several scales, `content, 1 scale` and `wgan_gp, 1 scale`: the same network at
  the finest scale only, with so many more blocks that it takes as many operations. The content
  losses of all scales are added, so that the critic has the same weight relative to the finest.

All run in one process and alternate in turns of a few steps, in reverse order every other round, so
that other load on the machine affects all of them equally. A turn ends when the metrics have been
read back from the device. The first step, which includes compilation, is not timed. Each round
gives one ratio to `content`; the median, minimum and maximum over rounds are reported. PSNR and
SSIM are those of the evaluated split after the last step.

`benchmarks/claims.py` decides the claims. The time of a step depends on the sizes of both networks,
which the tables list. `--out` keeps every finished seed: the same command resumes with the first
that is missing, and can add other seeds. `--from` prints what such files hold without training.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from benchmarks.claims import CRITICS, FFT, ONE_SCALE, ONE_UPDATE, PENALTY, REFERENCE, read, report
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

# Flags that change no result of a seed.
_OTHER_FLAGS = ("seeds", "out", "stored")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    arguments = make_parser().parse_args(argv)
    return cli.guard(lambda: _main(arguments))


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--data", help="folder made by data_prep.build")
    given.add_argument(
        "--from",
        dest="stored",
        nargs="+",
        metavar="FILE",
        help="print the results in these files of --out, without training",
    )
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
        "--learning-rate", type=float, default=2e-4, help="of Adam, for all networks; cosine to 0"
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
    parser.add_argument("--out", help="JSON file for all results; its seeds are not trained again")
    return parser


def _main(arguments: argparse.Namespace) -> int:
    # TensorFlow warns that many similar graphs look like accidental retracing.
    tf.get_logger().setLevel("ERROR")
    found = []
    for figures in read(arguments.stored) if arguments.stored else train(arguments):
        found.append(figures)
        print(table(figures), end="\n\n", flush=True)
    print(report(found))
    return 0


def train(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the results of all seeds in `--out`, then trains and yields those that are missing.

    Raises:
        ConfigError: The file has results of other arguments.
        UserError: A flag is invalid, or the data cannot be used.
    """
    out, own = arguments.out, arguments_of(arguments)
    found = read([out]) if out and files.exists(out) else []
    for figures in found:
        other = figures["arguments"]
        if changed := [name for name in own if own[name] != other.get(name)]:
            raise ConfigError(
                f"--out {out} has results of other arguments ({', '.join(changed)}). Choose "
                "another file."
            )
    yield from found
    for seed in arguments.seeds:
        if all(figures["seed"] != seed for figures in found):
            found.append(bench(arguments, seed))
            if out:
                files.write_json(out, found)
            yield found[-1]


def arguments_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the flags on which the results of a seed depend."""
    return {name: value for name, value in vars(arguments).items() if name not in _OTHER_FLAGS}


# ------------------------------------------------------------------------------------ contestants


def contestants(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Returns the sections `model` and `objective` of each contestant, by its name in the table.

    Raises:
        ConfigError: An `--option` is not NAME=VALUE.
    """
    model = model_section(arguments)
    content = {"log_cosh": 1.0}
    objectives: dict[str, dict[str, Any]] = {
        REFERENCE: {"name": "content", "losses": content},
        FFT: {"name": "content", "losses": {**content, "fft": arguments.fft_weight}},
    }
    for name in CRITICS:
        objectives[name] = {
            "name": name,
            "losses": content,
            "adversarial_weight": arguments.adversarial_weight,
        }
    objectives[ONE_UPDATE] = {**objectives[PENALTY], "critic_updates": 1}
    found = {
        name: {"model": model, "objective": objective} for name, objective in objectives.items()
    }
    single = with_one_scale(model)
    if single != model:
        for name in (REFERENCE, PENALTY):
            found[ONE_SCALE.format(name)] = {"model": single, "objective": objectives[name]}
    return found


def model_section(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the section `model` that the flags describe.

    Raises:
        ConfigError: An `--option` is not NAME=VALUE.
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
    return model


def with_one_scale(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a network of several scales without the coarse ones; others as they are.

    A scale has a quarter of the pixels of the next finer one. The blocks of all scales become as
    many blocks of the finest one as have the same number of operations, rounded: 19 become 25, and
    5 become 7.
    """
    options = config.resolve_plug_in("model", model)[0].options
    scales = getattr(options, "scales", 1)
    if scales == 1:
        return dict(model)
    blocks = round(options.blocks * sum(4.0**-scale for scale in range(scales)))
    return {**model, "scales": 1, "blocks": blocks}


def run_config(
    arguments: argparse.Namespace, sections: Mapping[str, Any], seed: int, workdir: str
) -> config.TrainConfig:
    """Returns the configuration of one contestant.

    Raises:
        ConfigError: All errors in the flags.
    """
    tree: dict[str, Any] = {
        **sections,
        "workdir": workdir,
        "seed": seed,
        # Each contestant would keep the records in memory once more.
        "data": {"paths": [arguments.data], "crop": arguments.crop, "cache": "off"},
        "optimizer": {"learning_rate": arguments.learning_rate, "beta_1": 0.5, "beta_2": 0.9},
        # To 0, or the scores would vary with the last batches.
        "schedule": {"name": "cosine"},
        "training": {
            "duration": f"{arguments.steps + 1} steps",
            "global_batch": arguments.batch,
        },
        # A whole turn is one compiled call.
        "runtime": {"precision": arguments.precision, "steps_per_loop": arguments.steps + 1},
    }
    if sections["objective"]["name"] != "content":
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
    known = contestants(arguments)
    chosen = {REFERENCE, *(arguments.contestants or known)}
    if unknown := chosen - known.keys():
        raise ConfigError(f"--contestants: known are {'; '.join(known)}. Got {unknown.pop()}.")
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            name: run_config(arguments, sections, seed, files.join(folder, str(number)))
            for number, (name, sections) in enumerate(known.items())
            if name in chosen
        }
        reference = runs[REFERENCE]
        strategy = runtime.make_strategy(reference.runtime.strategy)
        policy = runtime.resolve_precision(reference.runtime.precision, strategy)
        data = inputs.open_training_data(reference)
        evaluated = EvaluationData(arguments.data, arguments.split, arguments.limit)
        with precision_scope(policy):
            trained = {name: Contestant(run, data) for name, run in runs.items()}
            take_turns(list(trained.values()), arguments.steps, arguments.rounds)
            rows = {name: figures_of(each, evaluated) for name, each in trained.items()}
    times = {name: each.seconds for name, each in trained.items()}
    for name, row in rows.items():
        row.update(ratio_to(times[REFERENCE], times[name]))
        row["sections"] = sections_of(runs[name])
    return {
        "arguments": arguments_of(arguments),
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


def sections_of(run: config.TrainConfig) -> dict[str, Any]:
    """Returns model, objective and critic as plain values."""
    return {
        "model": run.model.section(),
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
        f"{'':18s}" + "".join(title.rjust(width) for title, width in _COLUMNS),
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
    return f"{name:18s}" + "".join(
        cell.rjust(width) for cell, (_, width) in zip(cells, _COLUMNS, strict=True)
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
