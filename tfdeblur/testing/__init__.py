"""Checks of the contracts that models, critics, objectives and metrics must fulfill.

The library's own are tested by them, and so can those of a plug-in be::

    import pytest
    import my_networks
    from tfdeblur import testing

    @pytest.mark.parametrize("check", testing.MODEL_CHECKS, ids=testing.name_of)
    def test_contract(check):
        check(testing.build("model", "shallow", width=4))

`check_model`, `check_critic`, `check_objective` and `check_metric` run all checks of a kind. A
check raises an AssertionError that says what is wrong. They run on TensorFlow; build small networks
for them, as some compile a training step. `data_prep.testing` checks sources.
"""

from collections.abc import Callable
from typing import Any

import keras

from tfdeblur.errors import ConfigError
from tfdeblur.metrics import METRICS
from tfdeblur.models import create as create_model
from tfdeblur.models.critics import create as create_critic
from tfdeblur.objectives import create as create_objective
from tfdeblur.registry import did_you_mean
from tfdeblur.testing.critics import CRITIC_CHECKS
from tfdeblur.testing.metrics import METRIC_CHECKS
from tfdeblur.testing.models import MODEL_CHECKS, randomize_zeros
from tfdeblur.testing.objectives import OBJECTIVE_CHECKS

__all__ = [
    "CRITIC_CHECKS",
    "METRIC_CHECKS",
    "MODEL_CHECKS",
    "OBJECTIVE_CHECKS",
    "build",
    "check_critic",
    "check_metric",
    "check_model",
    "check_objective",
    "name_of",
]

_CREATE: dict[str, Callable[[str, Any], Any]] = {
    "model": create_model,
    "critic": create_critic,
    "objective": create_objective,
}


def build(kind: str, name: str, **options: Any) -> Any:
    """Builds what the checks of a kind take.

    Args:
        kind: ``model``, ``critic``, ``objective`` or ``metric``.
        name: Its name in the registry; the key of a metric.
        **options: Its options.

    Returns:
        A `Generator` whose zero weights are random, a `Critic`, a prepared `Objective`, or a
        `Metric`.

    Raises:
        ConfigError: Unknown kind or name, or an invalid option.
    """
    if kind == "metric":
        if name not in METRICS:
            raise ConfigError(f"Unknown metric {name!r}.{did_you_mean(name, METRICS)}")
        return METRICS[name]
    if kind not in _CREATE:
        raise ConfigError(f"Unknown kind {kind!r}.{did_you_mean(kind, [*_CREATE, 'metric'])}")
    keras.utils.set_random_seed(1)
    built = _CREATE[kind](name, options)
    if kind == "model":
        randomize_zeros(built)
    elif kind == "objective":
        built.prepare()
    return built


def name_of(check: Callable[..., None]) -> str:
    """Returns the name of a check, for the ids of pytest's parameters."""
    return check.__name__


def check_model(name: str, **options: Any) -> None:
    """Runs all checks of a generator; choose options that make it small."""
    generator = build("model", name, **options)
    for check in MODEL_CHECKS:
        check(generator)


def check_critic(name: str, **options: Any) -> None:
    """Runs all checks of a critic; choose options that make it small."""
    for check in CRITIC_CHECKS:
        check(build("critic", name, **options))


def check_objective(name: str, **options: Any) -> None:
    """Runs all checks of an objective."""
    objective = build("objective", name, **options)
    for check in OBJECTIVE_CHECKS:
        check(objective)


def check_metric(key: str) -> None:
    """Runs all checks of a metric that compares two images."""
    for check in METRIC_CHECKS:
        check(build("metric", key))
