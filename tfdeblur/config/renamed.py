"""Configuration keys that have been renamed.

The old names are rejected with an error that gives the new one. Only the ``config.yaml`` that an
earlier version wrote into a work directory is converted, so that its run can be resumed.
"""

from collections.abc import Mapping
from typing import Any

# Old path -> new path. A renamed section renames all paths in it.
RENAMED = {
    "players": "networks",
    "guards.most_skips": "guards.max_consecutive_skips",
    "guards.most_rollbacks": "guards.max_rollbacks",
    "guards.least_gradient": "guards.min_gradient",
    "guards.most_gradient": "guards.max_gradient",
    "guards.least_wasserstein": "guards.min_wasserstein",
    "guards.most_wasserstein": "guards.max_wasserstein",
}


def new_name(path: str) -> str | None:
    """Returns the current path of a renamed key, or None if it was not renamed.

    Example:
        >>> new_name("players.critic.optimizer")
        'networks.critic.optimizer'
    """
    for old, new in RENAMED.items():
        if path == old or path.startswith(f"{old}."):
            return new + path.removeprefix(old)
    return None


def upgrade(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration of an earlier version with its keys renamed.

    Example:
        >>> upgrade({"guards": {"most_skips": 3}, "players": {}})
        {'guards': {'max_consecutive_skips': 3}, 'networks': {}}
    """
    return _upgraded(tree, "")


def _upgraded(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        new = RENAMED.get(path, path).removeprefix(prefix)
        result[new] = _upgraded(value, f"{path}.") if isinstance(value, Mapping) else value
    return result
