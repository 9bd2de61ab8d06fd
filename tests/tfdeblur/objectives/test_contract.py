"""Contract of every registered objective; a new file in the folder is tested automatically."""

import pytest

from tfdeblur import config, testing
from tfdeblur.objectives.objective import CRITIC
from tfdeblur.testing import options
from tfdeblur.testing.objectives import losses_have_gradients_for_their_network, tiny_critic

NAMES = config.OBJECTIVES.names()


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def objective(name):
    return testing.build("objective", name)


def test_options_are_documented_and_declare_the_critic(name, objective):
    chosen = config.OBJECTIVES.options(name)
    options.are_frozen_and_documented(chosen)
    assert getattr(chosen, "needs_critic", False) == (CRITIC in objective.updates)


@pytest.mark.parametrize("check", testing.OBJECTIVE_CHECKS, ids=testing.name_of)
def test_objective_fulfills(check, objective):
    check(objective)


def test_losses_of_a_critic_with_two_scales_have_gradients(objective):
    sizes = {"width": 4, "local_layers": 1, "global_layers": 2, "norm": "none"}
    losses_have_gradients_for_their_network(objective, tiny_critic("double_scale", **sizes))
