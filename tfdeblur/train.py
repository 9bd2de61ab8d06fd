"""``python -m tfdeblur.train``: trains a network from a recipe, or resumes the training."""

import argparse
import dataclasses
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfdeblur import cli, config, presets
from tfdeblur.checkpoints.manifest import is_checkpoint, read_meta
from tfdeblur.cli import flags as cli_flags
from tfdeblur.cli.command import open_standard_streams
from tfdeblur.cli.environment import require_packages
from tfdeblur.config import TrainConfig, plugins, recipes, settings
from tfdeblur.errors import ConfigError, WorkerLost
from tfdeblur.training.resilience.preemption import StopRequest

if TYPE_CHECKING:
    from tfdeblur.models.generator import Model
    from tfdeblur.training.callbacks import Callback
    from tfdeblur.training.trainer import TrainResult
    from tfdeblur.training.user_inputs import Data

PROG = "python -m tfdeblur.train"
DESCRIPTION = (
    "Trains a deblurring network. Start from a published recipe with --recipe, override settings "
    "by flag or in a YAML file, and run the same command again to resume. Precedence: defaults < "
    "recipe < --config < flags."
)

# Sections whose keys depend on the chosen plug-in, so that their flags cannot be listed.
_OPEN_SECTIONS = (*config.PLUG_INS, "networks")


@dataclasses.dataclass(frozen=True)
class _Alias:
    """A short form of a flag, with its value if none is given."""

    path: str
    alone: str | None = None


_ALIASES = {
    "--data": _Alias("data.paths"),
    "--crop": _Alias("data.crop"),
    "--engine": _Alias("runtime.engine"),
    "--tpu": _Alias("runtime.tpu", alone="local"),
    "--precision": _Alias("runtime.precision"),
    "--profile": _Alias("output.profile"),
    "--global-batch": _Alias("training.global_batch"),
    "--init-from": _Alias("training.init_from"),
    "--keep": _Alias("output.keep"),
    "--remat": _Alias("training.remat"),
    "--scale-batch": _Alias("training.scale_batch"),
    "--save-every": _Alias("output.save_every"),
}
_DURATIONS = {"--epochs": "epochs", "--images": "images", "--steps": "steps"}


def run(
    run_config: TrainConfig,
    stop: StopRequest | None = None,
    *,
    callbacks: Sequence["Callback"] = (),
    model: "Model | None" = None,
    train_data: "Data | None" = None,
    val_data: "Data | None" = None,
) -> "TrainResult":
    """Trains a network, resuming from the newest checkpoint in the work directory.

    Args:
        run_config: From `tfdeblur.config.resolve`, which takes plain dictionaries.
        stop: Receives the signals of a process that exists for this run alone. If unset, SIGINT
            and SIGTERM are held during training, and a second SIGINT is a KeyboardInterrupt.
        callbacks: See `training.trainer.Trainer`, as for the next three.
        model: A network to train in place of the configured one.
        train_data: Arrays or a `tf.data.Dataset` in place of the configured data sets.
        val_data: Arrays or a `tf.data.Dataset` to validate on.

    Returns:
        The work directory and the best validation scores.

    Raises:
        UserError: The configuration, the data or the work directory need a fix.
        Stopped: A signal ended the run, whose state was saved.

    Example:
        >>> from tfdeblur import config, train
        >>> run_config = config.resolve({"recipe": "unet16_cifar10", "workdir": "runs/unet16",
        ...                              "data": {"paths": ["data/cifar10"]}})
        >>> result = train.run(run_config)  # doctest: +SKIP
    """
    require_packages("keras")
    from tfdeblur.training.resilience.guarded_run import guarded_run
    from tfdeblur.training.trainer import Trainer

    trainer = Trainer(
        run_config, callbacks=callbacks, model=model, train_data=train_data, val_data=val_data
    )
    with guarded_run(trainer, stop) as guarded:
        return guarded.fit()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    # Before the sockets of StopRequest, which would get the number of a closed stream.
    open_standard_streams()
    with StopRequest(own_process=True) as stop:
        code = cli.guard(lambda: _main(argv, stop))
    if code == WorkerLost.exit_code:
        # TensorFlow's own shutdown might wait for the lost workers.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _main(argv: Sequence[str] | None, stop: StopRequest) -> int:
    flags, words = _open_flags(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    namespace, unknown = parser.parse_known_args(words)
    # Plug-ins import Keras, whose errors about missing packages are less clear.
    require_packages("keras")
    for section, registry in config.PLUG_INS.items():
        name = getattr(namespace, f"help_{section}", None)
        if name:
            plugins.load(namespace.plugins)
            print(options_help(section, registry.options(name), name))
            return 0
    flags = settings.merge(cli_flags.given(namespace), flags)
    if namespace.cite:
        print(recipes.bibtex(_named_recipe(flags)))
        return 0
    problems = cli_flags.reject_unknown_flags(unknown, parser)
    layer = settings.read_config_file(namespace.config) if namespace.config else {}
    resolved = config.resolve(
        _of_initial_weights(layer, flags),
        layer,
        flags,
        problems=problems,
        plugins=namespace.plugins,
    )
    if namespace.print_config:
        print(config.to_yaml(resolved), end="")
        return 0
    result = run(resolved, stop)
    print(result)
    return 0


def _named_recipe(flags: Mapping[str, Any]) -> str:
    if not flags.get("recipe"):
        raise ConfigError("recipe: --cite needs --recipe NAME, whose papers it prints.")
    return str(flags["recipe"])


def _of_initial_weights(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the network of `training.init_from`, a preset or checkpoint, if none is chosen."""
    tree: dict[str, Any] = functools.reduce(settings.merge, layers, {})
    training, model = tree.get("training"), tree.get("model")
    source = training.get("init_from") if isinstance(training, Mapping) else None
    chosen = isinstance(model, str) or (isinstance(model, Mapping) and "name" in model)
    if chosen or tree.get("recipe") or not isinstance(source, str):
        return {}
    folder = presets.find(os.path.expanduser(source))
    return {"model": read_meta(folder)["model"]} if is_checkpoint(folder) else {}


def _parser() -> argparse.ArgumentParser:
    parser = cli_flags.make_parser(PROG, DESCRIPTION)
    parser.add_argument("--config", metavar="FILE", help="YAML file with the keys shown below")
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration and exit"
    )
    parser.add_argument(
        "--cite", action="store_true", help="print the BibTeX entries of the --recipe and exit"
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
            f"--help-{section}", metavar="NAME", help=f"show the options of a {section} and exit"
        )
    cli_flags.add_plugins(parser)
    _add_aliases(parser)
    cli_flags.add_flags(parser, TrainConfig, skip=(*_OPEN_SECTIONS, plugins.KEY))
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
            help=f"duration of the run in {unit}",
        )


def _field(config_class: type[Any], name: str) -> settings.Field:
    return next(field for field in settings.fields_of(config_class) if field.name == name)


def _open_flags(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Parses ``--model.depth 20``, ``--model.encoder 1 1 1 4`` and ``--no-critic.conditional``.

    Returns:
        The tree of their values, and the remaining words.
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
        # A switch needs no value, as for all other flags; other fields reject the word.
        value = values if len(values) > 1 else (values or ["true"])[0]
        settings.put(tree, path, cli_flags.plain_value(path, value))
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
