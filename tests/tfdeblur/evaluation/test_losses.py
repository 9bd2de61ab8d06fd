"""The generator's loss in evaluation: the objective's, image by image, without side effects."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.runs import settings
from tests.helpers.tiny_data import write_data_set
from tests.helpers.toys import toy_generator
from tfdeblur import objectives
from tfdeblur.checkpoints.arrays import network_variables, to_arrays
from tfdeblur.checkpoints.weights import checkpoint_folder, load_generator
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.errors import UserError
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.losses import GeneratorLoss, find_loss, open_loss
from tfdeblur.evaluation.scores import Setting
from tfdeblur.io import files
from tfdeblur.models import critics
from tfdeblur.training.trainer import Trainer

WHOLE = Setting("restored", "float", "whole")


def random_images(count, height=16, width=16, seed=0):
    return np.random.default_rng(seed).random((count, height, width, 3), np.float32)


def loss_of(name, norm="instance", **toy):
    options = {"losses": {"mse": 2.0}, **({} if name == "content" else {"adversarial_weight": 0.5})}
    built = {} if name == "content" else {"critic": critics.create("patch_gan", {"width": 4})}
    if norm != "instance":
        built = {"critic": critics.create("patch_gan", {"width": 4, "norm": norm})}
    return GeneratorLoss(toy_generator(**toy), objectives.create(name, options), built)


def measured(loss, sharp, blurred):
    restored, outputs = loss.restore(blurred)
    return np.asarray(restored), np.asarray(loss.per_example(sharp, blurred, outputs))


def test_wasserstein_loss_is_minus_the_mean_score_and_the_weighted_content():
    loss = loss_of("wgan_gp", value_range="signed")
    sharp, blurred = random_images(3), random_images(3, seed=1)
    restored, found = measured(loss, sharp, blurred)
    assert loss.keys == ("loss", "adversarial_loss")
    scores = loss.critics["critic"].network(restored * 2 - 1, training=False)
    adversarial = -np.mean(scores, axis=(1, 2, 3))
    content = 4 * np.mean((restored - sharp) ** 2, axis=(1, 2, 3))  # on [-1, 1]
    np.testing.assert_allclose(found[:, 1], adversarial, atol=1e-5)
    np.testing.assert_allclose(found[:, 0], 0.5 * adversarial + 2 * content, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "norm"), [("wgan", "batch"), ("ragan_ls", "batch"), ("gan", "spectral")]
)
def test_loss_depends_on_no_other_image_and_changes_no_critic(name, norm):
    loss = loss_of(name, norm)
    sharp, blurred = random_images(4), random_images(4, seed=1)
    variables = network_variables(loss.critics["critic"].network)
    before = to_arrays(variables)
    _, together = measured(loss, sharp, blurred)
    _, alone = measured(loss, sharp[2:3], blurred[2:3])
    np.testing.assert_allclose(together[2:3], alone, atol=1e-5)
    for key, array in to_arrays(variables).items():
        np.testing.assert_array_equal(array, before[key])


def test_images_of_other_sizes_are_padded_and_restored_as_without_loss():
    loss = loss_of("content")
    padded = GeneratorLoss(
        dataclasses.replace(loss._generator, multiple=8), loss._objective, loss.critics
    )
    images = random_images(2, 13, 18)
    restored, found = measured(padded, images, images)
    unit = padded._generator.as_unit_model()
    np.testing.assert_allclose(restored, unit(images), atol=1e-6)
    assert found.shape == (2, 1) and np.isfinite(found).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run with a critic, validated once; it keeps its checkpoints."""
    folder = str(tmp_path_factory.mktemp("losses"))
    write_data_set(f"{folder}/data", {"train": 16, "val": 6, "test": 6})
    config = settings(
        folder,
        objective={"name": "wgan_gp", "losses": {"log_cosh": 1.0}, "critic_updates": 1},
        critic={"name": "patch_gan", "layers": 1, "width": 4},
        training={"duration": "3 steps", "global_batch": 4},
        output={"validate_every": "3 steps", "save_every": "1 steps", "keep": "all"},
    )
    result = Trainer(config).fit()
    return folder, config.workdir, result


@pytest.mark.slow
def test_best_checkpoint_has_the_critic_of_the_validation(run):
    folder, workdir, result = run
    best = checkpoint_folder(workdir)
    loss = open_loss(best, load_generator(workdir)[0])
    data = EvaluationData(f"{folder}/data", "val")
    card = SplitEvaluator({"restored": lambda x: x}, data, batch_size=4, loss=loss).run()
    for key in ("loss", "adversarial_loss", "psnr_db"):
        assert card.means(WHOLE)[key] == pytest.approx(result.best[key], rel=1e-4)
    history = files.read_text(f"{workdir}/history.csv")
    assert "val/loss" in history and "blurred/psnr_db" in history and "epoch_seconds" in history


def test_critic_is_found_in_the_state_of_the_same_image_count_or_the_reason_is_given(run, tmp_path):
    _, workdir, _ = run
    generator, meta = load_generator(workdir)
    moved = str(tmp_path / "run")
    for name in files.walk_files(workdir):
        if not name.endswith("critics.safetensors"):
            target = files.join(moved, name)
            files.make_dirs(files.parent(target))
            files.write_bytes(target, files.read_bytes(files.join(workdir, name)))
    best = files.join(moved, "best", files.base_name(meta["folder"]))
    assert find_loss(best, generator)[0].keys == ("loss", "adversarial_loss")
    files.remove_tree(files.join(moved, "checkpoints"))
    loss, about = find_loss(best, generator)
    assert loss is None and "--checkpoint last" in about["omitted_loss"]
    with pytest.raises(UserError, match="belongs to no run"):
        open_loss(str(tmp_path), generator)
