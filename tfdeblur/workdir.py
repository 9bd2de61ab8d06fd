"""The work directory of a run: whose it is, and by which configuration."""

from collections.abc import Mapping
from typing import Any

from tfdeblur import config, files, settings
from tfdeblur.config import TrainConfig
from tfdeblur.errors import ConfigError, UserError

CONFIG = "config.yaml"


def prepare_workdir(run_config: TrainConfig) -> None:
    """Makes the work directory and writes the resolved configuration into it.

    Raises:
        ConfigError: It belongs to a run with another model or objective.
        UserError: It cannot be written.
    """
    files.make_dirs(run_config.workdir)
    path = files.join(run_config.workdir, CONFIG)
    text = config.to_yaml(run_config)
    if files.exists(path):
        old = _read(path)
        new = settings.parse_yaml(text, path)
        for section in config.PLUG_INS:
            if _as_of_today(section, old.get(section)) != new[section]:
                raise ConfigError(
                    f"{section}: {run_config.workdir} belongs to a run with {section} "
                    f"{old.get(section)}, but now {new[section]} is asked for. Choose another "
                    "--workdir, or the same settings to go on with that run."
                )
    files.write_text(path, text)


def _as_of_today(section: str, old: Any) -> Any:
    """Adds options that the run's version did not have yet: their defaults change nothing."""
    registry = config.PLUG_INS[section]
    if not isinstance(old, Mapping) or old.get("name") not in registry.names():
        return old
    plug_in = config.PlugIn.of(old)
    options, problems = settings.check(registry.options(plug_in.name), plug_in.options)
    return old if problems else {"name": plug_in.name, **settings.to_plain(options)}


def _read(path: str) -> dict[str, Any]:
    try:
        return settings.parse_yaml(files.read_text(path), path)
    except UserError as error:
        raise ConfigError(
            f"{path} is damaged ({str(error).splitlines()[0]}). It says which model and objective "
            "the run has. Remove it if you are sure that this is the same run; it is written anew."
        ) from error
