"""SavedModels: results of every signature, bad requests, loading, and what is overwritten."""

import io
import re
import shutil
import signal
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image, ImageOps

from tests.helpers.pngs import png_with_transparent_color
from tfdeblur import models
from tfdeblur.errors import DataError, UserError
from tfdeblur.exporting import saved_model
from tfdeblur.inference import photo_files
from tfdeblur.inference.restorer import load_restorer
from tfdeblur.inference.tiles import Tiles
from tfdeblur.io import files
from tfdeblur.models.generator import Generator


@pytest.fixture(scope="module")
def generator():
    keras.utils.set_random_seed(4)
    return models.create("unet16", {"width": 4})


@pytest.fixture(scope="module")
def tiny():
    """The identity, for tests that do not depend on the network."""
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


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (1, 8, 16), (3, 30, 41)])
def test_signatures_of_any_size_equal_the_generator(generator, exported, shape):
    loaded = saved_model.load_saved_model(exported)
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    unit = np.float32(images) / np.float32(255)
    expected = np.clip(generator.as_unit_model()(unit), 0, 1)

    np.testing.assert_allclose(loaded.restore(tf.constant(unit)), expected, atol=1e-6)
    signatures = loaded.root.signatures
    for name in ("serving_default", "float"):
        found = signatures[name](images=tf.constant(unit))["restored"]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    rounded = signatures["uint8"](images=tf.constant(images))["restored"]
    assert rounded.dtype == tf.uint8
    np.testing.assert_allclose(rounded, expected * 255, atol=0.501)
    pngs = signatures["bytes"](images=tf.constant([encoded(i) for i in images]))["restored_bytes"]
    np.testing.assert_array_equal([decoded(data) for data in pngs.numpy()], rounded)


def test_bytes_signature_with_mixed_sizes_and_formats_restores_each(exported):
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


# Sends bad requests to a served graph, then a good one, in a process without tfdeblur.
REQUESTS = """
import sys

sys.path[:] = [p for p in sys.path if p]
import tensorflow as tf

signatures = tf.saved_model.load({path!r}).signatures
for name in ("serving_default", "float", "uint8", "bytes"):
    def serve(request):
        encoded, dtype = name == "bytes", "uint8" if name == "uint8" else "float32"
        images = tf.constant(request) if encoded else tf.zeros(request, dtype)
        return signatures[name](images=images).values()

    for request in {bad_bytes!r} if name == "bytes" else {bad_shapes!r}:
        try:
            serve(request)
        except tf.errors.InvalidArgumentError:
            continue
        sys.exit(f"{{name}} accepted {{request}}")
    (restored,) = serve([{png!r}] if name == "bytes" else [1, 4, 5, 3])
    assert len(restored) == 1
"""
BAD_SHAPES = [
    (16, 16, 3),
    (16, 3),
    (),
    (1, 1, 16, 16, 3),
    (0, 16, 16, 3),
    (1, 0, 16, 3),
    (1, 16, 0, 3),
    (1, 16, 16, 0),
    (1, 16, 16, 1),
    (1, 16, 16, 4),
]


@pytest.mark.slow
def test_signatures_given_bad_shapes_raise_and_keep_serving(exported, tmp_path):
    png = encoded(np.zeros((4, 5, 3), np.uint8))
    bad = [png, [[png]], [b""], [png[:40]], [png, b"no image"]]
    program = REQUESTS.format(path=exported, bad_bytes=bad, bad_shapes=BAD_SHAPES, png=png)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def limited(tiny, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("limited") / "model")
    saved_model.export_saved_model(tiny, path, max_pixels=60)
    return path


@pytest.mark.parametrize("name", ["serving_default", "float", "uint8"])
def test_signature_with_a_limit_rejects_larger_requests(limited, name):
    serve = saved_model.load_saved_model(limited).root.signatures[name]
    dtype = tf.uint8 if name == "uint8" else tf.float32
    for shape in [(1, 61, 1), (4, 4, 4)]:
        with pytest.raises(tf.errors.InvalidArgumentError, match="60 pixels"):
            serve(images=tf.zeros([*shape, 3], dtype))
    for shape in [(1, 60, 1), (3, 4, 5)]:
        assert serve(images=tf.zeros([*shape, 3], dtype))["restored"].shape == (*shape, 3)


def test_bytes_signature_with_a_limit_rejects_larger_images_by_their_headers(limited):
    serve = saved_model.load_saved_model(limited).root.signatures["bytes"]
    fits = np.zeros((6, 10, 3), np.uint8)
    large = np.zeros((8, 8, 3), np.uint8)
    bomb = bytearray(encoded(fits))
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    for data in (encoded(large), encoded(large, "JPEG"), bytes(bomb)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="60 pixels"):
            serve(images=tf.constant([encoded(fits), data]))
    with pytest.raises(tf.errors.InvalidArgumentError):
        serve(images=tf.constant([encoded(fits, "GIF")]))  # has no size in a place that is known
    data = [encoded(fits), encoded(fits, "JPEG"), encoded(fits[..., 0])]
    restored = serve(images=tf.constant(data))["restored_bytes"].numpy()
    assert [decoded(image).shape for image in restored] == [fits.shape] * 3


def test_restorer_of_a_saved_model_with_a_limit_stays_within_it(limited):
    image = np.random.default_rng(4).random((20, 30, 3), np.float32)
    restorer = load_restorer(limited)
    assert restorer.about["max_pixels"] == 60
    for options in ({}, {"max_pixels": 2**20}, {"tiles": Tiles(16, 4)}):
        np.testing.assert_allclose(restorer.deblur(image, **options), image, atol=1e-6)
    np.testing.assert_array_equal(restorer.deblur(image[:5, :6]), image[:5, :6])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("channels", ["L", "RGB", "RGBA"])
def test_bytes_signature_returns_color_for_any_channels(exported, kind, channels):
    if (kind, channels) == ("JPEG", "RGBA"):
        channels = "CMYK"
    image = np.random.default_rng(3).integers(0, 256, (6, 5, len(channels)), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(image.squeeze(), channels).save(data, kind)
    signature = saved_model.load_saved_model(exported).root.signatures["bytes"]
    (restored,) = signature(images=tf.constant([data.getvalue()]))["restored_bytes"].numpy()
    assert decoded(restored).shape == (6, 5, 4 if channels == "RGBA" else 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bytes_signature_keeps_alpha_and_sixteen_bits(tiny, tmp_path, dtype):
    path = str(tmp_path / "model")
    saved_model.export_saved_model(tiny, path)
    signature = saved_model.load_saved_model(path).root.signatures["bytes"]
    random = np.random.default_rng(6)
    for channels in (1, 2, 3, 4):
        image = random.integers(0, np.iinfo(dtype).max + 1, (5, 7, channels), dtype=dtype)
        png = tf.io.encode_png(image)
        (restored,) = signature(images=png[tf.newaxis])["restored_bytes"]
        found = tf.io.decode_png(restored, dtype=dtype).numpy()
        assert restored.numpy()[24] == 8 * np.dtype(dtype).itemsize
        color = image if channels > 2 else np.repeat(image[..., :1], 3, axis=-1)
        np.testing.assert_array_equal(found[..., :3], color[..., :3])
        assert found.shape[-1] == (4 if channels in (2, 4) else 3)
        if channels in (2, 4):
            np.testing.assert_array_equal(found[..., 3], image[..., -1])


def test_bytes_signature_keeps_transparent_colors_as_photos_do(tiny, tmp_path):
    path = str(tmp_path / "model")
    saved_model.export_saved_model(tiny, path)
    signature = saved_model.load_saved_model(path).root.signatures["bytes"]
    random = np.random.default_rng(7)
    data = [
        png_with_transparent_color(random.integers(0, 2**depth, (5, 7, channels)), depth)
        for depth, channels in ((1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3))
    ]
    palette = io.BytesIO()
    image = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8)).quantize(4)
    image.save(palette, "PNG", transparency=bytes([255, 0, 100]))
    data.append(palette.getvalue())
    for given, restored in zip(
        data, signature(images=tf.constant(data))["restored_bytes"].numpy(), strict=True
    ):
        expected = photo_files.decode_photo(given, "given.png")
        found = photo_files.decode_photo(restored, "restored.png")
        color = np.broadcast_to(np.atleast_3d(expected.pixels), (5, 7, 3))
        np.testing.assert_array_equal(found.pixels, color)
        np.testing.assert_array_equal(found.alpha, expected.alpha)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_bytes_signature_with_exif_orientation_returns_upright_images(tiny, tmp_path, kind, endian):
    path = str(tmp_path / "model")
    saved_model.export_saved_model(tiny, path)
    signature = saved_model.load_saved_model(path).root.signatures["bytes"]
    image = np.random.default_rng(4).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(image, 8, axis=0), 8, axis=1)
    data = []
    for orientation in range(1, 10):  # 9 is invalid and ignored
        exif = Image.Exif()
        exif.endian = endian
        exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "camera", orientation
        buffer = io.BytesIO()
        # The profile comes before or after the EXIF record and takes several JPEG segments.
        Image.fromarray(image).save(buffer, kind, exif=exif, icc_profile=bytes(70_000))
        data.append(buffer.getvalue())
    data += [encoded(image, kind), encoded(image, "BMP")]  # without a record
    for given, restored in zip(
        data, signature(images=tf.constant(data))["restored_bytes"].numpy(), strict=True
    ):
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(given))))
        assert decoded(restored).shape == expected.shape
        # JPEG decoders differ by rounding.
        np.testing.assert_allclose(decoded(restored), expected, atol=2)


def test_bytes_signature_with_damaged_exif_returns_the_stored_image(tiny, tmp_path):
    path = str(tmp_path / "model")
    saved_model.export_saved_model(tiny, path)
    signature = saved_model.load_saved_model(path).root.signatures["bytes"]
    image = np.random.default_rng(5).integers(0, 256, (16, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", exif=exif)
    data = buffer.getvalue()
    start = data.index(b"Exif")
    damaged = [
        data[: start + 6 + cut] + b"\xff" * 8 + data[start + 14 + cut :] for cut in (0, 4, 8)
    ]
    for restored in signature(images=tf.constant(damaged))["restored_bytes"].numpy():
        assert decoded(restored).shape == (16, 8, 3)


def test_uint8_signature_rounds_to_the_nearest_integer(tmp_path):
    images = keras.Input((None, None, 3))
    halves = keras.Model(images, keras.layers.Rescaling(0.5)(images))
    path = str(tmp_path / "halves")
    saved_model.export_saved_model(Generator(halves, "unit", 1), path)
    signature = saved_model.load_saved_model(path).root.signatures["uint8"]
    given = tf.constant([[[[1, 3, 5]]], [[[7, 9, 11]]]], tf.uint8)
    found = signature(images=given)["restored"].numpy().ravel()
    # float32 hits a half only approximately, so both neighbors of a half are correct.
    assert (np.abs(found - np.array([0.5, 1.5, 2.5, 3.5, 4.5, 5.5])) == 0.5).all()


def test_signature_of_a_signed_network_takes_unit_images(tmp_path):
    images = keras.Input((None, None, 3))
    signed = keras.Model(images, keras.layers.Rescaling(-1.0)(images))  # negates in [-1, 1]
    path = str(tmp_path / "signed")
    description = saved_model.export_saved_model(Generator(signed, "signed", 4), path)
    assert description["value_range_inside"] == "signed"
    found = saved_model.load_saved_model(path).restore(tf.fill([1, 5, 5, 3], 0.2))
    np.testing.assert_allclose(found, 0.8, atol=1e-6)


def test_description_holds_the_model_metrics_and_signatures(exported, generator):
    description = files.read_json(f"{exported}/tfdeblur.json")
    assert description["model"] == {"name": "unet16", "width": 4, "residual": False}
    assert description["parameters"] == generator.network.count_params()
    assert description["metrics"] == {"psnr_db": 30.5}
    assert description["versions"]["tensorflow"] == tf.__version__
    assert saved_model.load_saved_model(exported).description == description
    names = set(saved_model.load_saved_model(exported).root.signatures)
    assert names == set(description["signatures"])


@pytest.mark.slow
def test_saved_model_runs_without_tfdeblur(exported, generator, tmp_path):
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
    expected = np.clip(generator.as_unit_model()(images), 0, 1)
    np.testing.assert_allclose(np.load(tmp_path / "restored.npy"), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["", "ram://"])
def test_export_over_an_earlier_export_keeps_only_added_files(tiny, tmp_path, scheme):
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


def test_export_over_an_earlier_export_keeps_links_and_what_they_point_to(tiny, tmp_path):
    path, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "request").write_text("theirs")
    saved_model.export_saved_model(tiny, str(path))
    (path / "assets.extra").symlink_to(elsewhere)
    (path / "request").symlink_to(elsewhere / "request")
    saved_model.export_saved_model(tiny, str(path))
    assert (elsewhere / "request").read_text() == "theirs"
    assert (path / "assets.extra").is_symlink() and (path / "request").is_symlink()
    assert {name.name for name in tmp_path.iterdir()} >= {"model", "elsewhere"}
    assert not (tmp_path / ".model.old").exists()


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


def test_export_keeps_hidden_folders_of_the_user(tiny, tmp_path):
    path = f"{tmp_path}/model"
    saved_model.export_saved_model(tiny, path)
    files.make_dirs(f"{tmp_path}/.model.partial")
    files.write_text(f"{tmp_path}/.model.partial/notes.txt", "theirs")
    saved_model.export_saved_model(tiny, path)
    assert files.read_text(f"{tmp_path}/.model.partial/notes.txt") == "theirs"
    files.make_dirs(f"{tmp_path}/.model.old")
    files.write_text(f"{tmp_path}/.model.old/notes.txt", "theirs")
    with pytest.raises(UserError, match=r"\.model\.old"):
        saved_model.export_saved_model(tiny, path)
    assert files.list_dir(f"{tmp_path}/.model.old") == ["notes.txt"]
    assert saved_model.is_saved_model(path)


def test_export_removes_the_folders_of_killed_exports_and_no_others(tiny, tmp_path):
    killed, running, foreign, other = (
        tmp_path / name
        for name in (
            ".model.0123abcd.partial",
            ".model.4567abcd.partial",
            ".model.89ababcd.partial",
            ".model2.0123abcd.partial",
        )
    )
    for folder in (killed, running, foreign, other):
        files.make_dirs(f"{folder}/variables")
        files.write_text(f"{folder}/variables/a", "a")
        if folder != foreign:
            files.write_bytes(f"{folder}/{saved_model._LOCK}", b"")
    with open(running / saved_model._LOCK, "r+b") as file:
        assert files.lock(file)
        saved_model.export_saved_model(tiny, str(tmp_path / "model"))
    names = [running.name, foreign.name, other.name, "model"]
    assert files.list_dir(str(tmp_path)) == sorted(names)
    assert saved_model._LOCK not in files.walk_files(str(tmp_path / "model"))


@pytest.mark.slow
def test_killed_export_is_removed_by_the_next(tmp_path):
    program = f"""
import os, signal
import keras
from tfdeblur.exporting import saved_model
from tfdeblur.models.generator import Generator

images = keras.Input((None, None, 3))
tiny = Generator(keras.Model(images, keras.layers.Rescaling(1.0)(images)), "unit", 1, name="tiny")
saved_model.files.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
saved_model.export_saved_model(tiny, {str(tmp_path / "model")!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = files.list_dir(str(tmp_path))
    assert left.endswith(files.PARTIAL_SUFFIX)
    saved_model._remove_killed(str(tmp_path / "model"))
    assert files.list_dir(str(tmp_path)) == []


def test_export_to_a_name_that_tensorflow_reads_as_a_pattern_raises(tiny, tmp_path):
    for name in ("v[1]", "a*b", "what?", "back\\slash"):
        with pytest.raises(UserError, match=re.escape(name)):
            saved_model.export_saved_model(tiny, f"{tmp_path}/{name}")
    assert files.list_dir(str(tmp_path)) == []


def test_export_to_a_link_follows_it(tiny, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    saved_model.export_saved_model(tiny, str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink() and saved_model.is_saved_model(str(tmp_path / "real"))


def test_export_into_a_folder_of_other_files_requires_overwrite(tiny, tmp_path):
    path = str(tmp_path)
    files.write_text(f"{path}/thesis.tex", "years of work")
    with pytest.raises(UserError, match="--overwrite"):
        saved_model.export_saved_model(tiny, path)
    assert files.list_dir(path) == ["thesis.tex"]
    saved_model.export_saved_model(tiny, path, overwrite=True)
    assert files.read_text(f"{path}/thesis.tex") == "years of work"
    assert saved_model.load_saved_model(path).description["model"]["name"] == "identity"
    with pytest.raises(UserError, match=r"thesis\.tex"):
        saved_model.export_saved_model(tiny, f"{path}/thesis.tex")


def test_export_into_an_empty_folder_succeeds(tiny, tmp_path):
    path = str(tmp_path / "empty")
    files.make_dirs(path)
    saved_model.export_saved_model(tiny, path)
    assert saved_model.is_saved_model(path)


def test_export_to_an_unwritable_folder_names_it(tiny):
    with pytest.raises(UserError, match="/proc/nowhere"):
        saved_model.export_saved_model(tiny, "/proc/nowhere/model")


def test_load_of_other_saved_models_needs_an_image_signature(tmp_path):
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
    with pytest.raises(UserError, match="int32"):
        saved_model.load_saved_model(bad)
    tf.saved_model.save(module, none, signatures={"other": module.darker})
    with pytest.raises(UserError, match="other"):
        saved_model.load_saved_model(none)


@pytest.mark.parametrize(
    "text",
    ["[]", '"text"', '{"model": []}', '{"model": {"name": 3}}', '{"images": {}}', "[" * 200_000],
)
def test_load_with_a_damaged_description_names_it(exported, tmp_path, text):
    path = str(tmp_path / "copy")
    shutil.copytree(exported, path)
    files.write_text(f"{path}/tfdeblur.json", text)
    with pytest.raises(DataError, match=r"tfdeblur\.json"):
        saved_model.load_saved_model(path)


def test_description_names_no_folder_of_a_checkpoint(exported, tmp_path):
    path = str(tmp_path / "copy")
    shutil.copytree(exported, path)
    files.write_json(f"{path}/tfdeblur.json", {"folder": "/etc", "images": 8})
    assert saved_model.load_saved_model(path).description == {"images": 8}


GRAPH, INDEX, DATA = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, "half") for name in (GRAPH, INDEX, DATA)),
        *((name, "noise") for name in (GRAPH, INDEX, DATA)),
        *((name, "missing") for name in (INDEX, DATA)),
        *((name, "empty") for name in (GRAPH, DATA)),
    ],
)
def test_load_of_a_damaged_saved_model_names_it(exported, tmp_path, name, damage):
    path = str(tmp_path / "copy")
    shutil.copytree(exported, path)
    data = files.read_bytes(f"{path}/{name}")
    if damage == "missing":
        files.remove(f"{path}/{name}")
    else:
        noise = np.random.default_rng(1).bytes(len(data))
        content = {"empty": b"", "half": data[: len(data) // 2], "noise": noise}[damage]
        files.write_bytes(f"{path}/{name}", content)
    with pytest.raises(UserError, match="copy"):
        saved_model.load_saved_model(path)


def test_digest_of_a_saved_model_is_that_of_its_files(exported, tmp_path):
    def digest(path):
        return saved_model.LoadedModel(None, None, {}, str(path)).sha256

    moved = tmp_path / "moved"
    shutil.copytree(exported, moved)
    (moved / saved_model.DESCRIPTION).unlink()
    assert digest(moved) == digest(exported)
    data = next((moved / "variables").glob("*.data-*"))
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert digest(moved) != digest(exported)
