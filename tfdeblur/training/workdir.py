"""The work directory of a run: whose it is, and by which configuration."""

from collections.abc import Mapping
from typing import Any

from tfdeblur import config
from tfdeblur.config import CONFIG_FILE, PlugIn, TrainConfig, settings
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.io import files

# What may be written otherwise on each host of a job, and still mean the same.
_OF_THE_HOST = {
    "workdir",
    "recipe",
    "data.paths",
    "data.cache",
    "training.init_from",
    "runtime.strategy",
    "runtime.worker_minutes",
    "guards.stall_seconds",
}


# What a run writes by a fixed name into its directory.
_RESERVED = ("history.csv", "index.html", "incidents.json", "pictures")
# Sections of every configuration that a run has written.
_SECTIONS = {"workdir", "model", "objective", "data", "training"}


def check_workdir(run_config: TrainConfig) -> list[str]:
    """Checks that the work directory is new, or of this run.

    Returns:
        What was changed since the last start, such as ``seed 0 -> 5``; nothing for a new run.

    Raises:
        ConfigError: It belongs to a run with another model or objective.
        UserError: It is the directory of something else, whose files a run would overwrite.
    """
    path = files.join(run_config.workdir, CONFIG_FILE)
    changes = []
    if files.exists(path):
        old = _read(path)
        new = settings.parse_yaml(config.to_yaml(run_config), path)
        for section in config.PLUG_INS:
            if _as_of_today(section, old.get(section)) != new[section]:
                raise ConfigError(
                    f"{section}: {run_config.workdir} belongs to a run with {section} "
                    f"{old.get(section)}, but now {new[section]} is asked for. Choose another "
                    "--workdir, or the same settings to go on with that run."
                )
        changes = _changes(old, new)
    elif not files.exists(files.join(run_config.workdir, "checkpoints")):
        for name in _RESERVED:
            taken = files.join(run_config.workdir, name)
            if files.exists(taken):
                raise UserError(
                    f"{run_config.workdir} is not the work directory of a run, and {taken} would "
                    "be overwritten. Choose another --workdir."
                )
    return changes


def write_config(run_config: TrainConfig) -> None:
    """Writes the resolved configuration, which makes the directory that of this run.

    Raises:
        UserError: It cannot be written.
    """
    path = files.join(run_config.workdir, CONFIG_FILE)
    files.write_text(path, config.to_yaml(run_config))


def shared_settings(run_config: TrainConfig, precision: str) -> dict[str, Any]:
    """Returns the settings that all workers of a job must have alike, by the path of the key.

    Args:
        run_config: This worker's configuration.
        precision: What its `runtime.precision` came to on this host.
    """
    tree = settings.parse_yaml(config.to_yaml(run_config), CONFIG_FILE)
    shared = {key: value for key, value in _flat(tree).items() if key not in _OF_THE_HOST}
    return {**shared, "runtime.precision": precision}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Compares two configurations, but for plug-ins and for the name of the folder itself."""
    known = settings.parse_yaml(config.to_yaml(_DEFAULTS), CONFIG_FILE)
    # A key that the run's version did not have yet stood for its default.
    before, now = _flat(settings.merge(known, old)), _flat(new)
    return [
        f"{key} {_shown(before.get(key))} -> {_shown(value)}"
        for key, value in {**dict.fromkeys(before), **now}.items()
        if value != before.get(key) and key.split(".")[0] not in ("workdir", *config.PLUG_INS)
    ]


_DEFAULTS = TrainConfig(workdir="", model=PlugIn(name=""), objective=PlugIn(name=""))


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Returns the values of a tree by their paths; lists count as values."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _as_of_today(section: str, old: Any) -> Any:
    """Adds options that the run's version did not have yet: their defaults change nothing."""
    registry = config.PLUG_INS[section]
    if not isinstance(old, Mapping) or old.get("name") not in registry.names():
        return old
    plug_in = config.PlugIn.of(old)
    options, problems = settings.check(registry.options(plug_in.name), plug_in.options)
    return old if problems else {"name": plug_in.name, **settings.to_plain(options)}


def _read(path: str) -> dict[str, Any]:
    # What cannot be read is not damaged, and is told of by the file layer.
    data = files.read_bytes(path)
    try:
        tree = settings.parse_yaml(data.decode("utf-8"), "it")
        for section in ("model", "objective"):
            chosen = tree.get(section)
            if not isinstance(chosen, Mapping) or not isinstance(chosen.get("name"), str):
                raise ConfigError(f"it names no {section}")
        if absent := sorted(_SECTIONS - tree.keys()):
            raise ConfigError(f"it has no {absent[0]}")
    except (ConfigError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".:")
        raise ConfigError(
            f"{path} is damaged ({reason}). It says which model and objective the run has. Remove "
            "it if you are sure that this is the same run; it is written anew."
        ) from error
    return tree
