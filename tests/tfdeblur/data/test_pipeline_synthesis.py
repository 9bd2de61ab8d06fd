"""Training data with synthesized blur."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.numbered_data import PLAIN, take
from tests.helpers.tiny_data import training_data
from tfdeblur.data import schema
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import ConfigError

Write = Callable[..., str]
SYNTHESIS = Degradation(blur="gaussian", variation=0.5, linear_light=True, read_noise=0.1)


@pytest.mark.parametrize("how", [{}, {"encoding": "png"}], ids=["raw", "png"])
def test_synthesis_draws_new_blur_in_each_epoch(dataset: Write, how: dict[str, Any]) -> None:
    path = dataset([3, 3], size=(12, 10), **how)
    data = training_data(path, synthesis=SYNTHESIS, **PLAIN)
    spec = tf.TensorSpec([4, 12, 10, 3], tf.uint8)
    assert data.dataset(4).element_spec == {"blurred": spec, "sharp": spec}
    samples = take(data.dataset(4), 24)
    stored = take(training_data(path, **PLAIN).dataset(4), 24)
    np.testing.assert_array_equal(samples["sharp"], stored["sharp"])
    by_image: dict[bytes, set[bytes]] = {}
    for sharp, blurred in zip(samples["sharp"], samples["blurred"], strict=True):
        by_image.setdefault(sharp.tobytes(), set()).add(blurred.tobytes())
    assert [len(found) for found in by_image.values()] == [4] * 6


def test_synthesis_does_not_read_the_blurred_half(dataset: Write) -> None:
    path = dataset([4], size=(8, 8))
    expected = next(iter(training_data(path, synthesis=SYNTHESIS).dataset(4)))
    manifest = schema.Manifest.load(path)
    shard = manifest.splits["train"].shards[0]
    file = f"{path}/{shard.file}"
    examples = [tf.train.Example.FromString(data.numpy()) for data in tf.data.TFRecordDataset(file)]
    for example in examples:
        del example.features.feature["blurred"]
    schema.write_shard(
        file, [example.SerializeToString(deterministic=True) for example in examples]
    )
    size = tf.io.gfile.stat(file).length
    split = dataclasses.replace(
        manifest.splits["train"], shards=(dataclasses.replace(shard, bytes=size),)
    )
    dataclasses.replace(manifest, splits={"train": split}).save(path)
    found = next(iter(training_data(path, synthesis=SYNTHESIS).dataset(4)))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.slow
def test_synthesized_sample_depends_on_position_only(dataset: Write) -> None:
    path = dataset([5, 3, 4], size=(12, 12))
    arguments = {"crop": (9, 9), "quarter_turns": True, "seed": 5, "synthesis": SYNTHESIS}
    reference = take(training_data(path, **arguments).dataset(6), 24)
    for batch, start, how in [
        (1, 0, {}),
        (4, 5, {"cache": "on"}),
        (3, 13, {}),
    ]:
        data = training_data(path, **arguments, **how).dataset(batch, start)
        for name, half in take(data, 24 - start).items():
            np.testing.assert_array_equal(half[: 24 - start], reference[name][start:])
    halves = [
        take(training_data(path, **arguments).dataset(3, global_batch=6, hosts=2, host=host), 12)
        for host in (0, 1)
    ]
    for name in reference:
        shares = [half[name].reshape(4, 3, 9, 9, 3) for half in halves]
        np.testing.assert_array_equal(
            np.concatenate(shares, 1).reshape(24, 9, 9, 3), reference[name]
        )
    other = take(training_data(path, **{**arguments, "seed": 6}).dataset(6), 24)
    assert (other["blurred"] != reference["blurred"]).any()


def test_data_sets_of_a_mixture_have_independent_draws(dataset: Write) -> None:
    paths = [dataset([2], size=(8, 8)), dataset([2], size=(8, 8))]
    data = training_data(paths, synthesis=dataclasses.replace(SYNTHESIS, read_noise=0.2))
    samples = take(data.dataset(2), 24)["blurred"]
    assert len({sample.tobytes() for sample in samples}) == 24


def test_default_synthesis_keeps_the_stored_half(dataset: Write) -> None:
    path = dataset([4], size=(8, 8))
    off = next(iter(training_data(path, synthesis=Degradation()).dataset(4)))
    np.testing.assert_array_equal(off["blurred"], 255 - off["sharp"].numpy())


def test_synthesis_options_without_effect_raise(dataset: Write) -> None:
    path = dataset([4], size=(8, 8))
    with pytest.raises(ConfigError, match=r"synthesis\.blur"):
        training_data(path, synthesis=Degradation(strength=2.0))


def recorded(path: str) -> str:
    """Marks a data set as one with a recorded blur; its blurred half is the negative."""
    manifest = schema.Manifest.load(path)
    dataclasses.replace(manifest, blur={"kind": "recorded"}).save(path)
    return path


def is_stored(samples: dict[str, np.ndarray]) -> np.ndarray:
    """Whether the blurred half of each sample is the stored one."""
    return (samples["blurred"] == 255 - samples["sharp"]).all(axis=(1, 2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("encodings", [("raw", "raw"), ("raw", "png")])
def test_mixture_of_recorded_and_synthesized_blur(dataset: Write, encodings: Any) -> None:
    pairs = recorded(dataset([5, 3], size=(12, 12), encoding=encodings[0]))
    photos = dataset([4, 4], size=(10, 14), first=100, encoding=encodings[1])
    arguments: dict[str, Any] = {"crop": (8, 8), "weights": (1, 3), "quarter_turns": True}
    arguments |= {"seed": 5, "synthesis": SYNTHESIS}
    data = training_data([pairs, photos], **arguments)
    reference = take(data.dataset(4), 48)
    stored = is_stored(reference)
    # The third of the positions that the weights give to the recorded pairs, and only those.
    assert 4 <= stored.sum() <= 20
    plain = take(training_data([pairs, photos], **{**arguments, "synthesis": None}).dataset(4), 48)
    np.testing.assert_array_equal(plain["sharp"], reference["sharp"])
    np.testing.assert_array_equal(plain["blurred"][stored], reference["blurred"][stored])
    for batch, start in [(1, 0), (3, 13), (8, 30)]:
        again = take(training_data([pairs, photos], **arguments).dataset(batch, start), 48 - start)
        for name, half in again.items():
            np.testing.assert_array_equal(half, reference[name][start:])


@pytest.mark.slow
def test_switches_choose_what_is_synthesized(dataset: Write) -> None:
    pairs, photos = recorded(dataset([6], size=(8, 8))), dataset([6], size=(8, 8), first=100)

    def stored(paths: list[str], synthesize: tuple[bool, ...] | None) -> list[bool]:
        data = training_data(paths, synthesis=SYNTHESIS, synthesize=synthesize, **PLAIN)
        samples = take(data.dataset(2), 24)
        first = [int(pixels[0, 0, 1]) < 100 for pixels in 255 - samples["sharp"]]
        found = is_stored(samples)
        ours, others = found[first], found[np.logical_not(first)]
        return [bool(half.all()) for half in (ours, others) if len(half)]

    assert stored([pairs, photos], None) == [True, False]
    assert stored([pairs, photos], (True, False)) == [False, True]
    assert stored([pairs, photos], (False, False)) == [True, True]
    assert stored([pairs], None) == [False]
    assert stored([pairs], (False,)) == [True]
    twice = training_data([pairs, pairs], synthesis=SYNTHESIS, synthesize=(False, True), **PLAIN)
    assert 0 < is_stored(take(twice.dataset(2), 24)).sum() < 24


def test_switches_that_do_not_fit_raise(dataset: Write) -> None:
    path = dataset([4], size=(8, 8))
    for options in ({"synthesize": (True, False), "synthesis": SYNTHESIS}, {"synthesize": (True,)}):
        with pytest.raises(ConfigError, match=r"data\.synthesize"):
            training_data(path, **options)
