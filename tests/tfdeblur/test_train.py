"""Training runs: their files, resuming, strategies, errors and the command line."""

import math

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests.helpers.runs import history, settings, weights
from tests.helpers.tiny_data import write_data_set
from tfdeblur import config, train
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.data import inputs, schema
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.io import files
from tfdeblur.training.loop import Diverged


def test_run_in_memory_writes_all_files(folder):
    write_data_set(files.join(folder, "data"))
    training = {"duration": "20 epochs", "global_batch": 8}
    result = train.run(settings(folder, training=training, output={"validate_every": "10 epochs"}))
    workdir = files.join(folder, "run")
    assert result.images == 480
    assert result.workdir == workdir

    rows = history(workdir)
    losses = [float(row["generator/loss"]) for row in rows]
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    scores = [float(row["val/psnr_db"]) for row in rows if row["val/psnr_db"]]
    assert len(scores) == 2
    assert result.best["psnr_db"] == pytest.approx(max(scores))
    assert float(rows[0]["generator/learning_rate"]) == pytest.approx(0.01)

    resolved = yaml.safe_load(files.read_text(files.join(workdir, "config.yaml")))
    assert resolved["model"] == {"name": "unet16", "width": 4, "residual": False}
    assert config.resolve(resolved).training.global_batch == 8

    page = files.read_text(files.join(workdir, "index.html"))
    pictures = files.list_dir(files.join(workdir, "pictures"))
    assert "000000-blurred.png" in pictures
    assert "000000-restored-000000000480.png" in pictures
    assert all(f"pictures/{name}" in page for name in ("000000-sharp.png", "000005-blurred.png"))
    image = tf.io.decode_png(files.read_bytes(files.join(workdir, "pictures/000000-sharp.png")))
    assert image.shape == (16, 16, 3)
    assert files.list_dir(files.join(workdir, "tensorboard"))
    assert len(files.list_dir(files.join(workdir, "checkpoints"))) == 2


@pytest.mark.slow
def test_odd_batch_leaves_one_of_two_devices_idle(folder, capsys):
    write_data_set(files.join(folder, "data"))
    odd = settings(
        folder,
        training={"global_batch": 7, "duration": "1 steps"},
        runtime={"strategy": "mirrored"},
    )
    assert train.run(odd).images == 7
    assert "1 of 2 devices stay idle" in capsys.readouterr().out


@pytest.mark.slow
def test_resumed_run_equals_uninterrupted_run(folder):
    write_data_set(files.join(folder, "data"), {"train": 20, "val": 4})
    # 20 is not a multiple of the batch: epochs end inside batches.
    options = {
        "training": {"global_batch": 8, "ema_decay": 0.9},
        "runtime": {"deterministic": True},
        "data": {"paths": [files.join(folder, "data")], "quarter_turns": True},
    }
    whole = {**options, "training": {**options["training"], "duration": "9 steps"}}
    part = {**options, "training": {**options["training"], "duration": "4 steps"}}
    train.run(settings(folder, "whole", **whole))
    train.run(settings(folder, "parts", **part))
    train.run(settings(folder, "parts", **whole))
    for a, b in zip(
        weights(files.join(folder, "whole")), weights(files.join(folder, "parts")), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    seen = [row["images"] for row in history(files.join(folder, "parts"))]
    assert seen == [row["images"] for row in history(files.join(folder, "whole"))]


@pytest.mark.slow
def test_finished_run_is_unchanged_when_started_again(folder, capsys):
    write_data_set(files.join(folder, "data"))
    first = train.run(settings(folder))
    before = weights(first.workdir)
    assert "nothing is left to train" not in capsys.readouterr().out
    second = train.run(settings(folder))
    assert second == first
    assert f"has seen {first.images} images" in capsys.readouterr().out
    for a, b in zip(before, weights(first.workdir), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_two_devices_train_like_one(folder):
    write_data_set(files.join(folder, "data"))
    train.run(settings(folder, "one"))
    train.run(settings(folder, "two", runtime={"strategy": "mirrored"}))
    for a, b in zip(
        weights(files.join(folder, "one")), weights(files.join(folder, "two")), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=5e-4)


@pytest.mark.slow
def test_gradient_accumulation_trains_like_the_full_batch(folder):
    write_data_set(files.join(folder, "data"))
    train.run(settings(folder, "whole"))
    train.run(settings(folder, "parts", training={"replica_batch": 3}))
    for a, b in zip(
        weights(files.join(folder, "whole")), weights(files.join(folder, "parts")), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=5e-4)


@pytest.mark.slow
def test_run_in_bfloat16_has_float32_weights(folder):
    write_data_set(files.join(folder, "data"))
    result = train.run(settings(folder, runtime={"precision": "bfloat16"}))
    generator, _ = load_generator(result.workdir)
    assert all(value.dtype == np.float32 for value in generator.network.get_weights())
    assert np.isfinite(result.best["psnr_db"])


@pytest.mark.slow
def test_init_from_another_run_can_continue_its_schedule(folder):
    write_data_set(files.join(folder, "data"), {"train": 20, "val": 4})
    cosine = {"name": "cosine"}
    first = train.run(settings(folder, "first", training={"duration": "2 epochs"}, schedule=cosine))
    training = {"init_from": first.workdir, "init_continue": True, "duration": "6 epochs"}
    second = train.run(settings(folder, "second", training=training, schedule=cosine))
    rows = history(second.workdir)
    assert first.images == int(rows[0]["images"]) == 40 and second.images == 120
    rates = [float(rate) for row in rows if (rate := row["generator/learning_rate"])]
    # Of a cosine over 120 images, from 40 on.
    assert rates[0] < 0.01 * (1 + math.cos(math.pi / 3)) / 2 + 1e-6
    name, *_ = [n for n in files.walk_files(first.workdir) if n.endswith(".safetensors")]
    training["init_from"] = files.join(first.workdir, name)
    with pytest.raises(UserError, match="init_continue"):
        train.run(settings(folder, "third", training=training))


@pytest.mark.slow
def test_init_from_another_run_starts_at_its_score(folder, capsys):
    write_data_set(files.join(folder, "data"))
    train.run(settings(folder, "first"))
    first = files.join(folder, "first")
    result = train.run(
        settings(folder, "second", training={"init_from": first, "duration": "1 steps"})
    )
    said = "36 arrays copied, 0 of another shape, 0 not in the file, 0 of the file unused"
    assert said in capsys.readouterr().out
    best = load_generator(first)[1]["metrics"]["psnr_db"]
    assert result.best["psnr_db"] == pytest.approx(best, abs=1.5)


@pytest.mark.slow
def test_run_with_two_data_sets_mixes_them(folder):
    write_data_set(files.join(folder, "data"))
    write_data_set(files.join(folder, "more"), {"train": 10}, seed=1)
    both = [files.join(folder, "more"), files.join(folder, "data")]
    result = train.run(settings(folder, data={"paths": both, "weights": [0.5, 0.5]}))
    # 34 images per epoch, and validation on the data set that has a split for it.
    assert result.images == 136
    assert np.isfinite(result.best["psnr_db"])


@pytest.mark.slow
def test_run_without_validation_split_keeps_the_newest_weights(folder, capsys):
    write_data_set(files.join(folder, "data"), {"train": 16})
    result = train.run(settings(folder))
    assert result.best == {}
    assert "No data set has a split 'val'" in capsys.readouterr().out
    assert load_generator(result.workdir)[1]["images"] == 64


def test_unknown_validation_split_raises_config_error(folder):
    write_data_set(files.join(folder, "data"))
    with pytest.raises(ConfigError, match=r"no data set has a split 'vall'\. Did you mean 'val'"):
        train.run(settings(folder, output={"validation_split": "vall"}))
    assert not files.exists(files.join(folder, "run", "checkpoints"))


class TestErrors:
    @pytest.fixture(autouse=True)
    def data(self, folder):
        return write_data_set(files.join(folder, "data"))

    def test_no_data_raises_config_error(self, folder):
        with pytest.raises(ConfigError, match=r"data\.paths"):
            train.run(settings(folder, data={"paths": []}))

    def test_missing_data_set_raises_data_error(self, folder):
        with pytest.raises(DataError, match="nowhere"):
            train.run(settings(folder, data={"paths": [files.join(folder, "nowhere")]}))

    def test_crop_larger_than_images_raises_data_error(self, folder):
        with pytest.raises(DataError, match="32x32"):
            train.run(settings(folder, data={"crop": "32"}))

    def test_crop_of_wrong_multiple_raises_config_error(self, folder):
        with pytest.raises(ConfigError, match=r"data\.crop: .*unet16.*"):
            train.run(settings(folder, data={"crop": "12"}))

    @pytest.mark.slow
    def test_other_model_in_the_same_workdir_raises_config_error(self, folder):
        train.run(settings(folder))
        before = files.read_text(files.join(folder, "run/config.yaml"))
        with pytest.raises(ConfigError, match=r"model: .*/run belongs to a run with model"):
            train.run(settings(folder, model={"name": "unet16", "width": 8}))
        with pytest.raises(ConfigError, match=r"objective: .*belongs to a run with objective"):
            train.run(settings(folder, objective={"name": "content", "losses": {"mse": 1}}))
        assert files.read_text(files.join(folder, "run/config.yaml")) == before

    def test_workdir_that_cannot_be_created_raises_user_error(self, folder, tmp_path):
        (tmp_path / "file").write_text("")
        changed = settings(folder)
        with pytest.raises(UserError, match="file/run"):
            train.run(
                config.resolve(
                    {
                        **yaml.safe_load(config.to_yaml(changed)),
                        "workdir": str(tmp_path / "file" / "run"),
                    }
                )
            )

    def test_damaged_record_raises_data_error_with_its_shard(self, folder, data):
        path = files.join(data, schema.shard_name("train", 1, 2))
        content = bytearray(files.read_bytes(path))
        content[len(content) // 2] ^= 255
        files.write_bytes(path, bytes(content))
        with pytest.raises(DataError, match=r"train-00001-of-00002\.tfrecord"):
            train.run(settings(folder))

    def test_truncated_shard_raises_data_error_before_training(self, folder, data):
        path = files.join(data, schema.shard_name("train", 0, 2))
        files.write_bytes(path, files.read_bytes(path)[:-100])
        with pytest.raises(DataError, match=r"train-00000-of-00002\.tfrecord"):
            train.run(settings(folder))

    def test_diverging_loss_raises_diverged(self, folder):
        with pytest.raises(Diverged, match="step"):
            train.run(settings(folder, optimizer={"learning_rate": 1e30}))

    def test_unknown_recipe_exits_with_2_and_one_line(self, folder, capsys):
        code = train.main(["--recipe", "unet16_cifar1", "--workdir", "w"])
        assert code == 2
        message = capsys.readouterr().err
        assert message.startswith("error: recipe: ")
        assert "Traceback" not in message


@pytest.mark.parametrize(
    ("batch", "replicas", "largest", "expected"),
    [(256, 8, None, 1), (256, 1, 64, 4), (8, 1, 3, 4), (6, 2, 100, 1)],
)
def test_split_batch_returns_the_number_of_micro_batches(batch, replicas, largest, expected):
    assert inputs.split_batch(batch, replicas, largest) == expected


def test_command_line_configures_the_run(folder, capsys):
    write_data_set(files.join(folder, "data"))
    code = train.main(
        [
            *("--model", "unet16", "--model.width", "4", "--objective=content"),
            *("--objective.losses.charbonnier", "1.0", "--data", files.join(folder, "data")),
            *("--workdir", files.join(folder, "cli"), "--steps", "2", "--global-batch", "4"),
        ]
    )
    assert code == 0
    assert "8 images seen" in capsys.readouterr().out
    resolved = yaml.safe_load(files.read_text(files.join(folder, "cli/config.yaml")))
    assert resolved["objective"]["losses"] == {"charbonnier": 1.0}
    assert resolved["training"]["duration"] == "2 steps"


def test_switches_of_plug_ins_need_no_value(capsys):
    words = ["--model", "unet16", "--objective", "wgan_gp", "--workdir", "w", "--print-config"]
    switches = ["--critic.conditional", "--no-critic.norm-first", "--critic.layers", "2"]
    assert train.main([*words, *switches, "--model.residual"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["critic"]["conditional"] is True
    assert printed["critic"]["norm_first"] is False
    assert printed["critic"]["layers"] == 2
    assert printed["model"]["residual"] is True
    assert train.main([*words, "--critic.layers"]) == 2
    assert "critic.layers: " in capsys.readouterr().err


def test_options_of_plug_ins_take_one_or_several_values(capsys):
    words = ["--recipe", "nafnet32_gopro", "--data", "d", "--workdir", "w", "--print-config"]
    several = ["--model.encoder", "1", "2", "--model.decoder", "2", "1", "--model.width", "8"]
    assert train.main([*words, *several]) == 0
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert (model["encoder"], model["decoder"], model["width"]) == ([1, 2], [2, 1], 8)
    assert train.main([*words, "--model.encoder=3", "--model.decoder", "2"]) == 0
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert (model["encoder"], model["decoder"]) == ([3], [2])
    for wrong in (["--model.width", "8", "9"], ["--model.encoder", "1", "two"]):
        assert train.main([*words, *wrong]) == 2
        assert wrong[0].removeprefix("--") in capsys.readouterr().err
    assert train.main([*words, "--model.width", "8", "--seed", "1", "stray"]) == 2
    assert "error: stray: " in capsys.readouterr().err


def _flags(section, options):
    for name, value in options.items():
        flag = f"{section}.{name}".replace("_", "-")
        if isinstance(value, dict):
            yield from _flags(f"{section}.{name}", value)
        elif isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        else:
            values = value if isinstance(value, list) else [value]
            yield from (f"--{flag}", *("none" if item is None else str(item) for item in values))


@pytest.mark.parametrize(
    ("section", "name"),
    [(kind, name) for kind, registry in config.PLUG_INS.items() for name in registry.names()],
)
def test_every_option_of_a_plug_in_is_a_flag(section, name, capsys):
    names = {"model": "unet16", "objective": "wgan" if section == "critic" else "content"}
    names[section] = name
    words = [word for kind, chosen in names.items() for word in (f"--{kind}", chosen)]
    words += ["--data", "d", "--workdir", "w", "--print-config"]
    assert train.main(words) == 0
    printed = capsys.readouterr().out
    options = yaml.safe_load(printed)[section]
    assert options.pop("name") == name
    assert train.main([*words, *_flags(section, options)]) == 0
    assert capsys.readouterr().out == printed


def test_shares_switches_and_stages_on_the_command_line(capsys):
    words = ["--recipe", "quickstart", "--data", "a", "b", "--workdir", "w", "--print-config"]
    words += ["--data.weights", "1", "3", "--data.synthesize", "off", "on"]
    words += ["--synthesis.blur", "{trajectory: 3, none: 1, identity: 1}"]
    words += ["--training.stages", "{start: 50 steps, crop: 64}", "{start: 2 epochs, crop: 96x80}"]
    assert train.main(words) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["weights"] == [1, 3] and printed["data"]["synthesize"] == [False, True]
    assert printed["synthesis"]["blur"] == {"trajectory": 3, "none": 1, "identity": 1}
    assert printed["training"]["stages"] == [
        {"start": "50 steps", "crop": "64x64", "global_batch": None},
        {"start": "2 epochs", "crop": "96x80", "global_batch": None},
    ]
    assert train.main([*words, "--training.stages", "{start: 50 steps, crops: 64}"]) == 2
    assert "training.stages.0.crops" in capsys.readouterr().err


def test_print_config_and_plug_in_help(capsys):
    assert train.main(["--recipe", "unet16_cifar10", "--workdir", "w", "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert config.resolve(printed).recipe == "unet16_cifar10"
    assert train.main(["--help-model", "rednet30"]) == 0
    assert "--model.depth" in capsys.readouterr().out
    assert train.main(["--help-objective", "content"]) == 0
    assert "--objective.losses" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["none", pytest.param("contrast", marks=pytest.mark.slow)])
def test_run_on_stored_images_without_blur_does_not_validate(folder, kind, capsys):
    """If all blur is synthetic, both stored halves are equal."""
    data = write_data_set(files.join(folder, "data"), gain=1.0, offset=0)
    manifest = files.read_json(files.join(data, "manifest.json"))
    files.write_json(files.join(data, "manifest.json"), {**manifest, "blur": {"kind": kind}})
    result = train.run(
        settings(folder, training={"duration": "3 steps"}, output={"validate_every": "3 steps"})
    )
    assert result.images == 24
    message = "No data set has degraded images in a split 'val'"
    assert (message in capsys.readouterr().out) == (kind == "none")
    page = files.read_text(result.page)
    assert ("Validation image 0" in page) == (kind == "contrast")
    assert ("Training sample 0" in page) == (kind == "none")
    assert load_generator(result.workdir, "last")[1]["images"] == 24
    assert "psnr_db" not in load_generator(result.workdir, "last")[1]["metrics"]


@pytest.mark.slow
def test_run_without_validation_split_writes_images_and_curves(folder):
    write_data_set(files.join(folder, "data"), {"train": 24})
    # A step takes 8 images: images are written after two steps and after the last one.
    options = {"training": {"duration": "3 steps"}, "output": {"validate_every": "2 steps"}}
    blur = {"blur": "gaussian", "min_sigma": 1.5}
    result = train.run(settings(folder, synthesis=blur, **options))
    page = files.read_text(result.page)
    assert "Training sample 5" in page and "Training and validation loss" in page
    pictures = files.join(result.workdir, "pictures")
    for name in ("blurred", "restored-000000000016", "restored-000000000024", "sharp"):
        assert f"pictures/000000-{name}.png" in page
        assert files.exists(files.join(pictures, f"000000-{name}.png"))
    blurred, sharp = (
        tf.io.decode_png(files.read_bytes(files.join(pictures, f"000000-{half}.png"))).numpy()
        for half in ("blurred", "sharp")
    )
    # The synthetic blur, and not the stored loss of contrast.
    assert np.std(blurred) < 0.5 * np.std(sharp)
    assert abs(np.mean(blurred) - np.mean(sharp)) < 8
