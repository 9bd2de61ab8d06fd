"""The work directory of a run: its owner and its configuration."""

from collections.abc import Mapping
from typing import Any

from tfdeblur import config
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.checkpoints.weights import CHECKPOINTS
from tfdeblur.config import CONFIG_FILE, PlugIn, TrainConfig, renamed, settings
from tfdeblur.errors import ConfigError, UserError, reason_of
from tfdeblur.io import files
from tfdeblur.reports.histories import HISTORY
from tfdeblur.training.gallery import INDEX, PICTURES
from tfdeblur.training.resilience.incidents import INCIDENTS

# Settings that may differ between the hosts of a job.
_HOST_SETTINGS = {
    "workdir",
    "recipe",
    "data.paths",
    "data.cache",
    "training.init_from",
    "runtime.strategy",
    "runtime.worker_minutes",
    "guards.stall_seconds",
}

# Files and folders that a run writes to its directory under a fixed name.
_RESERVED = (HISTORY, INDEX, INCIDENTS, PICTURES)

# Sections of every configuration that a run has written.
_SECTIONS = {"workdir", "model", "objective", "data", "training"}


def check_workdir(run_config: TrainConfig) -> list[str]:
    """Checks that the work directory is new or belongs to this run.

    Returns:
        The settings that changed since the last start, such as ``seed 0 -> 5``; empty for a new
        run.

    Raises:
        ConfigError: The directory belongs to a run with another model or objective.
        UserError: The directory has other files, which the run would overwrite.
    """
    path = files.join(run_config.workdir, CONFIG_FILE)
    changes = []
    if files.exists(path):
        old = _read(path)
        new = settings.parse_yaml(config.to_yaml(run_config), path)
        for section in config.PLUG_INS:
            before = _with_defaults(section, old.get(section))
            # For how long a backbone is frozen is no part of the network.
            if _without_frozen(before) != _without_frozen(new[section]):
                raise ConfigError(
                    f"{section}: {run_config.workdir} belongs to a run with {section} "
                    f"{old.get(section)}, not {new[section]}. Choose another --workdir, or the "
                    "same settings to resume that run."
                )
        changes = _changes(old, new)
    elif not list_checkpoints(files.join(run_config.workdir, CHECKPOINTS)):
        for name in _RESERVED:
            taken = files.join(run_config.workdir, name)
            if files.exists(taken):
                raise UserError(
                    f"{run_config.workdir} is not the work directory of a run, and {taken} would "
                    "be overwritten. Choose another --workdir."
                )
    return changes


def _without_frozen(section: Any) -> Any:
    if not isinstance(section, Mapping):
        return section
    return {key: value for key, value in section.items() if key != "frozen"}


def write_config(run_config: TrainConfig) -> None:
    """Writes the resolved configuration, which makes the directory this run's.

    Raises:
        UserError: It cannot be written.
    """
    path = files.join(run_config.workdir, CONFIG_FILE)
    files.write_text(path, config.to_yaml(run_config))


def shared_settings(run_config: TrainConfig, precision: str) -> dict[str, Any]:
    """Returns the settings that must be equal on all workers of a job, by the path of the key.

    Args:
        run_config: This worker's configuration.
        precision: The policy that its `runtime.precision` resolved to.
    """
    tree = settings.parse_yaml(config.to_yaml(run_config), CONFIG_FILE)
    shared = {key: value for key, value in _flat(tree).items() if key not in _HOST_SETTINGS}
    return {**shared, "runtime.precision": precision}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Compares two configurations, except for plug-ins and the path of the directory."""
    known = settings.parse_yaml(config.to_yaml(_DEFAULTS), CONFIG_FILE)
    # A key that the run's version did not have had the value of its default.
    before, now = _flat(settings.merge(known, old)), _flat(new)
    return [
        f"{key} {_as_text(before.get(key))} -> {_as_text(value)}"
        for key, value in {**dict.fromkeys(before), **now}.items()
        if value != before.get(key) and key.split(".")[0] not in ("workdir", *config.PLUG_INS)
    ]


_DEFAULTS = TrainConfig(workdir="", model=PlugIn(name=""), objective=PlugIn(name=""))


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Returns the values of a tree by path; lists count as values."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _with_defaults(section: str, old: Any) -> Any:
    """Adds options that the run's version did not have, with their defaults."""
    plug_in, problems = config.resolve_plug_in(section, old)
    return old if problems else plug_in.section()


def _read(path: str) -> dict[str, Any]:
    # An unreadable file is not damaged; the file layer names it.
    data = files.read_bytes(path)
    try:
        tree = renamed.upgrade(settings.parse_yaml(data.decode("utf-8"), "it"))
        for section in ("model", "objective"):
            chosen = tree.get(section)
            if not isinstance(chosen, Mapping) or not isinstance(chosen.get("name"), str):
                raise ConfigError(f"it names no {section}")
        if absent := sorted(_SECTIONS - tree.keys()):
            raise ConfigError(f"it has no {absent[0]}")
    except (ConfigError, ValueError) as error:
        raise ConfigError(
            f"{path} is damaged ({reason_of(error)}). It records the model and objective of the "
            "run. If you are sure that this is the same run, remove the file; it is written again."
        ) from error
    return tree
