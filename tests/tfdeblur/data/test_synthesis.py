"""(seed, index) decides every picture, and a picture is what the NumPy functions make of it."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.data import schema, synthesis
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.data.synthesis import Synthesis, picture_keys, synthesize
from tfdeblur.degradation import degradation, kernels
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import ConfigError

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
}
each_kind = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)


@pytest.fixture
def short_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of fewer points, where their number does not matter: each takes its time."""
    monkeypatch.setattr(kernels, "STEPS", 250)


def indices(first: int, count: int) -> tf.Tensor:
    return tf.range(first, first + count, dtype=tf.int64)


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    """Pictures with flat parts, edges and white; their size fills no vector register."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 6, 5, 3))
    coarse[rng.uniform(size=coarse.shape[:3]) < 0.2] = 255
    return coarse.repeat(6, axis=1).repeat(7, axis=2).astype(np.uint8)[:, :, :33]


@each_kind
@pytest.mark.usefixtures("short_paths")
def test_pictures_are_what_numpy_makes_of_the_same_draws(
    sharp: np.ndarray, options: Degradation
) -> None:
    made = Synthesis(options)
    keys = picture_keys(3, indices(0, 5))
    shapes, draws = tf.function(lambda keys: (made.shapes(keys), made.draw(keys)))(keys)
    assert shapes.shape == [5, 4 if options.variation else 1, options.canvas, options.canvas]
    normals = synthesis.standard_normals(draws.noise_key, sharp.shape[1:])
    noisy = options.read_noise or options.shot_noise
    expected = [
        degradation.degrade(
            sharp[number],
            shapes[number].numpy(),
            gamma=options.gamma,
            boost=float(draws.boost[number]),
            read=float(draws.noise[number]) * options.read_noise,
            shot=float(draws.noise[number]) * options.shot_noise,
            normals=normals[number].numpy() if noisy else None,
        )
        for number in range(5)
    ]
    values = made.degrade(tf.constant(sharp), shapes, draws)
    # A root is steep near black: there light is compared, in which the work was done.
    np.testing.assert_allclose(
        values.numpy() ** options.gamma, np.stack(expected) ** options.gamma, atol=1e-5
    )
    blurred = made(tf.constant(sharp), keys).numpy()
    difference = np.abs(blurred.astype(int) - degradation.to_uint8(np.stack(expected)))
    assert difference.max() <= 1 and difference.mean() < 1e-3


@each_kind
@pytest.mark.usefixtures("short_paths")
def test_neither_batch_nor_place_changes_a_picture(sharp: np.ndarray, options: Degradation) -> None:
    run = tf.function(lambda images, numbers: synthesize(images, numbers, options, seed=1))
    whole = run(sharp, indices(7, 5)).numpy()
    assert whole.dtype == np.uint8 and whole.shape == sharp.shape
    np.testing.assert_array_equal(run(sharp, indices(7, 5)), whole)
    for begin, end in [(0, 1), (1, 2), (4, 5), (1, 4)]:
        part = run(sharp[begin:end], indices(7 + begin, end - begin))
        np.testing.assert_array_equal(part, whole[begin:end])
    assert (whole != sharp).mean() > 0.05


@each_kind
@pytest.mark.usefixtures("short_paths")
def test_seed_and_index_both_count(sharp: np.ndarray, options: Degradation) -> None:
    run = tf.function(Synthesis(options))
    same = np.repeat(sharp[:1], 4, axis=0)
    pictures = {
        picture.tobytes()
        for seed in (0, 1)
        for picture in run(same, picture_keys(seed, indices(0, 4))).numpy()
    }
    assert len(pictures) >= 7  # short exposures may give one picture twice


@each_kind
@pytest.mark.usefixtures("short_paths")
def test_compiles_with_xla_for_a_device(sharp: np.ndarray, options: Degradation) -> None:
    def on_device(images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        return synthesize(images, numbers, options, host=False)

    def on_host(images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        return synthesize(images, numbers, options)

    compiled = tf.function(on_device, jit_compile=True)(sharp, indices(0, 5))
    assert compiled.shape == sharp.shape
    expected = tf.function(on_host)(sharp, indices(0, 5)).numpy().astype(int)
    difference = np.abs(compiled.numpy() - expected)
    assert difference.max() <= 1 and difference.mean() < 1e-2

    graph = tf.function(on_device).get_concrete_function(
        tf.TensorSpec(sharp.shape, tf.uint8), tf.TensorSpec([5], tf.int64)
    )
    unknown = [
        f"{operation.name}: {output.shape}"
        for operation in graph.graph.get_operations()
        for output in operation.outputs
        if output.dtype != tf.variant and not output.shape.is_fully_defined()
    ]
    assert not unknown


def test_kernels_are_drawn_as_numpy_draws_them() -> None:
    drawn = synthesis._path_draws(picture_keys(0, indices(0, 400)))
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


def test_noise_is_normal_and_differs_from_picture_to_picture() -> None:
    normals = synthesis.standard_normals(picture_keys(0, indices(0, 4)), (100, 101, 3)).numpy()
    assert normals.shape == (4, 100, 101, 3)
    count = normals.size
    assert abs(normals.mean()) < 4 / math.sqrt(count)
    assert normals.var() == pytest.approx(1, rel=4 * math.sqrt(2 / count))
    assert (normals**4).mean() == pytest.approx(3, rel=0.04)
    flat = normals.reshape(4, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(flat[:, :-1].ravel(), flat[:, 1:].ravel())[0, 1]) < 0.015


def test_noise_in_pictures_follows_its_level() -> None:
    options = Degradation(read_noise=0.04, shot_noise=0.06)
    flat = np.full((6, 80, 80, 3), 102, np.uint8)
    keys = picture_keys(0, indices(0, 6))
    level = Synthesis(options).draw(keys).noise.numpy()
    error = Synthesis(options)(tf.constant(flat), keys).numpy() / 255.0 - 0.4
    rounding = 1 / 255**2 / 12
    expected = level**2 * (0.04**2 + 0.06**2 * 0.4) + rounding
    np.testing.assert_allclose(error.var(axis=(1, 2, 3)), expected, rtol=0.06)


def test_widths_fill_their_range_and_strength_scales_them() -> None:
    keys = picture_keys(0, indices(0, 300))
    for strength in (1.0, 0.5):
        options = Degradation(blur="gaussian", min_sigma=1.0, max_sigma=3.0, strength=strength)
        peaks = Synthesis(options).shapes(keys).numpy().max(axis=(1, 2, 3)).astype(np.float64)
        widths = np.sqrt(1 / (2 * np.pi * peaks)) / strength
        assert 0.93 < widths.min() < 1.1 and 2.9 < widths.max() < 3.1
        assert widths.mean() == pytest.approx(2, abs=0.1)


@pytest.mark.usefixtures("short_paths")
def test_flat_pictures_keep_their_brightness() -> None:
    flat = np.full((4, 20, 26, 3), 131, np.uint8)
    for kind in ("trajectory", "gaussian", "disc", "varying"):
        blurred = tf.function(Synthesis(KINDS[kind]))(flat, picture_keys(0, indices(0, 4)))
        np.testing.assert_array_equal(blurred, flat)


@pytest.mark.parametrize("blur", ["trajectory", "gaussian", "disc"])
def test_blurred_pictures_lie_over_the_sharp_ones(blur: Any) -> None:
    # A wide spot shows waves that are long beside every kernel, and their phase is the shift.
    # (Phases of short waves tell a kernel's lopsidedness too, which is no misalignment.)
    spot = np.exp(-0.5 * ((np.arange(320) - 160) / 45) ** 2)
    sharp = np.rint(250 * np.outer(spot, spot))[..., None].repeat(3, axis=-1).astype(np.uint8)
    batch = sharp[None].repeat(8, axis=0)
    options = Degradation(blur=blur, exposures=(0.5, 1.0))
    blurred = tf.function(Synthesis(options))(batch, picture_keys(0, indices(0, 8))).numpy()
    spectra = np.fft.fft2(blurred[..., 0].astype(np.float64))
    correlated = spectra * np.conj(np.fft.fft2(sharp[..., 0].astype(np.float64)))
    for phase in (np.angle(correlated[:, 1, 0]), np.angle(correlated[:, 0, 1])):
        assert np.abs(phase).max() * 320 / (2 * np.pi) < 0.1


def test_jpeg_on_the_host_only(sharp: np.ndarray) -> None:
    options = Degradation(jpeg=30)
    with pytest.raises(ConfigError, match="jpeg: an accelerator cannot compress"):
        Synthesis(options, host=False)
    keys = picture_keys(0, indices(0, 5))
    quality = Synthesis(options).draw(keys).quality.numpy()
    assert quality.min() >= 30 and quality.max() <= 100 and len(set(quality)) > 1
    made = Synthesis(options)(tf.constant(sharp), keys).numpy().astype(int)
    for number in range(5):
        expected = degradation.compress(sharp[number], int(quality[number]))
        assert np.abs(made[number] - expected).mean() < 0.5


# ------------------------------------------------------------------------------ in the pipeline

Write = Callable[..., str]
SYNTHESIS = Degradation(blur="gaussian", variation=0.5, linear_light=True, read_noise=0.1)


def take(dataset: tf.data.Dataset, count: int) -> dict[str, np.ndarray]:
    batches = [{name: half.numpy() for name, half in batch.items()} for batch in _some(dataset)]
    return {name: np.concatenate([b[name] for b in batches])[:count] for name in batches[0]}


def _some(dataset: tf.data.Dataset) -> tf.data.Dataset:
    return dataset.take(-(-24 // dataset.element_spec["sharp"].shape[0]))


@pytest.mark.parametrize("how", [{}, {"encoding": "png"}], ids=["raw", "png"])
def test_training_data_are_blurred_anew_in_each_epoch(dataset: Write, how: dict[str, Any]) -> None:
    path = dataset([3, 3], size=(12, 10), **how)
    plain = {"horizontal_flips": False, "vertical_flips": False}
    data = TrainingData(path, synthesis=SYNTHESIS, **plain)
    spec = tf.TensorSpec([4, 12, 10, 3], tf.uint8)
    assert data.dataset(4).element_spec == {"blurred": spec, "sharp": spec}
    samples = take(data.dataset(4), 24)
    stored = take(TrainingData(path, **plain).dataset(4), 24)
    np.testing.assert_array_equal(samples["sharp"], stored["sharp"])
    by_picture: dict[bytes, set[bytes]] = {}
    for sharp, blurred in zip(samples["sharp"], samples["blurred"], strict=True):
        by_picture.setdefault(sharp.tobytes(), set()).add(blurred.tobytes())
    assert [len(found) for found in by_picture.values()] == [4] * 6


def test_records_need_no_blurred_half(dataset: Write) -> None:
    path = dataset([4], size=(8, 8))
    expected = next(iter(TrainingData(path, synthesis=SYNTHESIS).dataset(4)))
    manifest = schema.Manifest.load(path)
    shard = manifest.splits["train"].shards[0]
    stored = [data.numpy() for data in tf.data.TFRecordDataset([f"{path}/{shard.file}"])]
    tf.io.gfile.remove(f"{path}/{shard.file}")
    with tf.io.TFRecordWriter(f"{path}/{shard.file}") as writer:
        for data in stored:
            example = tf.train.Example.FromString(data)
            del example.features.feature["blurred"]
            writer.write(example.SerializeToString(deterministic=True))
    size = tf.io.gfile.stat(f"{path}/{shard.file}").length
    split = dataclasses.replace(
        manifest.splits["train"], shards=(dataclasses.replace(shard, bytes=size),)
    )
    dataclasses.replace(manifest, splits={"train": split}).save(path)
    found = next(iter(TrainingData(path, synthesis=SYNTHESIS).dataset(4)))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_position_alone_decides_a_training_sample(dataset: Write) -> None:
    path = dataset([5, 3, 4], size=(12, 12))
    arguments = {"crop": (9, 9), "quarter_turns": True, "seed": 5, "synthesis": SYNTHESIS}
    whole = take(TrainingData(path, **arguments).dataset(6), 24)
    for batch, start, how in [(1, 0, {}), (4, 5, {"cache": True}), (3, 13, {"threads": 1})]:
        data = TrainingData(path, **arguments, **how).dataset(batch, start)
        for name, half in take(data, 24 - start).items():
            np.testing.assert_array_equal(half[: 24 - start], whole[name][start:])
    halves = [
        take(TrainingData(path, **arguments).dataset(3, global_batch=6, hosts=2, host=host), 12)
        for host in (0, 1)
    ]
    for name in whole:
        shares = [half[name].reshape(4, 3, 9, 9, 3) for half in halves]
        np.testing.assert_array_equal(np.concatenate(shares, 1).reshape(24, 9, 9, 3), whole[name])
    other = take(TrainingData(path, **{**arguments, "seed": 6}).dataset(6), 24)
    assert (other["blurred"] != whole["blurred"]).any()


def test_data_sets_of_a_mixture_draw_apart(dataset: Write) -> None:
    paths = [dataset([2], size=(8, 8)), dataset([2], size=(8, 8))]
    data = TrainingData(paths, synthesis=dataclasses.replace(SYNTHESIS, read_noise=0.2))
    samples = take(data.dataset(2), 24)["blurred"]
    assert len({sample.tobytes() for sample in samples}) == 24


def test_modify_sees_both_halves_and_the_stored_blur_is_replaced(dataset: Write) -> None:
    def negative(pair: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"blurred": pair["blurred"], "sharp": pair["blurred"]}

    path = dataset([4], size=(8, 8))
    soft = Degradation(blur="gaussian", max_sigma=0.0)
    batch = next(iter(TrainingData(path, modify=negative, synthesis=soft).dataset(4)))
    np.testing.assert_array_equal(batch["blurred"], batch["sharp"])
    off = next(iter(TrainingData(path, synthesis=Degradation()).dataset(4)))
    np.testing.assert_array_equal(off["blurred"], 255 - off["sharp"].numpy())
    with pytest.raises(ConfigError, match=r"Choose synthesis\.blur"):
        TrainingData(path, synthesis=Degradation(strength=2.0))
