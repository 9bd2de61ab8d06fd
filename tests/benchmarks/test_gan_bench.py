"""The GAN benchmark: a small run, and the evaluation of its results."""

import numpy as np
import pytest

from benchmarks import gan_bench
from tests.helpers.tiny_data import write_data_set
from tfdeblur import config
from tfdeblur.io import files


def row(time, psnr, updates, diverged=""):
    found = {
        "critic_updates": updates,
        "time": time,
        "time_least": time,
        "time_most": time,
        "diverged": diverged,
        "images_seen": 1000,
        "parameters": {"generator": 30_000, **({"critic": 9_000} if updates else {})},
    }
    if diverged:
        return found
    return {**found, "scores": {"psnr_db": psnr, "ssim": 0.9}, "blurred": {"psnr_db": 20.0}}


def figures(**rows):
    return {
        "contestants": {"content": row(1.0, 25.0, 0), "content + fft": row(1.1, 25.5, 0), **rows},
        "arguments": {"model": "unet16", "batch": 8},
        "seed": 0,
        "crop": [64, 48],
        "precision": "float32",
        "devices": "one",
        "evaluated_images": 6,
    }


def test_objectives_contain_every_objective_with_a_critic():
    sections = gan_bench.objectives(1e-4, 0.1)
    assert list(sections)[:2] == ["content", "content + fft"]
    assert {"gan", "lsgan", "wgan", "wgan_gp", "ragan_ls"} <= sections.keys()
    for name, section in sections.items():
        # The same content loss for all, so that only the adversarial part differs.
        assert section["losses"]["log_cosh"] == 1.0
        assert section["name"] in config.OBJECTIVES.names()
        assert ("fft" in section["losses"]) == (name == "content + fft")


def test_ratio_to_compares_within_rounds():
    found = gan_bench.ratio_to([1.0, 10.0, 2.0], [2.0, 20.0, 8.0])
    assert found == {"time": 2.0, "time_least": 2.0, "time_most": 4.0}
    assert gan_bench.ratio_to([1.0, 1.0], [3.0])["time"] == 3.0
    assert gan_bench.ratio_to([1.0], [])["time"] is None


def test_take_turns_divides_the_steps_and_reverses_every_other_round():
    order = []

    class Recorder:
        def __init__(self, name):
            self.name, self.steps = name, []

        def advance(self, steps, *, timed):
            order.append(self.name)
            self.steps.append((steps, timed))

    a, b = Recorder("a"), Recorder("b")
    gan_bench.take_turns([a, b], steps=7, rounds=3)
    assert a.steps == b.steps == [(1, False), (2, True), (2, True), (3, True)]
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"


def test_verdicts_compare_claims_with_results():
    one = figures(gan=row(1.5, 24.0, 1), wgan_gp=row(3.2, 24.0, 5))
    claims = gan_bench.verdicts([one])
    assert "1.50 to 3.20 times" in claims[0] and claims[0].endswith("2.5 to 3.5: wgan_gp.")
    assert "not confirmed; PSNR +0.50 dB, SSIM +0.0000; seeds 0;" in claims[1]
    others = [figures(), figures()]
    others[0]["contestants"]["content + fft"] = row(1.1, 25.52, 0)
    others[1]["contestants"]["content + fft"] = row(1.1, 25.48, 0)
    # 4.303 * 0.02 / sqrt(3)
    assert "confirmed; PSNR +0.50 (+0.45 to +0.55) dB" in gan_bench.verdicts([one, *others])[1]
    for other in others:
        other["contestants"]["content + fft"] = row(1.1, 24.0, 0)
    assert "refuted; PSNR -1.00 (-1.00 to -1.00) dB" in gan_bench.verdicts(others)[1]
    others[0]["contestants"]["content + fft"] = row(None, None, 0, diverged="Training diverged.")
    assert gan_bench.verdicts(others[:1]) == [
        "GANs three times slower: not measured.",
        "FFT loss more precise: not measured.",
    ]


def test_table_lists_diverged_contestants():
    text = gan_bench.table(figures(wgan=row(2.0, None, 5, diverged="Training diverged in step 3.")))
    lines = text.splitlines()
    assert "critic 9,000 parameters; 1,000 images of 64x48 in batches of 8" in lines[0]
    assert lines[3].split() == ["content", "25.00", "0.9000", "1.00", "1.00", "1.00", "0"]
    assert lines[5].split() == ["wgan", "-", "-", "2.00", "2.00", "2.00", "5"]
    assert lines[6] == "wgan: Training diverged in step 3."


def test_gan_bench_with_invalid_flags_exits_with_2(tmp_path, capsys):
    data = write_data_set(str(tmp_path / "pairs"))
    for flags, named in (
        (["--option", "width"], "NAME=VALUE"),
        (["--steps", "2", "--rounds", "3"], "--rounds"),
        (["--model", "unet17"], "unet16"),
        (["--split", "vla"], "vla"),
        (["--contestants", "wgam"], "wgam"),
    ):
        assert gan_bench.main(["--data", data, *flags]) == 2
        assert named in capsys.readouterr().err


@pytest.mark.long
def test_gan_bench_trains_all_contestants_alike(tmp_path, monkeypatch, capsys):
    data = write_data_set(str(tmp_path / "pairs"), {"train": 24, "val": 6}, side=32)
    first_weights, seen = [], {}
    take_turns = gan_bench.take_turns

    def watched(contestants, steps, rounds):
        for each in contestants:
            first_weights.append(each._run.state.generator.network.get_weights())
        take_turns(contestants, steps, rounds)
        seen.update({each.images: len(each.seconds) for each in contestants})

    monkeypatch.setattr(gan_bench, "take_turns", watched)
    flags = ["--width", "4", "--critic-width", "4", "--critic-layers", "2", "--batch", "4"]
    # Residual, because an untrained plain network returns black.
    flags += ["--option", "residual=true", "--learning-rate", "0.01"]
    flags += [
        "--adversarial-weight",
        "0.1",
        "--steps",
        "3",
        "--rounds",
        "2",
        "--seeds",
        "3",
        "--out",
        str(tmp_path / "figures.json"),
    ]
    assert gan_bench.main(["--data", data, *flags]) == 0
    # Equal initial weights, and equal image counts at the end.
    for weights in first_weights[1:]:
        for own, reference in zip(weights, first_weights[0], strict=True):
            np.testing.assert_array_equal(own, reference)
    assert seen == {16: 2}
    (stored,) = files.read_json(str(tmp_path / "figures.json"))
    assert stored["seed"] == 3
    assert stored["contestants"]["content"]["time"] == 1.0
    assert stored["contestants"]["wgan_gp"]["critic_updates"] == 5
    # Each contestant follows its own objective.
    scores = [row["scores"]["mse"] for row in stored["contestants"].values()]
    assert len(set(scores)) == len(scores)
    assert "GANs about three times slower" in capsys.readouterr().out
