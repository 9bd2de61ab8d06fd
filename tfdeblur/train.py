"""``python -m tfdeblur.train``: trains a network from a recipe, and goes on where it stopped."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfdeblur import cli, config
from tfdeblur.cli import flags as cli_flags
from tfdeblur.cli.environment import require_tensorflow
from tfdeblur.config import TrainConfig, settings
from tfdeblur.errors import ConfigError, WorkerLost
from tfdeblur.training.resilience.preemption import StopRequest

if TYPE_CHECKING:
    from tfdeblur.training.trainer import RunResult

PROG = "python -m tfdeblur.train"
DESCRIPTION = (
    "Trains a deblurring network. Start from a published recipe with --recipe, change what you "
    "like by flag or in a YAML file, and run the same command again to go on where it stopped. "
    "Precedence: defaults < recipe < --config < flags."
)

# Sections whose keys depend on the plug-in that is chosen, so their flags cannot be listed.
_OPEN_SECTIONS = (*config.PLUG_INS, "players")


@dataclasses.dataclass(frozen=True)
class _Alias:
    """A short spelling of a flag, with the value it takes when it stands alone."""

    path: str
    alone: str | None = None


_ALIASES = {
    "--data": _Alias("data.paths"),
    "--crop": _Alias("data.crop"),
    "--tpu": _Alias("runtime.tpu", alone="local"),
    "--precision": _Alias("runtime.precision"),
    "--global-batch": _Alias("training.global_batch"),
    "--init-from": _Alias("training.init_from"),
    "--keep": _Alias("output.keep"),
    "--save-every": _Alias("output.save_every"),
}
_DURATIONS = {"--epochs": "epochs", "--images": "images", "--steps": "steps"}


def run(run_config: TrainConfig, stop: StopRequest | None = None) -> "RunResult":
    """Trains, or goes on training, as the configuration says.

    Args:
        run_config: From `tfdeblur.config.resolve`, which takes plain dictionaries.
        stop: Holds the signals of a process that is this run's alone. Without it, SIGINT and
            SIGTERM are held while steps are made, and a second SIGINT is a KeyboardInterrupt.

    Returns:
        Where the run lies and its best validation scores.

    Raises:
        UserError: Something about the configuration, data or work directory must be mended.

    Example:
        >>> from tfdeblur import config, train
        >>> train.run(config.resolve({"recipe": "unet16_cifar10", "workdir": "runs/unet16",
        ...                           "data": {"paths": ["data/cifar10"]}}))
    """
    require_tensorflow()
    from tfdeblur.training import trainer

    return trainer.train(run_config, stop)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    with StopRequest(own_process=True) as stop:
        code = cli.guard(lambda: _main(argv, stop))
    if code == WorkerLost.exit_code:
        # TensorFlow's own end might wait for the workers that are gone.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _main(argv: Sequence[str] | None, stop: StopRequest) -> int:
    flags, words = _open_flags(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    namespace, unknown = parser.parse_known_args(words)
    # Plug-ins import Keras, which says less clearly what it misses.
    require_tensorflow()
    for section, registry in config.PLUG_INS.items():
        name = getattr(namespace, f"help_{section}", None)
        if name:
            print(options_help(section, registry.options(name), name))
            return 0
    flags = settings.merge(cli_flags.given(namespace), flags)
    problems = cli_flags.reject_unknown_flags(unknown, parser)
    layer = settings.read_config_file(namespace.config) if namespace.config else {}
    try:
        resolved = config.resolve(layer, flags)
    except ConfigError as error:
        if problems:
            raise ConfigError("\n".join([*map(str, problems), str(error)])) from error
        raise
    settings.raise_problems(problems)
    if namespace.print_config:
        print(config.to_yaml(resolved), end="")
        return 0
    result = run(resolved, stop)
    print(result)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = cli_flags.make_parser(PROG, DESCRIPTION)
    parser.add_argument("--config", metavar="FILE", help="YAML file with the keys shown below")
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration and leave"
    )
    for section, registry in config.PLUG_INS.items():
        names = ", ".join(registry.names())
        parser.add_argument(
            f"--{section}",
            dest=f"set:{section}.name",
            default=argparse.SUPPRESS,
            metavar="NAME",
            help=f"{names}; its options are --{section}.OPTION",
        )
        parser.add_argument(
            f"--help-{section}", metavar="NAME", help=f"show the options of one {section} and leave"
        )
    _add_aliases(parser)
    cli_flags.add_flags(parser, TrainConfig, skip=_OPEN_SECTIONS)
    return parser


def _add_aliases(parser: argparse.ArgumentParser) -> None:
    for flag, alias in _ALIASES.items():
        section, name = alias.path.split(".")
        section_class = settings.section_class(_field(TrainConfig, section).annotation)
        if section_class is None:
            raise TypeError(f"{section} is not a section of the configuration")
        field = dataclasses.replace(_field(section_class, name), default=None, required=False)
        cli_flags.add_flag(parser, alias.path, field, flag, const=alias.alone)
    for flag, unit in _DURATIONS.items():
        parser.add_argument(
            flag,
            dest="set:training.duration",
            default=argparse.SUPPRESS,
            metavar="N",
            type=f"{{}} {unit}".format,
            help=f"length of the run in {unit}",
        )


def _field(config_class: type[Any], name: str) -> settings.Field:
    return next(field for field in settings.fields_of(config_class) if field.name == name)


def _open_flags(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Reads ``--model.depth 20``, ``--model.encoder 1 1 1 4`` and ``--no-critic.conditional``.

    Returns:
        Their tree, and the words that were something else.
    """
    tree: dict[str, Any] = {}
    others: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, text = word.partition("=")
        if flag.startswith("--no-"):
            flag, equals, text = f"--{flag.removeprefix('--no-')}", "=", "false"
        path = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or path.split(".")[0] not in _OPEN_SECTIONS or "." not in path:
            others.append(word)
            continue
        values = [text] if equals else []
        while not equals and rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        # A switch stands alone, as it may everywhere else; other fields refuse the word.
        value = values if len(values) > 1 else (values or ["true"])[0]
        settings.put(tree, path, cli_flags.plain_value(value))
    return tree, others


def options_help(section: str, options_class: type[Any], name: str) -> str:
    """Returns the options of a plug-in as help text."""
    parser = argparse.ArgumentParser(
        prog=name, usage=argparse.SUPPRESS, add_help=False, formatter_class=cli_flags.HelpFormatter
    )
    group = parser.add_argument_group(f"options of {section} {name}")
    cli_flags.add_flags(group, options_class, prefix=f"{section}.", groups=parser)
    return parser.format_help().strip()


if __name__ == "__main__":
    sys.exit(main())
