"""The trainer from Python: callbacks, a user's network and a user's data."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdeblur
from tests.helpers.runs import history, settings, weights
from tests.helpers.tiny_data import write_data_set
from tests.helpers.toys import toy_generator
from tfdeblur import train
from tfdeblur.checkpoints.manifest import WEIGHTS, read_meta
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.errors import ConfigError, DataError, Stopped, UserError
from tfdeblur.inference.restorer import Restorer
from tfdeblur.io import files
from tfdeblur.models.generator import Backbone, as_generator
from tfdeblur.training.callbacks import Callback
from tfdeblur.training.engines.engine import Engine
from tfdeblur.training.trainer import Trainer
from tfdeblur.training.user_inputs import open_training


def configure(folder, workdir="run", steps=4, **sections):
    sections = {"data": {"paths": []}, "runtime": {"deterministic": True}, **sections}
    return settings(folder, workdir, training={"duration": f"{steps} steps"}, **sections)


def pairs(count=24, seed=0, side=16):
    sharp = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return sharp // 2 + 64, sharp


def dataset(count=24, seed=0):
    tf.random.set_seed(3)
    return tf.data.Dataset.from_tensor_slices(pairs(count, seed)).shuffle(count, seed=1)


def network(width=4, name=None):
    """A residual network in [0, 1]."""
    keras.utils.set_random_seed(7)
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(width, 3, padding="same", activation="tanh")(images)
    x = keras.layers.Conv2D(3, 3, padding="same")(x)
    return keras.Model(images, keras.layers.Add()([images, x]), name=name)


def assert_equal_weights(folder, one, other):
    first, second = (files.join(folder, name) for name in (one, other))
    for a, b in zip(raw_weights(first), raw_weights(second), strict=True):
        np.testing.assert_array_equal(a, b)


def raw_weights(workdir):
    """The arrays of the newest checkpoint of a user's network."""
    generator, _ = load_generator(workdir, "last", model=network)
    return generator.network.get_weights()


class Recorder(Callback):
    """Keeps its reports."""

    def __init__(self, every):
        self.every = every
        self.reports = []
        self.names = set()

    def __call__(self, report):
        self.reports.append(report)
        self.names.add(self.generator.name)


# ---------------------------------------------------------------------------------------- callbacks


@pytest.mark.slow
def test_callback_is_called_at_its_interval_and_at_the_end(folder):
    write_data_set(files.join(folder, "data"))
    recorder = Recorder("16 images")
    data = {"paths": [files.join(folder, "data")]}
    trainer = Trainer(configure(folder, steps=5, data=data), callbacks=[recorder])
    assert trainer.fit().images == 40
    assert [report.images for report in recorder.reports] == [16, 32, 40]
    assert [report.last for report in recorder.reports] == [False, False, True]
    assert [round(report.epoch, 2) for report in recorder.reports] == [0.67, 1.33, 1.67]
    assert all(np.isfinite(report.metrics["generator/loss"]) for report in recorder.reports)
    assert recorder.names == {"unet16"}


def test_callback_runs_before_the_checkpoint_that_covers_it(folder):
    class Fails(Callback):
        every = "2 steps"

        def __call__(self, report):
            raise RuntimeError("mine")

    output = {"save_every": "2 steps"}
    with pytest.raises(RuntimeError, match="mine"):
        train.run(
            configure(folder, output=output), callbacks=[Fails()], train_data=pairs(), model=network
        )
    assert list_checkpoints(files.join(folder, "run/checkpoints")) == []


@pytest.mark.parametrize("every", ["soon", "0 steps"])
def test_callback_with_wrong_interval_raises_config_error(folder, every):
    trainer = Trainer(configure(folder), callbacks=[Recorder(every)], train_data=pairs())
    with pytest.raises(ConfigError, match=every):
        trainer.fit()


# ----------------------------------------------------------------------------------------- networks


@pytest.mark.slow
def test_keras_model_receives_the_trained_weights(folder):
    model = network()
    before = [np.array(array) for array in model.get_weights()]
    trainer = Trainer(
        configure(folder, steps=30), model=model, train_data=pairs(), val_data=pairs(6, 1)
    )
    result = trainer.fit()
    losses = [float(row["generator/loss"]) for row in history(result.workdir)]
    assert losses[-1] < 0.5 * losses[0]
    assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    for a, b in zip(raw_weights(result.workdir), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(result.best["psnr_db"])
    checkpoints = files.join(result.workdir, "checkpoints")
    meta = read_meta(files.join(checkpoints, f"{list_checkpoints(checkpoints)[-1]:012d}"))
    assert meta["model"] == {"name": "custom"}


def test_generator_with_its_own_value_range_is_trained(folder):
    generator = toy_generator(value_range="signed")
    result = Trainer(configure(folder), model=generator, train_data=pairs()).fit()
    assert result.images == 32


@pytest.mark.slow
@pytest.mark.parametrize("model", [network, network()], ids=["function", "model"])
def test_user_network_on_two_devices_is_trained(folder, model):
    run = configure(folder, runtime={"strategy": "mirrored"})
    assert Trainer(run, model=model, train_data=pairs()).fit().images == 32


def test_user_network_is_loaded_with_its_model_alone(folder):
    trained = network()
    Trainer(configure(folder), model=trained, train_data=pairs()).fit()
    workdir = files.join(folder, "run")
    image = pairs(1)[0][0]
    restorer = tfdeblur.load(workdir, model=network)
    np.testing.assert_array_equal(
        restorer.deblur(image), Restorer(as_generator(trained)).deblur(image)
    )
    with pytest.raises(UserError, match="model="):
        tfdeblur.load(workdir)
    with pytest.raises(DataError, match=WEIGHTS):
        tfdeblur.load(workdir, model=network(width=8))


def test_resume_with_another_network_raises_user_error(folder):
    Trainer(configure(folder), model=network(), train_data=pairs()).fit()
    with pytest.raises(UserError, match="000000000032"):
        Trainer(configure(folder, steps=5), model=network(width=8), train_data=pairs()).fit()


@pytest.mark.slow
def test_backbone_is_loaded_at_the_start_and_frozen_across_resumes(folder):
    loads = []

    def make():
        generator = toy_generator()
        kernel, bias = generator.network.trainable_variables[:2]

        def load():
            loads.append(folder)
            kernel.assign(np.full(kernel.shape, 0.25))

        backbone = Backbone(load=load, variables=(kernel, bias), frozen="3 steps")
        return dataclasses.replace(generator, backbone=backbone)

    changes = []
    for steps in (2, 4):
        trainer = Trainer(configure(folder, steps=steps), model=make, train_data=pairs())
        trainer.fit()
        changes.append(np.abs(trainer.state.generator.network.get_weights()[0] - 0.25).max())
    assert loads == [folder]
    # One update, the fourth, of the size of the learning rate.
    assert changes[0] == 0 and 0 < changes[1] < 0.011


# --------------------------------------------------------------------------------------------- data


@pytest.mark.slow
@pytest.mark.parametrize("make", [pairs, dataset])
def test_resume_with_data_from_python_equals_uninterrupted_run(folder, make):
    for name, lengths in (("whole", [5]), ("parts", [2, 5])):
        for steps in lengths:
            run = configure(folder, name, steps)
            result = train.run(run, model=network(), train_data=make(), val_data=make(6, 1))
            assert result.images == 8 * steps
    assert_equal_weights(folder, "whole", "parts")
    rows = [history(files.join(folder, name)) for name in ("whole", "parts")]
    for one, other in zip(*rows, strict=True):
        assert all(one[name] == other[name] for name in ("images", "generator/loss"))
    assert rows[0][-1]["val/psnr_db"] == rows[1][-1]["val/psnr_db"]


def test_arrays_and_built_data_set_give_the_same_samples(folder):
    run = configure(folder, data={"paths": [], "crop": "8", "quarter_turns": True})
    data = open_training(run, pairs())
    assert (data.records, data.height, data.width) == (24, 8, 8)
    again = open_training(run, pairs())
    batch, same = (next(iter(one.dataset(24))) for one in (data, again))
    np.testing.assert_array_equal(batch["sharp"], same["sharp"])
    assert data.identity()["sets"] == again.identity()["sets"]
    assert data.identity()["sets"] != open_training(run, pairs(seed=1)).identity()["sets"]
    blurred, sharp = (np.asarray(batch[half], np.int32) for half in ("blurred", "sharp"))
    np.testing.assert_array_equal(blurred, sharp // 2 + 64)


@pytest.mark.slow
def test_resume_with_other_arrays_warns(folder, capsys):
    for seed, warnings in ((0, 0), (0, 0), (1, 1)):
        train.run(configure(folder, steps=1 + seed), model=network(), train_data=pairs(seed=seed))
        assert capsys.readouterr().out.count("warning: the data differ") == warnings


def test_recipe_on_data_of_another_source_warns_once(folder, capsys):
    write_data_set(files.join(folder, "data"))
    stages = [{"start": "3 steps", "crop": 8}]  # for which the data are opened again
    run = settings(folder, recipe="unet16_reds", training={"stages": stages})
    Trainer(run).prepare()
    printed = capsys.readouterr().out
    assert printed.count("warning: the recipe unet16_reds is for data of reds") == 1
    assert "these are of test" in printed
    Trainer(run, train_data=pairs()).prepare()
    assert "warning" not in capsys.readouterr().out


@pytest.mark.slow
def test_val_data_replace_the_split_of_a_built_data_set(folder):
    write_data_set(files.join(folder, "data"))
    run = configure(folder, data={"paths": [files.join(folder, "data")]})
    scores = [Trainer(run, val_data=data).fit().best for data in (None, pairs(6, 9))]
    assert scores[0]["psnr_db"] == scores[1]["psnr_db"]  # Nothing was left to train or validate.
    run = configure(folder, "other", data={"paths": [files.join(folder, "data")]})
    assert Trainer(run, val_data=pairs(6, 9)).fit().best["psnr_db"] != scores[0]["psnr_db"]


@pytest.mark.parametrize(
    "data",
    [
        (pairs()[0], pairs(23)[1]),
        (pairs()[0] / 255, pairs()[1] / 255),
        (pairs()[0][..., 0], pairs()[1][..., 0]),
        (pairs()[0][:0], pairs()[1][:0]),
        tf.data.Dataset.from_tensor_slices(pairs()[0]),
        tf.data.Dataset.from_tensor_slices(pairs()).batch(4),
        tf.data.Dataset.from_tensor_slices(pairs()).repeat(),
        tf.data.Dataset.from_tensor_slices(pairs()).filter(lambda *_: True),
    ],
    ids=["lengths", "floats", "rank", "empty", "single", "batches", "endless", "unknown length"],
)
def test_train_data_of_wrong_form_raise_config_error(folder, data):
    with pytest.raises(ConfigError, match="train_data"):
        train.run(configure(folder), train_data=data)
    assert not files.exists(files.join(folder, "run"))


def test_endless_val_data_raise_config_error(folder):
    with pytest.raises(ConfigError, match="val_data"):
        train.run(configure(folder), train_data=pairs(), val_data=dataset().repeat())


def test_crop_with_tf_data_set_warns(folder, capsys):
    run = configure(folder, steps=1, data={"paths": [], "crop": "8"})
    Trainer(run, model=network(), train_data=dataset()).fit()
    assert "data.crop" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------ engines


def test_batch_norm_of_two_replicas_warns_once_when_the_run_moves_to_jax(
    folder, monkeypatch, capsys
):
    def build():
        run_config = configure(folder, runtime={"strategy": "mirrored"})
        run = Trainer(run_config, model=toy_generator(batch_norm=True), train_data=pairs())
        run.prepare()
        run.build()
        printed = capsys.readouterr().out
        assert ("Resuming from" in printed) == run.resumed
        return run, printed.count("warning: batch norm of the generator")

    run, warnings = build()
    assert (run.resumed, warnings) == (False, 0)
    assert read_meta(run.store.save(run.state, {}))["engine"] == {
        "name": "tensorflow",
        "devices": 2,
        "batch norm per replica": ["generator"],
    }
    run, warnings = build()
    assert (run.resumed, warnings) == (True, 0)
    jax = {"name": "jax", "devices": 2, "batch norm per replica": []}
    monkeypatch.setattr(Engine, "identity", lambda self, state: jax)
    run, warnings = build()
    assert (run.resumed, warnings) == (True, 1)
    run.state.images.assign(8)
    assert read_meta(run.store.save(run.state, {}))["engine"] == jax
    run, warnings = build()
    assert (run.resumed, warnings) == (True, 0)


@pytest.mark.parametrize("options", [{"norm": "instance"}, {"synchronized": True}])
def test_other_normalization_is_not_recorded_as_per_replica(folder, options):
    model = {"name": "deblurgan", "blocks": 1, "width": 4, **options}
    run = Trainer(configure(folder, model=model), train_data=pairs())
    run.prepare()
    run.build()
    assert run.engine.identity(run.state)["batch norm per replica"] == []


# ---------------------------------------------------------------------------------- without guards


def test_trainer_alone_leaves_lock_and_signals_to_the_caller(folder):
    class Interrupts(Callback):
        every = "1 steps"

        def __call__(self, report):
            assert not files.exists(files.join(folder, "run/run.lock"))
            raise KeyboardInterrupt

    trainer = Trainer(configure(folder), model=network(), train_data=pairs())
    trainer.callbacks = (Interrupts(),)
    with pytest.raises(KeyboardInterrupt) as raised:
        trainer.fit()
    assert not isinstance(raised.value, Stopped)


def test_trainer_is_a_public_name():
    assert tfdeblur.Trainer is Trainer
    assert tfdeblur.Callback is Callback
    with pytest.raises(AttributeError, match="Trainr"):
        _ = tfdeblur.Trainr


@pytest.mark.slow
def test_trainer_and_guarded_run_train_alike(folder):
    write_data_set(files.join(folder, "data"))
    data = {"paths": [files.join(folder, "data")]}
    Trainer(configure(folder, "alone", data=data)).fit()
    train.run(configure(folder, "guarded", data=data))
    for a, b in zip(
        weights(files.join(folder, "alone")), weights(files.join(folder, "guarded")), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_remat_under_tensorflow_raises_config_error(tmp_path):
    run_config = settings(str(tmp_path), data={"paths": []}, training={"remat": True})
    with pytest.raises(ConfigError, match=r"training\.remat"):
        Trainer(run_config, train_data=pairs()).fit()


@pytest.mark.slow
def test_scaled_batch_uses_both_replicas_and_sees_as_many_images(tmp_path, capsys):
    run_config = settings(
        str(tmp_path),
        data={"paths": []},
        runtime={"strategy": "mirrored"},
        training={"global_batch": 3, "scale_batch": True, "duration": "4 steps"},
    )
    run = Trainer(run_config, train_data=pairs(), val_data=pairs(2))
    assert run.fit().images == 12
    assert (run.engine.devices, run.plan.global_batch, run.step_images) == (2, 4, 4)
    rate = float(history(str(tmp_path / "run"))[0]["generator/learning_rate"])
    assert rate == pytest.approx(0.01 * (4 / 3) ** 0.5, rel=1e-6)
    assert "training.scale_batch" in capsys.readouterr().out
    written = files.read_text(str(tmp_path / "run" / "config.yaml"))
    assert "global_batch: 3" in written and "learning_rate: 0.01\n" in written
