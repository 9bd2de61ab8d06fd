"""Restoring images of any size, whole and in tiles, from one thread and from several."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdeblur.errors import DataError, UserError
from tfdeblur.exporting import saved_model
from tfdeblur.inference.restorer import Restorer, load_restorer
from tfdeblur.inference.tiles import Tiles
from tfdeblur.io import files
from tfdeblur.models.generator import Generator

CORES = "tfdeblur.inference.tiles._CORES"


def photo(height, width, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth_photo(height, width):
    """Waves: seams between tiles are not hidden by noise."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(y / 9 + k) * np.cos(x / (7 + k)) for k in range(3)]
    return np.float32(0.5 + 0.4 * np.stack(waves, axis=-1))


@pytest.fixture(scope="module")
def generator():
    """Three 3x3 convolutions around the identity; sizes must be multiples of 4."""
    keras.utils.set_random_seed(1)
    images = x = keras.Input((None, None, 3))
    for channels in (8, 8):
        x = keras.layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(3, 3, padding="same")(x)
    network = keras.Model(images, keras.layers.Add()([images, x]))
    return Generator(network, "unit", 4)


@pytest.fixture(scope="module")
def restorer(generator):
    return Restorer(generator, max_pixels=64 * 64)


def identity(images):
    return images


IDENTITY = Restorer(identity)


def recorder():
    """Returns a function that restores nothing, and the list of the shapes that it is given."""
    sizes = []

    def restore(images):
        sizes.append(tuple(images.shape))
        return images

    return restore, sizes


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    tile=st.sampled_from([16, 31]),
    overlap=st.integers(0, 15),
    limit=st.sampled_from([1, 500, 10**6]),
)
def test_deblur_with_the_identity_returns_every_size_unchanged(height, width, tile, overlap, limit):
    images = photo(height, width)
    tiles = Tiles(tile, overlap)
    out = IDENTITY.deblur(images, max_pixels=limit, tiles=tiles)
    np.testing.assert_array_equal(out, images)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 41), width=st.integers(1, 41))
def test_deblur_of_any_size_equals_the_padded_network(restorer, generator, height, width):
    unit = np.random.default_rng(2).random((height, width, 3), np.float32)
    bottom, right = -height % 4, -width % 4
    padded = np.pad(unit, ((0, bottom), (0, right), (0, 0)), mode="reflect")
    expected = np.clip(generator.network(padded[None])[0, :height, :width], 0, 1)
    np.testing.assert_allclose(restorer.deblur(unit), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (2, 9, 7, 1), (2, 9, 7, 3)])
def test_deblur_returns_the_shape_and_dtype_of_its_input(shape):
    images = np.random.default_rng(3).integers(0, 65536, shape, dtype=np.uint16)
    np.testing.assert_array_equal(IDENTITY.deblur(images), images)


def test_deblur_of_integers_rounds_and_clips():
    brighter = Restorer(lambda images: images + 0.6 / 255)
    out = brighter.deblur(np.array([[[0, 100, 255]]], np.uint8))
    np.testing.assert_array_equal(out, [[[1, 101, 255]]])
    np.testing.assert_array_equal(
        Restorer(lambda images: images - 1.0).deblur(photo(3, 4)), np.zeros((3, 4, 3))
    )


def test_deblur_of_a_batch_stays_within_the_pixel_limit():
    seen = []

    def restore(images):
        tf.py_function(lambda size: seen.append(int(size)), [tf.shape(images)[0]], [])
        return images * 0.5

    batch = np.stack([photo(10, 10, seed) for seed in range(5)])
    out = Restorer(restore, max_pixels=250).deblur(batch)
    np.testing.assert_allclose(out, batch / 2, atol=0.51)
    assert seen == [2, 2, 1]


def test_deblur_of_an_empty_batch_returns_an_empty_batch():
    assert IDENTITY.deblur(np.zeros((0, 4, 5, 3), np.uint8)).shape == (0, 4, 5, 3)


def test_deblur_with_tiles_divides_images_of_any_number_of_pixels():
    restore, sizes = recorder()
    image = photo(20, 70)
    for restorer, how in (
        (Restorer(restore, tiles=Tiles(32, 8)), {}),
        (Restorer(restore), {"tiles": Tiles(32, 8)}),
    ):
        np.testing.assert_array_equal(restorer.deblur(image, **how), image)
        restorer.deblur(image[:, :32], **how)  # no larger than a tile
    assert sizes == [(1, 32, 32, 3), (None, None, None, 3)] * 2


def test_deblur_of_a_batch_without_enough_memory_restores_fewer_images_at_a_time():
    sizes = []

    def restore(images):
        def run(batch):
            sizes.append(len(batch))
            if len(batch) > 6:
                raise MemoryError
            return batch

        return tf.ensure_shape(tf.py_function(run, [images], tf.float32), images.shape)

    batch = np.stack([photo(100, 100, seed) for seed in range(12)])
    np.testing.assert_array_equal(Restorer(restore).deblur(batch), batch)
    assert sizes == [12, 3, 3, 3, 3]


def test_deblur_with_a_limit_of_no_pixels_raises():
    with pytest.raises(UserError, match="max_pixels"):
        IDENTITY.deblur(photo(2, 2), max_pixels=0)


def test_tiles_with_margins_beyond_the_receptive_field_equal_the_whole_image(generator):
    image = smooth_photo(152, 188)
    whole = Restorer(generator, max_pixels=10**6).deblur(image)
    tiled = Restorer(generator, max_pixels=1, tiles=Tiles(64, 24)).deblur(image)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_tiles_with_margins_within_the_receptive_field_nearly_equal_the_whole_image(generator):
    image = smooth_photo(152, 188)
    whole = Restorer(generator, max_pixels=10**6).deblur(image)
    tiled = Restorer(generator, max_pixels=1, tiles=Tiles(64, 8)).deblur(image)
    assert not np.array_equal(tiled, whole)
    assert -10 * np.log10(np.mean((tiled - whole) ** 2)) > 50


@pytest.mark.parametrize("limit", [64 * 64, 75 * 75])
def test_tiles_that_suit_the_image_equal_the_whole_image(generator, limit):
    image = smooth_photo(152, 188)
    whole = Restorer(generator, max_pixels=10**6).deblur(image)
    tiled = Restorer(generator, max_pixels=limit).deblur(image)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_tiles_of_different_brightness_are_blended_without_steps():
    def brightness(images):
        return images * 0 + tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)

    ramp = np.broadcast_to(np.linspace(0, 1, 200, dtype=np.float32)[:, None, None], (200, 90, 3))
    out = Restorer(brightness, max_pixels=1, tiles=Tiles(64, 32)).deblur(ramp)
    steps = np.abs(np.diff(out[:, 45, 0]))
    jump = 32 / 200  # between the means of neighboring tiles
    assert steps.max() < jump / 8


def test_tiles_of_a_narrow_image_are_mirrored_to_full_size():
    restore, sizes = recorder()
    image = photo(5, 300)
    out = Restorer(restore, max_pixels=1000, tiles=Tiles(40, 8)).deblur(image)
    np.testing.assert_array_equal(out, image)
    assert set(sizes) == {(1, 40, 40, 3)}


def test_restorer_traces_one_graph_for_whole_images_and_one_per_tile_size():
    traces = []

    def restore(images):
        traces.append(tuple(images.shape))
        return images

    restorer = Restorer(restore, max_pixels=1024, tiles=Tiles(32, 8))
    for size in ((5, 6), (31, 9), (32, 32)):
        restorer.deblur(photo(*size))
    restorer.deblur(np.stack([photo(8, 8)] * 3))
    for size in ((100, 90), (70, 200), (90, 33)):
        restorer.deblur(photo(*size))
    assert traces == [(None, None, None, 3), (1, 32, 32, 3)]


@pytest.mark.parametrize("cores", [2, 3])
def test_tiles_restored_in_parallel_equal_tiles_restored_one_by_one(generator, cores, monkeypatch):
    # The tolerance is for rounding; pixels of another tile would differ far more.
    image = photo(90, 131).astype(np.float32) / 255
    how = {"max_pixels": 4 * 32 * 32, "tiles": Tiles(32, 8)}
    monkeypatch.setattr(CORES, 1)
    alone = Restorer(generator, **how).deblur(image)
    monkeypatch.setattr(CORES, cores)
    restorer = Restorer(generator, **how)
    # With a shared kernel, one image in some dozens was wrong, or the process crashed.
    for _ in range(40):
        np.testing.assert_allclose(restorer.deblur(image), alone, atol=1e-6)


def test_deblur_called_by_several_threads_equals_single_threaded_calls(generator, monkeypatch):
    monkeypatch.setattr(CORES, 2)
    how = {"max_pixels": 4 * 32 * 32, "tiles": Tiles(32, 8)}
    # Whole images and images of one to several tiles.
    images = [
        photo(height, width, seed).astype(np.float32) / 255
        for seed, (height, width) in enumerate([(90, 131), (50, 60), (131, 90), (70, 200)] * 5)
    ]
    single = Restorer(generator, **how)
    expected = [single.deblur(image) for image in images]
    restorer = Restorer(generator, **how)
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            for found, wanted in zip(pool.map(restorer.deblur, images), expected, strict=True):
                np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_deblur_without_enough_memory_uses_smaller_tiles():
    """Simulates a GPU that holds at most 200 rows."""

    def restore(images):
        def run(batch):
            if batch.shape[1] > 200:
                raise MemoryError
            return batch

        out = tf.py_function(run, [images], tf.float32)
        return tf.ensure_shape(out, images.shape)

    image = photo(300, 310)
    np.testing.assert_array_equal(Restorer(restore).deblur(image), image)
    with pytest.raises(UserError, match="memory"):
        Restorer(restore).deblur(image, exact=True)


def test_deblur_without_memory_for_the_smallest_tiles_raises():
    def no_memory(images):
        raise MemoryError

    def refuse(images):
        return tf.ensure_shape(tf.py_function(no_memory, [images], tf.float32), images.shape)

    with pytest.raises(UserError, match="memory"):
        Restorer(refuse).deblur(photo(300, 310))


@pytest.mark.parametrize("scheme", ["", pytest.param("ram://", marks=pytest.mark.slow)])
def test_load_restorer_of_a_run_a_checkpoint_and_a_saved_model_restores_alike(
    write_run, tmp_path, scheme
):
    workdir = f"{scheme}{tmp_path}/run"
    generator = write_run(workdir)
    saved_model.export_saved_model(generator, f"{workdir}/exported")
    checkpoint = next(
        files.parent(name) for name in files.walk_files(workdir) if name.endswith("meta.json")
    )
    image = photo(21, 34)
    expected = Restorer(generator).deblur(image)
    assert expected.std() > 0
    for path in (workdir, f"{workdir}/{checkpoint}", f"{workdir}/exported"):
        loaded = load_restorer(path)
        assert loaded.name == "unet16"
        np.testing.assert_array_equal(loaded.deblur(image), expected)


@pytest.mark.slow
def test_load_restorer_of_a_saved_model_has_a_fixed_pooling_window(write_run, tmp_path):
    path = str(tmp_path / "exported")
    saved_model.export_saved_model(write_run(str(tmp_path / "run")), path)
    for pooling in ("auto", "off", None):
        assert load_restorer(path, pooling=pooling).name == "unet16"
    with pytest.raises(UserError, match=f"tlc: {path}"):
        load_restorer(path, pooling=32)


def test_load_restorer_without_a_network_names_the_path(tmp_path):
    with pytest.raises(UserError, match="nothing"):
        load_restorer(str(tmp_path / "nothing"))
    (tmp_path / "file.h5").write_text("")
    with pytest.raises(UserError, match=r"file\.h5"):
        load_restorer(str(tmp_path / "file.h5"))
    with pytest.raises(UserError, match=r"saved_model.pb .*meta.json .*best/"):
        load_restorer(str(tmp_path))


def test_load_restorer_of_a_damaged_network_names_the_file(write_run, tmp_path):
    workdir = str(tmp_path / "run")
    write_run(workdir)
    weights = next(
        name for name in files.walk_files(workdir) if name.endswith("generator.safetensors")
    )
    data = files.read_bytes(f"{workdir}/{weights}")
    files.write_bytes(f"{workdir}/{weights}", data[:-100])
    with pytest.raises(DataError, match=r"generator\.safetensors"):
        load_restorer(workdir)
    files.make_dirs(str(tmp_path / "saved"))
    files.write_bytes(str(tmp_path / "saved/saved_model.pb"), b"damaged")
    with pytest.raises(UserError, match=f"{tmp_path}/saved"):
        load_restorer(str(tmp_path / "saved"))


@pytest.mark.parametrize(("height", "width", "limit"), [(20, 33, 10**6), (50, 37, 24 * 24)])
def test_ensemble_is_the_mean_over_all_orientations(generator, height, width, limit):
    image = photo(height, width, seed=3).astype(np.float32) / 255
    single = Restorer(generator, max_pixels=limit)
    ensemble = Restorer(generator, max_pixels=limit, ensemble=True)
    expected = np.zeros_like(image)
    for turns in range(4):
        for flipped in (image, image[::-1]):
            restored = np.rot90(single.deblur(np.rot90(flipped, turns)), -turns)
            expected += restored if flipped is image else restored[::-1]
    np.testing.assert_allclose(ensemble.deblur(image), expected / 8, atol=1e-6)
    # A transposed image has the transposed result.
    turned = ensemble.deblur(np.ascontiguousarray(image.swapaxes(0, 1)))
    if limit > height * width:
        np.testing.assert_allclose(turned.swapaxes(0, 1), expected / 8, atol=1e-6)
