"""Checkpoints of format 1, from a file that the last version with that format has written."""

import pathlib
import zipfile

import numpy as np
import pytest

from tests.golden.make_checkpoint_format_1 import IMAGES, SETTINGS, known_array
from tests.helpers.tiny_data import write_data_set
from tests.helpers.toys import toy_generator
from tfdeblur import config, models, train
from tfdeblur.checkpoints.manifest import verify_checkpoint
from tfdeblur.checkpoints.store import CheckpointStore
from tfdeblur.checkpoints.warm_start import init_from
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.errors import DataError
from tfdeblur.io import files
from tfdeblur.models import critics
from tfdeblur.training.state import TrainingState

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "checkpoint_format_1.zip"
# What Keras called them in the process that saved.
SEED = "seed_generator/seed_generator_state"
OPTIMIZERS = {"generator": "adam", "critic": "adam_1"}


@pytest.fixture(params=["local", "ram"])
def workdir(request, tmp_path):
    root = str(tmp_path) if request.param == "local" else f"ram://format-1-{tmp_path.name}"
    with zipfile.ZipFile(GOLDEN) as archive:
        for name in archive.namelist():
            path = files.join(root, name)
            files.make_dirs(files.parent(path))
            files.write_bytes(path, archive.read(name))
    return root


def resolve(**changes):
    return config.resolve({**SETTINGS, **changes})


def build_state(run_config):
    # Numbers of unnamed layers and generators differ from those of the process that saved.
    toy_generator(dropout=0.5)
    generator = models.create(run_config.model.name, run_config.model.options)
    critic = critics.create(run_config.critic.name, run_config.critic.options)
    return TrainingState(
        run_config, generator, {"critic": critic}, total_images=24, epoch_images=16
    )


def test_restore_latest_gives_the_saved_arrays(workdir):
    state = build_state(resolve())
    folder = CheckpointStore(workdir, keep=2).restore_latest(state)
    assert folder.endswith("000000000012")
    assert state.images_seen == IMAGES
    for network in state.networks.values():
        names = {id(v): v.path for v in network.network.variables if "seed" not in v.path}
        for variable in network.network.variables:
            path = names.get(id(variable), SEED)
            saved = known_array(f"{network.name}/{path}", variable.numpy())
            np.testing.assert_array_equal(variable.numpy(), saved, err_msg=path)
        for variable in network.optimizer.variables:
            path = f"{OPTIMIZERS[network.name]}/{variable.path.split('/', 1)[1]}"
            saved = known_array(f"{network.name}_optimizer/{path}", variable.numpy())
            np.testing.assert_array_equal(variable.numpy(), saved, err_msg=path)
    trainable = state.generator.network.trainable_variables
    for average, variable in zip(state.average, trainable, strict=True):
        saved = known_array(f"average/{variable.path}", average.numpy())
        np.testing.assert_array_equal(average.numpy(), saved, err_msg=variable.path)


def test_load_generator_gives_the_averaged_weights(workdir):
    generator, meta = load_generator(workdir, "last")
    assert (meta["images"], meta["averaged"], meta["metrics"]) == (IMAGES, True, {"psnr_db": 12.5})
    for variable in generator.network.weights:
        prefix = "average" if variable.trainable else "generator"
        saved = known_array(f"{prefix}/{variable.path}", variable.numpy())
        np.testing.assert_array_equal(variable.numpy(), saved, err_msg=variable.path)


def test_init_from_copies_every_array(workdir):
    generator = models.create(SETTINGS["model"]["name"], {"blocks": 1, "width": 2})
    match = init_from(workdir, generator)
    assert len(match.matched) == len(generator.network.weights)
    assert not (match.reshaped or match.missing or match.unused)
    kernel = generator.network.weights[0]
    saved = known_array(f"average/{kernel.path}", kernel.numpy())
    np.testing.assert_array_equal(kernel.numpy(), saved)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimizer": {"name": "rmsprop"}}, "surplus .*critic_optimizer"),
        ({"model": {**SETTINGS["model"], "width": 3}}, "of another shape .*generator"),
        ({"model": {**SETTINGS["model"], "blocks": 2}}, "missing .*generator/block2"),
    ],
)
def test_restore_latest_into_other_state_names_the_arrays(changes, named, workdir):
    with pytest.raises(DataError, match=f"000000000012 does not fit this run: .*{named}"):
        CheckpointStore(workdir, keep=2).restore_latest(build_state(resolve(**changes)))


def test_restore_latest_without_ema_drops_averages(workdir):
    training = {"global_batch": 4, "duration": "24 images"}
    state = build_state(resolve(training=training))
    CheckpointStore(workdir, keep=2).restore_latest(state)
    assert state.images_seen == IMAGES and not state.average


@pytest.mark.slow
def test_run_resumes_and_writes_the_present_format(tmp_path):
    folder = str(tmp_path)
    write_data_set(files.join(folder, "data"), {"train": 16, "val": 2})
    run = files.join(folder, "run")
    with zipfile.ZipFile(GOLDEN) as archive:
        archive.extractall(run)
    data = {"paths": [files.join(folder, "data")], "crop": "12"}
    result = train.run(resolve(workdir=run, data=data, output={"keep": "all"}))
    assert result.images == 24
    checkpoints = files.join(run, "checkpoints")
    names = files.list_dir(checkpoints)
    formats = [verify_checkpoint(files.join(checkpoints, name))["format"] for name in names]
    assert (names[0], names[-1]) == ("000000000012", "000000000024")
    assert formats == [1] + [2] * (len(names) - 1)
    first, last = (
        load_generator(files.join(checkpoints, name))[0].network.get_weights()
        for name in (names[0], names[-1])
    )
    # Three steps of Adam at a rate of 0.01 from the saved weights, not from initial ones.
    for old, new in zip(first, last, strict=True):
        assert np.abs(new - old).max() < 0.2
