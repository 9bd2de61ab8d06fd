"""SavedModels: numbers of every signature, any size, without tfdeblur, and what they overwrite."""

import io
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfdeblur import models
from tfdeblur.errors import UserError
from tfdeblur.exporting import saved_model
from tfdeblur.io import files
from tfdeblur.models.generator import Generator


@pytest.fixture(scope="module")
def generator():
    keras.utils.set_random_seed(4)
    return models.create("unet16", {"width": 4})


@pytest.fixture(scope="module")
def tiny():
    """The identity: what is asked of folders does not depend on the network."""
    images = keras.Input((None, None, 3))
    network = keras.Model(images, keras.layers.Rescaling(1.0)(images))
    return Generator(network, "unit", 1, name="identity")


@pytest.fixture(scope="module")
def exported(generator, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("export") / "model")
    saved_model.export_saved_model(generator, path, about={"metrics": {"psnr_db": 30.5}})
    return path


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (1, 8, 16), (3, 30, 41)])
def test_the_signatures_agree_with_the_generator(generator, exported, shape):
    loaded = saved_model.load_saved_model(exported)
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    unit = np.float32(images) / np.float32(255)
    wanted = np.clip(generator.as_unit_model()(unit), 0, 1)

    np.testing.assert_allclose(loaded.restore(tf.constant(unit)), wanted, atol=1e-6)
    signatures = loaded.root.signatures
    for name in ("serving_default", "float"):
        found = signatures[name](images=tf.constant(unit))["restored"]
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    rounded = signatures["uint8"](images=tf.constant(images))["restored"]
    assert rounded.dtype == tf.uint8
    np.testing.assert_allclose(rounded, wanted * 255, atol=0.501)
    pngs = signatures["bytes"](images=tf.constant([encoded(i) for i in images]))["restored_bytes"]
    np.testing.assert_array_equal([decoded(data) for data in pngs.numpy()], rounded)


def test_encoded_images_may_differ_in_size_and_kind(exported):
    random = np.random.default_rng(1)
    sizes = [(3, 4), (20, 10), (1, 1)]
    images = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    data = [encoded(images[0]), encoded(images[1], "JPEG"), encoded(images[2][..., 0])]
    signature = saved_model.load_saved_model(exported).root.signatures["bytes"]
    found = [decoded(d) for d in signature(images=tf.constant(data))["restored_bytes"].numpy()]
    assert [image.shape for image in found] == [(*size, 3) for size in sizes]
    assert signature(images=tf.constant([], tf.string))["restored_bytes"].shape == (0,)
    with pytest.raises(tf.errors.InvalidArgumentError):
        signature(images=tf.constant([data[0][:40]]))


def test_uint8_rounds_to_a_nearest_value(tmp_path):
    images = keras.Input((None, None, 3))
    halves = keras.Model(images, keras.layers.Rescaling(0.5)(images))
    path = str(tmp_path / "halves")
    saved_model.export_saved_model(Generator(halves, "unit", 1), path)
    signature = saved_model.load_saved_model(path).root.signatures["uint8"]
    given = tf.constant([[[[1, 3, 5]]], [[[7, 9, 11]]]], tf.uint8)
    found = signature(images=given)["restored"].numpy().ravel()
    # In float32 a half is met only to rounding, so either neighbor of a half is right.
    assert (np.abs(found - np.array([0.5, 1.5, 2.5, 3.5, 4.5, 5.5])) == 0.5).all()


def test_the_range_inside_is_hidden(tmp_path):
    images = keras.Input((None, None, 3))
    signed = keras.Model(images, keras.layers.Rescaling(-1.0)(images))  # negates in [-1, 1]
    path = str(tmp_path / "signed")
    description = saved_model.export_saved_model(Generator(signed, "signed", 4), path)
    assert description["value_range_inside"] == "signed"
    found = saved_model.load_saved_model(path).restore(tf.fill([1, 5, 5, 3], 0.2))
    np.testing.assert_allclose(found, 0.8, atol=1e-6)


def test_the_folder_says_what_it_is(exported, generator):
    description = files.read_json(f"{exported}/tfdeblur.json")
    assert description["model"] == {"name": "unet16", "width": 4, "residual": False}
    assert description["parameters"] == generator.network.count_params()
    assert description["metrics"] == {"psnr_db": 30.5}
    assert description["versions"]["tensorflow"] == tf.__version__
    assert saved_model.load_saved_model(exported).description == description
    names = set(saved_model.load_saved_model(exported).root.signatures)
    assert names == set(description["signatures"])


def test_it_runs_where_tfdeblur_cannot_be_imported(exported, generator, tmp_path):
    images = np.random.default_rng(2).random((1, 13, 18, 3), np.float32)
    np.save(tmp_path / "images.npy", images)
    program = textwrap.dedent(
        f"""
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "tfdeblur":
                    raise ImportError(name + " is not here")

        sys.meta_path.insert(0, Absent())
        sys.path[:] = [p for p in sys.path if p]
        import numpy as np
        import tensorflow as tf

        root = tf.saved_model.load({exported!r})
        images = np.load({str(tmp_path / "images.npy")!r})
        restored = root.signatures["float"](images=tf.constant(images))["restored"]
        np.save({str(tmp_path / "restored.npy")!r}, restored)
        assert not [name for name in sys.modules if name.startswith("tfdeblur")]
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    wanted = np.clip(generator.as_unit_model()(images), 0, 1)
    np.testing.assert_allclose(np.load(tmp_path / "restored.npy"), wanted, atol=1e-6)


@pytest.mark.parametrize("scheme", ["", "ram://"])
def test_an_earlier_export_is_replaced_whole(tiny, tmp_path, scheme):
    path = f"{scheme}{tmp_path}/models/model"
    files.make_dirs(files.parent(path))
    saved_model.export_saved_model(tiny, path, about={"images": 1})
    before = files.walk_files(path)
    for name in ("README.md", "assets.extra/labels.txt", "variables/notes"):
        files.make_dirs(files.parent(f"{path}/{name}"))
        files.write_text(f"{path}/{name}", "theirs")
    saved_model.export_saved_model(tiny, path, about={"images": 2})
    assert saved_model.load_saved_model(path).description["images"] == 2
    added = ["README.md", "assets.extra/labels.txt", "variables/notes"]
    assert files.walk_files(path) == sorted([*before, *added])
    assert files.list_dir(files.parent(path)) == ["model"]


def test_export_over_an_edited_export_is_refused(tiny, tmp_path):
    path = f"{tmp_path}/model"
    saved_model.export_saved_model(tiny, path)
    files.write_text(f"{path}/tfdeblur.json", "{}")
    with pytest.raises(UserError, match=r"tfdeblur\.json"):
        saved_model.export_saved_model(tiny, path, overwrite=True)
    assert files.read_text(f"{path}/tfdeblur.json") == "{}"


def test_export_after_an_interrupted_replacement_keeps_all_files(tiny, tmp_path):
    path = f"{tmp_path}/model"
    saved_model.export_saved_model(tiny, path)
    files.write_text(f"{path}/README.md", "theirs")
    files.rename(path, f"{tmp_path}/.model.old")
    saved_model.export_saved_model(tiny, path)
    assert files.read_text(f"{path}/README.md") == "theirs"
    assert files.list_dir(str(tmp_path)) == ["model"]


def test_export_to_a_link_follows_it(tiny, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    saved_model.export_saved_model(tiny, str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink() and saved_model.is_saved_model(str(tmp_path / "real"))


def test_other_content_is_not_overwritten_unless_asked(tiny, tmp_path):
    path = str(tmp_path)
    files.write_text(f"{path}/thesis.tex", "years of work")
    with pytest.raises(UserError, match="--overwrite"):
        saved_model.export_saved_model(tiny, path)
    assert files.list_dir(path) == ["thesis.tex"]
    saved_model.export_saved_model(tiny, path, overwrite=True)
    assert files.read_text(f"{path}/thesis.tex") == "years of work"
    assert saved_model.load_saved_model(path).description["model"]["name"] == "identity"
    with pytest.raises(UserError, match="is a file"):
        saved_model.export_saved_model(tiny, f"{path}/thesis.tex")


def test_an_empty_folder_is_used(tiny, tmp_path):
    path = str(tmp_path / "empty")
    files.make_dirs(path)
    saved_model.export_saved_model(tiny, path)
    assert saved_model.is_saved_model(path)


def test_a_folder_that_cannot_be_written_is_named(tiny):
    with pytest.raises(UserError, match="/proc/nowhere"):
        saved_model.export_saved_model(tiny, "/proc/nowhere/model")


def test_foreign_saved_models_work_or_are_refused(tmp_path):
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
        def darker(self, pixels):
            return {"out": pixels * 0.5}

        @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
        def count(self, number):
            return {"out": number + 1}

    module = Module()
    good, bad, none = (str(tmp_path / name) for name in ("good", "bad", "none"))
    tf.saved_model.save(module, good, signatures=module.darker)
    loaded = saved_model.load_saved_model(good)
    np.testing.assert_allclose(loaded.restore(tf.ones([1, 2, 2, 3])), 0.5)
    assert loaded.description == {}
    tf.saved_model.save(module, bad, signatures=module.count)
    with pytest.raises(UserError, match="takes int32"):
        saved_model.load_saved_model(bad)
    tf.saved_model.save(module, none, signatures={"other": module.darker})
    with pytest.raises(UserError, match="its signatures: other"):
        saved_model.load_saved_model(none)
