"""Training runs with a critic: curves, resuming, fresh batches and errors."""

import numpy as np
import pytest

from tests.helpers.runs import history, settings, weights
from tests.helpers.tiny_data import write_data_set
from tfdeblur import config, train
from tfdeblur.checkpoints.manifest import verify_checkpoint
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.io import files

CRITIC = {"name": "patch_gan", "layers": 1, "width": 4}


def adversarial(folder, workdir="run", name="wgan_gp", **sections):
    objective = {"name": name, "losses": {"mae": 1.0}, "adversarial_weight": 0.01}
    objective |= sections.pop("objective", {})
    defaults = {"critic": CRITIC, "training": {"duration": "6 steps", "global_batch": 4}}
    defaults["output"] = {"save_every": "2 steps", "validate_every": "3 steps"}
    tree = {k: {**defaults.get(k, {}), **sections.get(k, {})} for k in {**defaults, **sections}}
    return settings(folder, workdir, objective=objective, **tree)


@pytest.mark.slow
def test_run_with_critic_writes_curves_of_both_networks(folder):
    write_data_set(files.join(folder, "data"))
    run = adversarial(folder, objective={"critic_updates": 2})
    train.run(run)
    rows = history(run.workdir)
    for name in ("loss", "real", "fake", "wasserstein", "penalty", "slope", "gradient_norm"):
        assert np.isfinite(float(rows[0][f"critic/{name}"])), name
    for name in ("loss", "mae", "adversarial", "gradient_norm"):
        assert np.isfinite(float(rows[0][f"generator/{name}"])), name
    assert "critic/learning_rate" in rows[0]
    page = files.read_text(files.join(run.workdir, "index.html"))
    for title in ("Wasserstein estimate", "Gradient penalty", "Scores of the critic"):
        assert title in page


@pytest.mark.slow
def test_critic_has_its_own_optimizer_and_schedule(folder):
    write_data_set(files.join(folder, "data"))
    own = {"optimizer": {"name": "rmsprop", "learning_rate": 5e-5}}
    own["schedule"] = {"name": "step", "every": "2 steps", "factor": 0.5}
    run = adversarial(folder, name="wgan", networks={"critic": own})
    train.run(run)
    rates = [float(row["critic/learning_rate"]) for row in history(run.workdir)]
    assert rates[0] == pytest.approx(5e-5)
    assert rates[-1] == pytest.approx(5e-5 / 8)
    others = [float(row["generator/learning_rate"]) for row in history(run.workdir)]
    assert others == pytest.approx([0.01] * len(others))


@pytest.mark.slow
def test_resumed_run_with_critic_equals_uninterrupted_run(folder):
    write_data_set(files.join(folder, "data"), {"train": 10, "val": 2})
    options = {"objective": {"critic_updates": 2}, "runtime": {"deterministic": True}}
    whole = {"training": {"duration": "5 steps", "global_batch": 4}}
    part = {"training": {"duration": "2 steps", "global_batch": 4}}
    train.run(adversarial(folder, "whole", **options, **whole))
    train.run(adversarial(folder, "parts", **options, **part))
    train.run(adversarial(folder, "parts", **options, **whole))
    pairs = zip(
        weights(files.join(folder, "whole")), weights(files.join(folder, "parts")), strict=True
    )
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)
    last = [history(files.join(folder, name))[-1] for name in ("whole", "parts")]
    for name in ("critic/loss", "critic/penalty", "generator/adversarial"):
        assert last[0][name] == last[1][name]


@pytest.mark.slow
def test_fresh_critic_batches_count_as_images_seen(folder):
    write_data_set(files.join(folder, "data"))
    training = {"duration": "3 steps", "global_batch": 4, "fresh_critic_batches": True}
    run = adversarial(folder, objective={"critic_updates": 2}, training=training)
    assert train.run(run).images == 3 * 3 * 4
    _, meta = load_generator(run.workdir, "last")
    assert meta["images"] == 36


@pytest.mark.slow
def test_pyramid_loss_sums_all_scales(folder):
    write_data_set(files.join(folder, "data"))
    model = {"name": "ms_deblur", "scales": 2, "blocks": 1, "width": 4, "stem": 4}
    for pyramid in ("sum", "finest"):
        run = adversarial(
            folder,
            pyramid,
            model=model,
            objective={"pyramid": pyramid, "critic_updates": 1},
            training={"duration": "1 steps", "global_batch": 4},
        )
        train.run(run)
    first = [float(history(files.join(folder, p))[0]["generator/mae"]) for p in ("sum", "finest")]
    assert first[0] > 1.5 * first[1]


class TestErrors:
    @pytest.mark.slow
    def test_diverged_run_names_step_and_last_good_checkpoint(self, folder):
        write_data_set(files.join(folder, "data"))
        run = adversarial(folder, training={"duration": "4 steps", "global_batch": 4})
        train.run(run)
        # The first update after the checkpoint of step 4 makes the weights overflow.
        broken = adversarial(
            folder,
            training={"duration": "8 steps", "global_batch": 4},
            optimizer={"learning_rate": 1e30},
        )
        with pytest.raises(UserError, match=r"step \d+, after \d+ images: ") as error:
            train.run(broken)
        folder_of_last = str(error.value).split("The last good checkpoint is ")[1].rstrip(".")
        verify_checkpoint(folder_of_last)
        generator, _ = load_generator(folder_of_last)
        assert all(np.isfinite(value).all() for value in generator.network.get_weights())

    @pytest.mark.slow
    def test_other_critic_in_the_same_workdir_raises_config_error(self, folder):
        write_data_set(files.join(folder, "data"))
        one_step = {"training": {"duration": "1 steps", "global_batch": 4}}
        train.run(adversarial(folder, objective={"critic_updates": 1}, **one_step))
        with pytest.raises(ConfigError, match="critic"):
            train.run(
                adversarial(
                    folder, objective={"critic_updates": 1}, critic={"width": 8}, **one_step
                )
            )

    @pytest.mark.slow
    def test_ema_decay_added_on_resume_raises_user_error(self, folder):
        write_data_set(files.join(folder, "data"))
        train.run(settings(folder))
        later = {"duration": "5 epochs", "global_batch": 8, "ema_decay": 0.9}
        with pytest.raises(UserError, match="ema_decay") as error:
            train.run(settings(folder, training=later))
        assert len(str(error.value)) < 1000

    def test_missing_vgg19_weights_raise_user_error(self, folder):
        write_data_set(files.join(folder, "data"))
        path = files.join(folder, "vgg.npz")
        losses = {"losses": {"perceptual": 100.0}, "perceptual": {"weights": path}}
        with pytest.raises(UserError, match=r"vgg\.npz"):
            train.run(adversarial(folder, objective=losses))


def test_critic_of_content_objective_raises_config_error():
    tree = {"workdir": "w", "model": "unet16", "objective": "content", "critic": "patch_gan"}
    with pytest.raises(ConfigError, match=r"^critic: .*'content'"):
        config.resolve(tree)


def test_default_critic_and_wrong_critic_options():
    tree = {"workdir": "w", "model": "unet16", "objective": "wgan_gp"}
    assert config.resolve(tree).critic.name == "patch_gan"
    with pytest.raises(ConfigError) as error:
        config.resolve({**tree, "critic": {"norm": "group"}, "objective": {"name": "wgann"}})
    assert "wgan" in str(error.value)
    with pytest.raises(ConfigError, match=r"critic\.norm"):
        config.resolve({**tree, "critic": {"name": "patch_gan", "norm": "group"}})
