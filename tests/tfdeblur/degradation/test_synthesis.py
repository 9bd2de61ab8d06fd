"""(seed, index) determines every image, and the result agrees with the NumPy functions."""

import math
from typing import Any, cast

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.degradation import degradation, kernels, synthesis
from tfdeblur.degradation.degradation import Degradation, Shares
from tfdeblur.degradation.synthesis import Synthesis
from tfdeblur.ops import arrays, random

KINDS = {
    "trajectory": Degradation(blur="trajectory", strength=0.4),
    "gaussian": Degradation(blur="gaussian", linear_light=True),
    "disc": Degradation(blur="disc"),
    "varying": Degradation(blur="trajectory", strength=0.3, variation=0.5),
    "camera": Degradation(
        blur="gaussian",
        variation=1.0,
        linear_light=True,
        highlights=4.0,
        read_noise=0.02,
        shot_noise=0.03,
    ),
    "noise": Degradation(read_noise=0.05),
    "mixed": Degradation(
        blur={"trajectory": 2, "disc": 1, "gaussian": 1, "none": 1},
        strength=0.4,
        variation=0.8,
        read_noise=0.02,
    ),
}
each_kind = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)


@pytest.fixture
def short_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer points per path, for speed."""
    monkeypatch.setattr(kernels, "STEPS", 250)


def indices(first: int, count: int) -> tf.Tensor:
    return tf.range(first, first + count, dtype=tf.int64)


def image_keys(seed: int, numbers: tf.Tensor) -> tf.Tensor:
    return random.subkey_tensor(random.key_of(seed), numbers)


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    """Images with flat parts, edges and white, of a size that fills no vector register."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 6, 5, 3))
    coarse[rng.uniform(size=coarse.shape[:3]) < 0.2] = 255
    return coarse.repeat(6, axis=1).repeat(7, axis=2).astype(np.uint8)[:, :, :33]


@each_kind
@pytest.mark.usefixtures("short_paths")
def test_images_equal_numpy_for_the_same_draws(sharp: np.ndarray, options: Degradation) -> None:
    synthesized = Synthesis(options)
    keys = image_keys(3, indices(0, 5))
    blur_kernels, draws = tf.function(
        lambda keys: (synthesized.blur_kernels(keys), synthesized.draw(keys)), autograph=False
    )(keys)
    canvas = options.canvas
    assert blur_kernels.shape == [5, 4 if options.variation else 1, canvas, canvas]
    normals = synthesis.standard_normals(draws.noise_key, sharp.shape[1:])
    noisy = options.read_noise or options.shot_noise
    expected = [
        degradation.degrade(
            sharp[number],
            blur_kernels[number].numpy(),
            gamma=options.gamma,
            boost=float(draws.boost[number]),
            read=float(draws.noise[number]) * options.read_noise,
            shot=float(draws.noise[number]) * options.shot_noise,
            normals=normals[number].numpy() if noisy else None,
        )
        for number in range(5)
    ]
    values = synthesized.degrade(tf.constant(sharp), blur_kernels, draws)
    # Compared as light: near black, the root that gives pixel values magnifies rounding errors.
    np.testing.assert_allclose(
        values.numpy() ** options.gamma, np.stack(expected) ** options.gamma, atol=1e-5
    )
    blurred = synthesized(tf.constant(sharp), keys).numpy()
    difference = np.abs(blurred.astype(int) - arrays.to_uint8(np.stack(expected)))
    assert difference.max() <= 1 and difference.mean() < 1e-3


@pytest.mark.slow
@each_kind
@pytest.mark.usefixtures("short_paths")
def test_image_does_not_depend_on_its_batch(sharp: np.ndarray, options: Degradation) -> None:
    run = tf.function(
        lambda images, numbers: Synthesis(options)(images, image_keys(1, numbers)), autograph=False
    )
    reference = run(sharp, indices(7, 5)).numpy()
    assert reference.dtype == np.uint8 and reference.shape == sharp.shape
    np.testing.assert_array_equal(run(sharp, indices(7, 5)), reference)
    for begin, end in [(0, 1), (1, 2), (4, 5), (1, 4)]:
        part = run(sharp[begin:end], indices(7 + begin, end - begin))
        np.testing.assert_array_equal(part, reference[begin:end])
    assert (reference != sharp).mean() > 0.05


@each_kind
@pytest.mark.usefixtures("short_paths")
def test_image_depends_on_seed_and_index(sharp: np.ndarray, options: Degradation) -> None:
    run = tf.function(Synthesis(options), autograph=False)
    same = np.repeat(sharp[:1], 4, axis=0)
    images = {
        image.tobytes()
        for seed in (0, 1)
        for image in run(same, image_keys(seed, indices(0, 4))).numpy()
    }
    assert len(images) >= 7  # two short exposures may give the same image


def test_path_draws_have_the_distribution_of_numpy() -> None:
    drawn = synthesis._path_draws(image_keys(0, indices(0, 400)))
    moves = kernels.STEPS - 1
    assert set(drawn.shake.numpy()) == set(np.float32(kernels.SHAKES))
    for values, top in [(drawn.pull, 0.7), (drawn.gaussian, 10.0)]:
        assert 0 <= values.numpy().min() < 0.02 * top and 0.98 * top < values.numpy().max() < top
    np.testing.assert_allclose(np.hypot(*drawn.heading.numpy().T), 1, rtol=1e-6)
    assert np.abs(drawn.heading.numpy().mean(axis=0)).max() < 0.15
    force = drawn.force.numpy().reshape(-1)
    assert drawn.force.shape == [400, moves, 2]
    assert force.mean() == pytest.approx(0, abs=4e-3) and force.std() == pytest.approx(1, abs=4e-3)
    assert (np.abs(force) > 3).mean() == pytest.approx(0.0027, rel=0.1)
    size = np.hypot(*drawn.jump.numpy().reshape(-1, 2).T)
    assert (size > 0).mean() == pytest.approx(0.1 * 0.007, rel=0.25)
    jumps = drawn.jump.numpy().reshape(-1, 2)[size > 0]
    np.testing.assert_allclose(size[size > 0], 2, rtol=1e-5)
    assert np.abs(np.arctan2(-jumps[:, 1], -jumps[:, 0])).max() <= 0.5


def test_noise_is_normal_and_independent() -> None:
    normals = synthesis.standard_normals(image_keys(0, indices(0, 4)), (100, 101, 3)).numpy()
    assert normals.shape == (4, 100, 101, 3)
    count = normals.size
    assert abs(normals.mean()) < 4 / math.sqrt(count)
    assert normals.var() == pytest.approx(1, rel=4 * math.sqrt(2 / count))
    assert (normals**4).mean() == pytest.approx(3, rel=0.04)
    flat = normals.reshape(4, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(flat[:, :-1].ravel(), flat[:, 1:].ravel())[0, 1]) < 0.015


def test_noise_has_the_drawn_level() -> None:
    options = Degradation(read_noise=0.04, shot_noise=0.06)
    flat = np.full((6, 80, 80, 3), 102, np.uint8)
    keys = image_keys(0, indices(0, 6))
    level = Synthesis(options).draw(keys).noise.numpy()
    error = Synthesis(options)(tf.constant(flat), keys).numpy() / 255.0 - 0.4
    rounding = 1 / 255**2 / 12
    expected = level**2 * (0.04**2 + 0.06**2 * 0.4) + rounding
    np.testing.assert_allclose(error.var(axis=(1, 2, 3)), expected, rtol=0.06)


def test_sigmas_fill_their_range_scaled_by_strength() -> None:
    keys = image_keys(0, indices(0, 300))
    for strength in (1.0, 0.5):
        options = Degradation(blur="gaussian", min_sigma=1.0, max_sigma=3.0, strength=strength)
        peaks = Synthesis(options).blur_kernels(keys).numpy().max(axis=(1, 2, 3)).astype(np.float64)
        widths = np.sqrt(1 / (2 * np.pi * peaks)) / strength
        assert 0.93 < widths.min() < 1.1 and 2.9 < widths.max() < 3.1
        assert widths.mean() == pytest.approx(2, abs=0.1)


@pytest.mark.usefixtures("short_paths")
def test_flat_image_keeps_its_brightness() -> None:
    flat = np.full((4, 20, 26, 3), 131, np.uint8)
    for kind in ("trajectory", "gaussian", "disc", "varying"):
        blurred = tf.function(Synthesis(KINDS[kind]), autograph=False)(
            flat, image_keys(0, indices(0, 4))
        )
        np.testing.assert_array_equal(blurred, flat)


@pytest.mark.parametrize("blur", ["trajectory", "gaussian", "disc"])
def test_blurred_image_is_aligned_with_sharp(blur: Any) -> None:
    # The phase of wavelengths far longer than the kernel measures the shift alone; that of short
    # ones also measures the kernel's asymmetry, which is no misalignment.
    spot = np.exp(-0.5 * ((np.arange(320) - 160) / 45) ** 2)
    sharp = np.rint(250 * np.outer(spot, spot))[..., None].repeat(3, axis=-1).astype(np.uint8)
    batch = sharp[None].repeat(8, axis=0)
    options = Degradation(blur=blur, exposures=(0.5, 1.0))
    blurred = tf.function(Synthesis(options), autograph=False)(
        batch, image_keys(0, indices(0, 8))
    ).numpy()
    spectra = np.fft.fft2(blurred[..., 0].astype(np.float64))
    correlated = spectra * np.conj(np.fft.fft2(sharp[..., 0].astype(np.float64)))
    for phase in (np.angle(correlated[:, 1, 0]), np.angle(correlated[:, 0, 1])):
        assert np.abs(phase).max() * 320 / (2 * np.pi) < 0.1


def test_jpeg_on_the_host_equals_pillow(sharp: np.ndarray) -> None:
    options = Degradation(jpeg=30)
    keys = image_keys(0, indices(0, 5))
    quality = Synthesis(options).draw(keys).quality.numpy()
    assert quality.min() >= 30 and quality.max() <= 100 and len(set(quality)) > 1
    made = Synthesis(options)(tf.constant(sharp), keys).numpy().astype(int)
    for number in range(5):
        expected = degradation.compress(sharp[number], int(quality[number]))
        assert np.abs(made[number] - expected).mean() < 0.5


@pytest.mark.usefixtures("short_paths")
def test_mixed_image_is_that_of_its_kind(sharp: np.ndarray) -> None:
    shares: Shares = {"trajectory": 3, "disc": 2, "gaussian": 0, "none": 1, "identity": 2}
    common: dict[str, Any] = {"strength": 0.3, "linear_light": True, "shot_noise": 0.03}
    mixed = Degradation(blur=shares, **common)
    assert list(mixed.shares) == ["disc", "identity", "none", "trajectory"]
    keys, images = image_keys(0, indices(0, 24)), np.resize(sharp, (24, *sharp.shape[1:]))
    kinds = [list(mixed.shares)[kind] for kind in Synthesis(mixed).draw(keys).kind.numpy()]
    assert set(kinds) == set(mixed.shares)
    made = Synthesis(mixed)(tf.constant(images), keys).numpy().astype(int)
    for kind in set(kinds):
        chosen = [number for number, drawn in enumerate(kinds) if drawn == kind]
        if kind == "identity":
            np.testing.assert_array_equal(made[chosen], images[chosen])
            continue
        alone = Synthesis(Degradation(blur=cast(Any, kind), **common))
        expected = alone(tf.constant(images[chosen]), tf.gather(keys, chosen)).numpy()
        # The size of the canvas affects rounding only.
        assert np.abs(made[chosen] - expected).max() <= 1
        assert (made[chosen] != images[chosen]).mean() > 0.05


def test_kinds_are_drawn_by_their_shares() -> None:
    options = Degradation(blur={"trajectory": 3, "disc": 1, "identity": 4})
    kinds = Synthesis(options).draw(image_keys(0, indices(0, 8000))).kind.numpy()
    counts = np.bincount(kinds) / 8000
    np.testing.assert_allclose(counts, list(options.shares.values()), atol=0.02)
    np.testing.assert_allclose(counts, [1 / 8, 1 / 2, 3 / 8], atol=0.02)


def test_mixed_images_draw_their_variation() -> None:
    options = Degradation(blur={"disc": 1}, min_radius=1.0, max_radius=9.0, variation=1.0)
    made = Synthesis(options).blur_kernels(image_keys(0, indices(0, 40))).numpy()
    spread = np.abs(made - made.mean(axis=1, keepdims=True)).sum(axis=(1, 2, 3))
    assert spread.min() < 0.2 * spread.max()
