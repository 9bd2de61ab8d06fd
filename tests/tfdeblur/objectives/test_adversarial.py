"""Adversarial losses against NumPy in float64, and gradients against finite differences."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import config, objectives
from tfdeblur.objectives.objective import CRITIC, GENERATOR
from tfdeblur.testing.objectives import make_view, tiny_critic

WITH_CRITIC = [name for name in config.OBJECTIVES.names() if name != "content"]


class FixedCritic:
    """A critic with constant scores."""

    def __init__(self, real, fake):
        self.maps = tuple(tf.constant(r) for r in real), tuple(tf.constant(f) for f in fake)
        self.network = keras.Model(x := keras.Input((None, None, 3)), [x] * len(real))

    def scores(self, images, blurred):
        return self.maps[1]

    def scores_of_both(self, first, second, blurred):
        return self.maps


def softplus(x):
    return np.log1p(np.exp(x))


def mean(x):
    return x.mean(axis=(1, 2, 3))


# From the scores of sharp and of restored images to the critic's and the generator's loss.
FORMULAS = {
    "gan": lambda r, f: (mean(softplus(-r)) + mean(softplus(f)), mean(softplus(-f))),
    "lsgan": lambda r, f: ((mean((r - 1) ** 2) + mean(f**2)) / 2, mean((f - 1) ** 2) / 2),
    "wgan": lambda r, f: (mean(f) - mean(r), -mean(f)),
    "ragan_ls": lambda r, f: (
        mean((r - f.mean() - 1) ** 2) + mean((f - r.mean() + 1) ** 2),
        mean((f - r.mean() - 1) ** 2) + mean((r - f.mean() + 1) ** 2),
    ),
}


@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("name", FORMULAS)
def test_losses_equal_formulas_of_papers(name, maps):
    rng = np.random.default_rng(4)
    shapes = [(3, 4, 5, 1), (3, 2, 2, 1)][:maps]
    real = [rng.normal(size=shape).astype("float32") for shape in shapes]
    fake = [rng.normal(size=shape).astype("float32") for shape in shapes]
    _, view = make_view(FixedCritic(real, fake))
    options = {"losses": {"mae": 2.0}, "adversarial_weight": 0.3}
    objective = objectives.create(name, options)

    expected = [FORMULAS[name](r.astype("float64"), f) for r, f in zip(real, fake, strict=True)]
    critic, adversarial = (sum(losses) / maps for losses in zip(*expected, strict=True))
    loss = objective.loss(CRITIC, view)
    np.testing.assert_allclose(loss.per_example, critic, rtol=2e-6)
    np.testing.assert_allclose(loss.terms["real"], sum(map(mean, real)) / maps, rtol=2e-6)

    loss = objective.loss(GENERATOR, view)
    mae = mean(np.abs(view.restored.numpy().astype("float64") - view.sharp))
    np.testing.assert_allclose(loss.terms["adversarial"], adversarial, rtol=2e-6)
    np.testing.assert_allclose(loss.per_example, 0.3 * adversarial + 2 * mae, rtol=2e-6)


def linear_critic(weights):
    """Returns a critic whose score of a pixel is a weighted sum of its colors."""
    critic = tiny_critic(norm="none")
    inputs = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(1, 1, use_bias=False)
    network = keras.Model(inputs, [layer(inputs)])
    layer.kernel.assign(np.reshape(weights, (1, 1, 3, 1)))
    return dataclasses.replace(critic, network=network)


@pytest.mark.parametrize("score", ["mean", "sum"])
def test_penalty_of_linear_critic_equals_analytic_slope(score):
    weights = np.array([3.0, -4.0, 12.0])  # its length is 13
    _, view = make_view(linear_critic(weights))
    pixels = 16 * 16
    # The mean over pixels has the slope 13 * sqrt(pixels) / pixels.
    slope = 13.0 * np.sqrt(pixels) / (pixels if score == "mean" else 1)
    objective = objectives.create("wgan_gp", {"penalty_weight": 7.0, "penalty_score": score})
    loss = objective.loss(CRITIC, view)
    np.testing.assert_allclose(loss.terms["slope"], [slope] * 3, rtol=1e-5)
    np.testing.assert_allclose(loss.terms["penalty"], [(slope - 1) ** 2] * 3, rtol=1e-4)
    real = (view.sharp.numpy().astype("float64") @ weights).mean(axis=(1, 2))
    fake = (view.restored.numpy().astype("float64") @ weights).mean(axis=(1, 2))
    expected = fake - real + 7 * (slope - 1) ** 2
    np.testing.assert_allclose(loss.per_example, expected, rtol=1e-4)


def numpy_critic(critic, images):
    """A tiny PatchGAN without normalization in float64: two 4x4 convolutions and the scores."""
    x = images
    for name, stride in (("block1", 2), ("block2", 1), ("scores", 1)):
        layer = critic.network.get_layer(name if name == "scores" else f"{name}_conv")
        x = numpy_conv(x, layer.kernel.numpy().astype("float64"), layer.bias.numpy(), stride)
        if name != "scores":
            x = np.where(x > 0, x, 0.2 * x)
    return x.mean(axis=(1, 2, 3))


def numpy_conv(x, kernel, bias, stride):
    size = -(-x.shape[1] // stride)
    total = max((size - 1) * stride + 4 - x.shape[1], 0)
    before, after = total // 2, total - total // 2
    x = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    out = np.zeros((x.shape[0], size, size, kernel.shape[3]))
    for row in range(size):
        for column in range(size):
            patch = x[:, row * stride : row * stride + 4, column * stride : column * stride + 4]
            out[:, row, column] = np.einsum("bijc,ijcd->bd", patch, kernel)
    return out + bias


def test_penalty_equals_finite_differences_in_numpy():
    critic = tiny_critic(norm="none")
    _, view = make_view(critic, batch=1)
    loss = objectives.create("wgan_gp").loss(CRITIC, view)
    sharp, restored = view.sharp.numpy().astype("float64"), view.restored.numpy()
    between = sharp + float(view.uniform[0]) * (restored - sharp)
    # All 768 derivatives at once: one perturbed image for each.
    step = 1e-6
    nudges = np.eye(between.size).reshape(-1, 16, 16, 3) * step
    up, down = (numpy_critic(critic, between + sign * nudges) for sign in (1, -1))
    slope = np.linalg.norm((up - down) / (2 * step))
    np.testing.assert_allclose(loss.terms["slope"], [slope], rtol=1e-4)
    np.testing.assert_allclose(loss.terms["penalty"], [(slope - 1) ** 2], rtol=1e-4)


@pytest.mark.parametrize("name", WITH_CRITIC)
@pytest.mark.parametrize("trained", [CRITIC, GENERATOR])
def test_gradients_equal_finite_differences(name, trained):
    # The penalty contains a second derivative, so the activations must be smooth.
    keras.utils.set_random_seed(9)
    inputs = x = keras.Input((None, None, 3))
    for channels in (3, 1):
        x = keras.layers.Conv2D(channels, 3, strides=2, activation="tanh")(x)
    critic = dataclasses.replace(tiny_critic(), network=keras.Model(inputs, [x]))
    generator, view = make_view(critic)
    objective = objectives.create(name, {"losses": {"mse": 1.0}})
    network = {CRITIC: critic.network, GENERATOR: generator}[trained]

    def loss():
        changed = {"outputs": (generator(view.blurred),), "critics": {CRITIC: critic}}
        return tf.reduce_sum(
            objective.loss(trained, dataclasses.replace(view, **changed)).per_example
        )

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, network.trainable_variables)
    rng = np.random.default_rng(8)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        if gradient is None or not np.any(gradient != 0):
            continue  # a bias that shifts scores that are only compared
        old = variable.numpy()
        direction = rng.normal(size=old.shape)
        direction /= np.linalg.norm(direction)
        values = []
        for sign in (1, -1):
            variable.assign(old + sign * 1e-2 * direction)
            values.append(float(loss()))
        variable.assign(old)
        expected = float(np.sum(gradient * direction))
        scale = float(np.linalg.norm(gradient))
        # Losses are float32: steps of 1e-2 leave an error of about 1e-4 in the gradient.
        assert abs((values[0] - values[1]) / 2e-2 - expected) < 0.02 * scale + 1e-4


def test_weight_clip_of_wgan_follows_option():
    assert objectives.create("wgan").weight_clip == {CRITIC: 0.01}
    assert objectives.create("wgan", {"weight_clip": 0.1}).weight_clip == {CRITIC: 0.1}
    assert objectives.create("wgan_gp").weight_clip == {}


@pytest.mark.parametrize(("name", "updates"), [("gan", 1), ("ragan_ls", 1), ("wgan_gp", 5)])
def test_updates_follow_critic_updates_option(name, updates):
    assert objectives.create(name).updates == (CRITIC,) * updates + (GENERATOR,)
    assert objectives.create(name, {"critic_updates": 2}).updates == (CRITIC, CRITIC, GENERATOR)


def test_generator_loss_without_content_losses_is_adversarial_only():
    _, view = make_view()
    loss = objectives.create("gan", {"losses": {}}).loss(GENERATOR, view)
    assert set(loss.terms) == {"adversarial"}
    np.testing.assert_allclose(loss.per_example, loss.terms["adversarial"])


@pytest.mark.parametrize("name", WITH_CRITIC)
def test_critic_sees_the_finest_output_only(name):
    _, view = make_view()
    near, far = (
        dataclasses.replace(view, outputs=(view.restored, tf.fill((3, 8, 8, 3), level)))
        for level in (0.5, 5.0)
    )
    objective = objectives.create(name, {"losses": {"mae": 1.0}})
    losses = [objective.loss(CRITIC, pyramid).per_example for pyramid in (near, far)]
    np.testing.assert_allclose(*losses, rtol=1e-5, atol=1e-6)
    terms = [objective.loss(GENERATOR, pyramid).terms for pyramid in (near, far)]
    adversarial = [each["adversarial"] for each in terms]
    np.testing.assert_allclose(*adversarial, rtol=1e-5, atol=1e-6)
    assert np.all(terms[1]["mae"] > terms[0]["mae"] + 3)
