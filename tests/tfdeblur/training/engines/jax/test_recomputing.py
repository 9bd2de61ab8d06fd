"""Recomputed activations: the same gradients from less memory."""

import pytest

from tests.helpers import jax_process

pytest.importorskip("jax")

STEPS = """
import jax, numpy as np
from tests.helpers.tiny_models import TINY
from tfdeblur import config, models, objectives
from tfdeblur.config.train import RuntimeConfig
from tfdeblur.models import critics
from tfdeblur.training import engines
from tfdeblur.training.engines.engine import StepPlan
from tfdeblur.training.state import TrainingState

def run(name, remat, objective, **plan):
    engine = engines.create()
    engine.start(0, RuntimeConfig(strategy="one"))
    losses = objectives.create(objective, {"losses": {"mae": 1.0}})
    built = {"critic": critics.create("patch_gan", {"layers": 1, "width": 4})}
    optimizer = {"learning_rate": 1e-3}
    run_config = config.resolve({"workdir": "w", "model": "unet16", "objective": "content",
                                 "optimizer": optimizer, "training": {"remat": remat}})
    plan = StepPlan(4, remat=run_config.training.remat, **plan)
    state = TrainingState(run_config, models.create(name, TINY[name]),
                          built if "critic" in losses.updates else {}, total_images=64,
                          epoch_images=16, step_images=4)
    engine.compile(state, losses, plan)
    random = np.random.default_rng(0)
    batch = {h: random.integers(0, 256, (4, 32, 32, 3), np.uint8) for h in ("blurred", "sharp")}
    results = engine.run_steps(iter([jax.device_put(batch, engine._parts)] * 2), 2, 0)
    return results.sums, state.arrays()

# The generator's pass is shared with the critic, or belongs to its own update.
for name, objective, plan in [("deblurgan", "wgan_gp", {}),
                              ("nafnet", "content", {"micro_batches": 2})]:
    plain, recomputed = run(name, False, objective, **plan), run(name, True, objective, **plan)
    for one, other in zip(plain, recomputed):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_allclose(one[key], other[key], rtol=2e-4, atol=2e-6, err_msg=key)
"""

RESIDUALS = """
import jax, numpy as np
from tests.helpers.tiny_models import TINY
from tfdeblur import models
from tfdeblur.training.engines.jax import recomputing

def residuals(function, weights):
    pull_back = jax.eval_shape(lambda w: jax.vjp(function, w)[1], weights)
    return sum(np.prod(part.shape) * part.dtype.itemsize for part in jax.tree.leaves(pull_back))

network = models.create(name, TINY[name]).network
count = recomputing.keep_joined(network)
assert count == recomputing.keep_joined(network) > 0  # marks each once
others = [variable.value for variable in network.non_trainable_variables]
weights = [variable.value for variable in network.trainable_variables]
def restore(weights):
    return jax.tree.leaves(network.stateless_call(weights, others, np.ones((1, 64, 64, 3)))[0])
kept = residuals(recomputing.recomputed(restore), weights)
assert kept < 0.7 * residuals(restore, weights)
"""


@pytest.mark.long
def test_steps_are_equal(repository):
    jax_process.run(STEPS, repository)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["unet16", "mimo_unet", "nafnet"],
)
def test_fewer_activations_are_kept(repository, name):
    jax_process.run(f"name = {name!r}\n{RESIDUALS}", repository)
