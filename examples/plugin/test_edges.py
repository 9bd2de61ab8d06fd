"""The library's contract tests on the plug-in.

::

    PYTHONPATH=examples/plugin python -m pytest examples/plugin
"""

import pathlib
from collections.abc import Callable

import edges  # registers everything
import numpy as np
import pytest

from data_prep.testing import check_source
from tfdeblur import testing
from tfdeblur.models.critics.critic import Critic
from tfdeblur.models.generator import Generator


@pytest.mark.parametrize("check", testing.MODEL_CHECKS, ids=testing.name_of)
def test_model(check: Callable[[Generator], None]) -> None:
    check(testing.build("model", "shallow", width=4))


@pytest.mark.parametrize("check", testing.CRITIC_CHECKS, ids=testing.name_of)
def test_critic(check: Callable[[Critic], None]) -> None:
    check(testing.build("critic", "shallow", width=4))


def test_objective() -> None:
    testing.check_objective("edges", weight=2.0)


def test_metric() -> None:
    testing.check_metric("edge_mae")


def test_source(tmp_path: pathlib.Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full((24, 32, 3), 80 * number, np.uint8))
    check_source("arrays", source=str(tmp_path))


def test_default_model_has_the_size_that_it_states() -> None:
    assert edges.build_model(edges.ModelOptions()).network.count_params() == 4_835
