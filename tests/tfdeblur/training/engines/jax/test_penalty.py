"""The gradient penalty under JAX and its gradients, against finite differences in NumPy."""

import numpy as np
import pytest

from tests.helpers import jax_process
from tests.tfdeblur.objectives.test_adversarial import numpy_conv
from tfdeblur.testing.objectives import make_view, tiny_critic

pytest.importorskip("jax")

UPDATE = """
import sys
import jax, numpy as np
from tests.helpers.tiny_models import TINY
from tfdeblur import config, models, objectives
from tfdeblur.config.train import RuntimeConfig
from tfdeblur.models import critics
from tfdeblur.objectives.objective import CRITIC
from tfdeblur.training import engines
from tfdeblur.training.engines.engine import StepPlan
from tfdeblur.training.state import TrainingState

given = dict(np.load(sys.argv[1]))
weights = [given.pop(f"weight{index}") for index in range(6)]
images = {name: jax.numpy.asarray(array) for name, array in given.items()}
images["outputs"] = (images.pop("restored"),)

engine = engines.create()
engine.start(0, RuntimeConfig(strategy="one"))
critic = critics.create("patch_gan", {"layers": 1, "width": 4, "norm": "none"})
critic.network.set_weights(weights)
run_config = config.resolve({"workdir": "w", "model": "unet16", "objective": "content"})
generator = models.create("unet16", TINY["unet16"])
state = TrainingState(run_config, generator, {CRITIC: critic}, total_images=64, epoch_images=16)
engine.compile(state, objectives.create("wgan_gp"), StepPlan(1))

step = engine._step
values = {name: variable.value for name, variable in step.variables.items()}
update = jax.jit(lambda values: step._gradients(values, CRITIC, images)[1])
gradients, scalars = update(values)
found = {f"gradient{i}": gradients[name] for i, name in enumerate(step._trained[CRITIC])}
np.savez(sys.argv[2], **found, **{name.partition("/")[2]: x for name, x in scalars.items()})
"""

STEP = 1e-6


def score(weights, images):
    """The mean of the score map of a tiny PatchGAN without normalization, in float64."""
    x = images
    for place, stride in enumerate((2, 1, 1)):
        x = numpy_conv(x, weights[2 * place], weights[2 * place + 1], stride)
        x = np.where(x > 0, x, 0.2 * x) if place < 2 else x
    return x.mean(axis=(1, 2, 3))


def slope_of(weights, image):
    """The norm of the gradient by the image, from one perturbed image per value."""
    nudges = np.eye(image.size).reshape(-1, *image.shape[1:]) * STEP
    up, down = (score(weights, image + sign * nudges) for sign in (1, -1))
    return np.linalg.norm((up - down) / (2 * STEP))


@pytest.mark.slow
def test_penalty_and_its_gradients_equal_finite_differences(tmp_path, repository):
    critic = tiny_critic(norm="none")
    _, view = make_view(critic, batch=1)
    weights = critic.network.get_weights()
    images = {name: np.asarray(getattr(view, name)) for name in ("blurred", "sharp", "restored")}
    images["uniform"] = np.asarray(view.uniform)
    given, answer = str(tmp_path / "given.npz"), str(tmp_path / "answer.npz")
    np.savez(given, **images, **{f"weight{i}": array for i, array in enumerate(weights)})
    jax_process.run(UPDATE, repository, given, answer)
    found = dict(np.load(answer))

    weights = [array.astype("float64") for array in weights]
    sharp, restored = (images[name].astype("float64") for name in ("sharp", "restored"))
    between = sharp + float(images["uniform"][0]) * (restored - sharp)
    slope = slope_of(weights, between)
    np.testing.assert_allclose(found["slope"], slope, rtol=1e-4)
    np.testing.assert_allclose(found["penalty"], (slope - 1) ** 2, rtol=1e-4)

    def loss(weights):
        distance = score(weights, sharp) - score(weights, restored)
        return 10.0 * (slope_of(weights, between) - 1) ** 2 - distance[0]

    np.testing.assert_allclose(found["loss"], loss(weights), rtol=1e-4)
    gradients = [found[f"gradient{index}"].astype("float64") for index in range(len(weights))]
    size = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
    rng = np.random.default_rng(8)
    others = [[rng.normal(size=array.shape) for array in weights] for _ in range(2)]
    for direction in (gradients, *others):
        length = np.sqrt(sum(np.sum(part**2) for part in direction))
        # So short that no activation changes its sign.
        moves = [1e-5 / length * part for part in direction]
        up, down = (
            loss([array + sign * move for array, move in zip(weights, moves, strict=True)])
            for sign in (1, -1)
        )
        slopes = [np.sum(g * move) for g, move in zip(gradients, moves, strict=True)]
        assert abs(sum(slopes) - (up - down) / 2) < 1e-3 * size * 1e-5
