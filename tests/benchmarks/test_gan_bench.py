"""The GAN benchmark: its contestants, a small run, and runs that continue."""

import numpy as np
import pytest

from benchmarks import gan_bench, model_cost
from tests.helpers.bench_figures import figures, row
from tests.helpers.tiny_data import write_data_set
from tfdeblur import models
from tfdeblur.io import files


def arguments(*given):
    """The flags of a training as `main` passes them."""
    return gan_bench.make_parser().parse_args(["--data", "pairs", *given])


def test_contestants_contain_every_objective_with_a_critic():
    found = gan_bench.contestants(arguments())
    assert list(found)[:2] == ["content", "content + fft"]
    assert {"gan", "lsgan", "wgan", "wgan_gp", "ragan_ls", "wgan_gp, 1 update"} <= found.keys()
    for name, sections in found.items():
        assert sections["model"] == {"name": "unet16"}
        objective = sections["objective"]
        # The same content loss for all, so that only the adversarial part differs.
        assert objective["losses"]["log_cosh"] == 1.0
        assert ("fft" in objective["losses"]) == (name == "content + fft")
    five, one = (found[name]["objective"] for name in ("wgan_gp", "wgan_gp, 1 update"))
    assert one == {**five, "critic_updates": 1}
    run = gan_bench.run_config(arguments(), found["wgan_gp"], 0, "work")
    assert run.objective.options.critic_updates == 5


def test_contestants_of_one_scale_take_as_many_operations_as_those_of_three():
    flags = arguments("--model", "ms_deblur", "--width", "16", "--option", "stem=13")
    found = gan_bench.contestants(flags)
    for name in ("content", "wgan_gp"):
        three, one = found[name], found[f"{name}, 1 scale"]
        assert one["objective"] == three["objective"]
        costs = []
        for sections in (three, one):
            model = gan_bench.run_config(flags, sections, 0, "work").model
            network = models.create(model.name, model.options).network
            costs.append(model_cost.cost(network, 32).multiply_adds)
        assert len(network.outputs) == 1
        assert costs[1] == pytest.approx(costs[0], rel=0.1)


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


def test_table_lists_diverged_contestants():
    rows = {
        "content": row(1.0, 25.0, 0),
        "wgan": row(2.0, None, 5, diverged="Training diverged in step 3."),
    }
    lines = gan_bench.table(figures(**rows)).splitlines()
    assert "critic 9,000 parameters; 1,000 images of 64x48 in batches of 8" in lines[0]
    assert lines[3].split() == ["content", "25.00", "0.9000", "1.00", "1.00", "1.00", "0"]
    assert lines[4].split() == ["wgan", "-", "-", "2.00", "2.00", "2.00", "5"]
    assert lines[5] == "wgan: Training diverged in step 3."


def test_gan_bench_with_invalid_flags_exits_with_2(tmp_path, capsys):
    data = write_data_set(str(tmp_path / "pairs"))
    for flags, named in (
        (["--option", "width"], "NAME=VALUE"),
        (["--steps", "2", "--rounds", "3"], "--rounds"),
        (["--model", "unet17"], "unet16"),
        (["--split", "vla"], "vla"),
        (["--contestants", "wgam"], "wgam"),
        (["--contestants", "content, 1 scale"], "content, 1 scale"),
    ):
        assert gan_bench.main(["--data", data, *flags]) == 2
        assert named in capsys.readouterr().err


def test_seeds_in_out_are_not_trained_again(tmp_path, monkeypatch, capsys):
    out, trained = str(tmp_path / "figures.json"), []

    def bench(flags, seed):
        if seed == 2 and not trained[1:]:
            raise KeyboardInterrupt
        trained.append(seed)
        return {**figures(seed), "arguments": gan_bench.arguments_of(flags)}

    monkeypatch.setattr(gan_bench, "bench", bench)
    command = ["--data", "pairs", "--out", out, "--width", "4"]
    assert gan_bench.main([*command, "--seeds", "1", "2"]) == 130
    assert [each["seed"] for each in files.read_json(out)] == [1]
    assert gan_bench.main([*command, "--seeds", "1", "3", "2"]) == 0
    assert trained == [1, 3, 2]
    printed = capsys.readouterr().out
    assert "seeds 1, 3, 2:" in printed
    assert gan_bench.main(["--from", out]) == 0
    assert capsys.readouterr().out in printed
    # Results of another training are neither mixed with these nor replaced.
    assert gan_bench.main([*command, "--critic-width", "8"]) == 2
    error = capsys.readouterr().err
    assert out in error and "critic_width" in error
    assert trained == [1, 3, 2]


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
    assert "GANs train about three times slower" in capsys.readouterr().out
