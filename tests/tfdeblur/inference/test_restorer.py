"""Restoring images of any size, whole and in tiles."""

import threading
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdeblur.errors import DataError, UserError
from tfdeblur.exporting import saved_model
from tfdeblur.inference.restorer import Restorer, Tiles, _in_order, _schedule, load_restorer
from tfdeblur.io import files
from tfdeblur.models.generator import Generator


def photo(height, width, seed=0, dtype=np.uint8):
    random = np.random.default_rng(seed)
    return random.integers(0, np.iinfo(dtype).max + 1, (height, width, 3), dtype=dtype)


def smooth_photo(height, width):
    """Waves: what tiles must agree on, with no noise for the seams to hide in."""
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


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    tile=st.sampled_from([16, 31]),
    overlap=st.integers(0, 15),
    limit=st.sampled_from([1, 500, 10**6]),
)
def test_the_identity_returns_every_size_unchanged(height, width, tile, overlap, limit):
    images = photo(height, width)
    tiles = Tiles(tile, overlap)
    out = IDENTITY.deblur(images, max_pixels=limit, tiles=tiles)
    np.testing.assert_array_equal(out, images)


IDENTITY = Restorer(identity)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 41), width=st.integers(1, 41))
def test_any_size_equals_the_padded_network(restorer, generator, height, width):
    unit = np.random.default_rng(2).random((height, width, 3), np.float32)
    bottom, right = -height % 4, -width % 4
    padded = np.pad(unit, ((0, bottom), (0, right), (0, 0)), mode="reflect")
    wanted = np.clip(generator.network(padded[None])[0, :height, :width], 0, 1)
    np.testing.assert_allclose(restorer.deblur(unit), wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (2, 9, 7, 1), (2, 9, 7, 3)])
def test_shape_and_dtype_come_back(shape, dtype):
    random = np.random.default_rng(3)
    if np.issubdtype(dtype, np.floating):
        images = random.random(shape).astype(dtype)
    else:
        images = random.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)
    out = IDENTITY.deblur(images)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, images, atol=1e-3 if dtype == np.float16 else 1e-6)


def test_integers_are_rounded_and_clipped():
    brighter = Restorer(lambda images: images + 0.6 / 255)
    out = brighter.deblur(np.array([[[0, 100, 255]]], np.uint8))
    np.testing.assert_array_equal(out, [[[1, 101, 255]]])
    np.testing.assert_array_equal(
        Restorer(lambda images: images - 1.0).deblur(photo(3, 4)), np.zeros((3, 4, 3))
    )


def test_a_batch_is_restored_image_by_image_and_within_the_limit(generator):
    seen = []

    def restore(images):
        tf.py_function(lambda size: seen.append(int(size)), [tf.shape(images)[0]], [])
        return images * 0.5

    batch = np.stack([photo(10, 10, seed) for seed in range(5)])
    out = Restorer(restore, max_pixels=250).deblur(batch)
    np.testing.assert_allclose(out, batch / 2, atol=0.51)
    assert seen == [2, 2, 1]


def test_tiles_agree_with_the_whole_image(generator):
    image = smooth_photo(152, 188)
    whole = Restorer(generator, max_pixels=10**6).deblur(image)
    tiled = Restorer(generator, max_pixels=1, tiles=Tiles(64, 24)).deblur(image)
    # The margin of a tile is wider than the reach of the network, so nothing differs at all.
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_tiles_nearly_agree_where_the_network_reaches_beyond_their_margin(generator):
    image = smooth_photo(152, 188)
    whole = Restorer(generator, max_pixels=10**6).deblur(image)
    tiled = Restorer(generator, max_pixels=1, tiles=Tiles(64, 8)).deblur(image)
    assert not np.array_equal(tiled, whole)
    assert -10 * np.log10(np.mean((tiled - whole) ** 2)) > 50


def test_blending_hides_what_tiles_disagree_about():
    """Each tile is given a brightness of its own; no step may be left in the picture."""

    def moody(images):
        return images * 0 + tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)

    ramp = np.broadcast_to(np.linspace(0, 1, 200, dtype=np.float32)[:, None, None], (200, 90, 3))
    out = Restorer(moody, max_pixels=1, tiles=Tiles(64, 32)).deblur(ramp)
    steps = np.abs(np.diff(out[:, 45, 0]))
    jump = 32 / 200  # between the means of neighboring tiles
    assert steps.max() < jump / 8


def test_a_narrow_image_is_mirrored_up_to_a_tile():
    sizes = []

    def restore(images):
        sizes.append(tuple(images.shape))
        return images

    image = photo(5, 300)
    out = Restorer(restore, max_pixels=1000, tiles=Tiles(40, 8)).deblur(image)
    np.testing.assert_array_equal(out, image)
    assert set(sizes) == {(1, 40, 40, 3)}


def test_one_graph_serves_all_whole_images_and_one_each_tile_size():
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
def test_tiles_at_the_same_time_change_nothing(generator, cores, monkeypatch):
    # Tiles that met each other would differ by far more than what rounding may do.
    image = photo(90, 131).astype(np.float32) / 255
    how = {"max_pixels": 4 * 32 * 32, "tiles": Tiles(32, 8)}
    monkeypatch.setattr("tfdeblur.inference.restorer._CORES", 1)
    alone = Restorer(generator, **how).deblur(image)
    monkeypatch.setattr("tfdeblur.inference.restorer._CORES", cores)
    restorer = Restorer(generator, **how)
    # Threads that shared a convolution's kernel spoilt an image in some dozens, or ended it all.
    for _ in range(40):
        np.testing.assert_allclose(restorer.deblur(image), alone, atol=1e-6)


def test_no_function_of_tiles_is_called_by_two_threads(generator, monkeypatch):
    monkeypatch.setattr("tfdeblur.inference.restorer._CORES", 3)
    restorer = Restorer(generator, max_pixels=4 * 32 * 32, tiles=Tiles(32, 8))
    make, met, called = restorer._for_tiles, [], set()

    def watched(function):
        busy = threading.Lock()

        def call(images):
            if not busy.acquire(blocking=False):
                met.append(function)
                return function(images)
            called.add(function)
            try:
                time.sleep(0.01)
                return function(images)
            finally:
                busy.release()

        return call

    monkeypatch.setattr(restorer, "_for_tiles", lambda *sizes: list(map(watched, make(*sizes))))
    restorer.deblur(photo(90, 131))
    assert met == [] and len(called) == 3
    # The same ones serve the next image.
    assert [make(1, 32, 3)[:2], len(restorer._tiled)] == [make(1, 32, 2), 1]


def test_results_come_in_order_and_only_so_many_are_in_work():
    working, most = [], 0
    both = threading.Barrier(2, timeout=60)  # it breaks, and the test with it, unless two meet

    def restore(item):
        nonlocal most
        working.append(item)
        most = max(most, len(working))
        both.wait()
        working.remove(item)
        return np.full(3, item)

    found = list(_in_order(restore, range(8), 2))
    np.testing.assert_array_equal(found, np.repeat(np.arange(8), 3).reshape(8, 3))
    assert most == 2
    main = threading.current_thread()
    assert all(_in_order(lambda _: threading.current_thread() is main, range(3), 1))


def test_a_cpu_takes_tiles_side_by_side_and_other_devices_take_batches(monkeypatch):
    monkeypatch.setattr("tfdeblur.inference.restorer._CORES", 8)
    assert _schedule(4, 45) == (1, 4)
    assert _schedule(0, 45) == (1, 1)
    assert _schedule(16, 45) == (1, 8)
    assert _schedule(16, 3) == (1, 3)
    devices = [types.SimpleNamespace(device_type=kind) for kind in ("CPU", "GPU")]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: devices)
    assert _schedule(4, 45) == (4, 1)
    assert _schedule(0, 45) == (1, 1)


def test_too_little_memory_leads_to_smaller_tiles():
    """A device that holds 200 pixels' side at most, as a GPU reports it."""

    def restore(images):
        def run(batch):
            if batch.shape[1] > 200:
                raise MemoryError
            return batch

        out = tf.py_function(run, [images], tf.float32)
        return tf.ensure_shape(out, images.shape)

    image = photo(300, 310)
    np.testing.assert_array_equal(Restorer(restore).deblur(image), image)

    def refuse(images):
        return tf.ensure_shape(tf.py_function(_no_memory, [images], tf.float32), images.shape)

    with pytest.raises(UserError, match="memory"):
        Restorer(refuse).deblur(image)


def _no_memory(images):
    raise MemoryError


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 4), np.uint8), "alpha channel"),
        (np.zeros((2, 4, 4), np.uint8), "got \\[2, 4, 4\\]"),
        (np.zeros(5, np.uint8), "got \\[5\\]"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
        (np.zeros((4, 4, 3), np.int64), "got int64"),
        (np.full((4, 4, 3), 200.0), "from 200 to 200"),
        (np.full((4, 4, 3), np.nan), "nan"),
        (np.full((4, 4, 3), -1.0), "from -1 to -1"),
    ],
)
def test_what_is_not_an_image_is_refused(images, message):
    with pytest.raises(UserError, match=message):
        IDENTITY.deblur(images)


def test_tiles_that_cannot_overlap_are_refused():
    with pytest.raises(UserError, match="overlap by 64"):
        Tiles(64, 64)
    with pytest.raises(UserError, match="max_pixels"):
        IDENTITY.deblur(photo(2, 2), max_pixels=0)


def test_tiles_suit_the_memory_that_is_allowed():
    assert Tiles.within(10**9) == Tiles(512, 64)
    assert Tiles.within(200 * 200) == Tiles(200, 50)
    assert Tiles.within(1, side=96) == Tiles(96, 24)


@pytest.mark.parametrize("scheme", ["", pytest.param("ram://", marks=pytest.mark.slow)])
def test_a_run_a_checkpoint_and_a_saved_model_restore_alike(write_run, tmp_path, scheme):
    workdir = f"{scheme}{tmp_path}/run"
    generator = write_run(workdir)
    saved_model.export_saved_model(generator, f"{workdir}/exported")
    checkpoint = next(
        files.parent(name) for name in files.walk_files(workdir) if name.endswith("meta.json")
    )
    image = photo(21, 34)
    wanted = Restorer(generator).deblur(image)
    assert wanted.std() > 0
    for path in (workdir, f"{workdir}/{checkpoint}", f"{workdir}/exported"):
        loaded = load_restorer(path)
        assert loaded.name == "unet16"
        np.testing.assert_array_equal(loaded.deblur(image), wanted)


def test_what_holds_no_network_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_restorer(str(tmp_path / "nothing"))
    (tmp_path / "file.h5").write_text("")
    with pytest.raises(UserError, match="is a file"):
        load_restorer(str(tmp_path / "file.h5"))
    with pytest.raises(UserError, match=r"no saved_model.pb .* no meta.json .* best/"):
        load_restorer(str(tmp_path))


def test_damaged_networks_are_named(write_run, tmp_path):
    workdir = str(tmp_path / "run")
    write_run(workdir)
    weights = next(name for name in files.walk_files(workdir) if name.endswith(".h5"))
    data = files.read_bytes(f"{workdir}/{weights}")
    files.write_bytes(f"{workdir}/{weights}", data[:-100])
    with pytest.raises(DataError, match=r"generator\.weights\.h5"):
        load_restorer(workdir)
    files.make_dirs(str(tmp_path / "saved"))
    files.write_bytes(str(tmp_path / "saved/saved_model.pb"), b"damaged")
    with pytest.raises(UserError, match="not a SavedModel"):
        load_restorer(str(tmp_path / "saved"))


@pytest.mark.parametrize(("height", "width", "limit"), [(20, 33, 10**6), (50, 37, 24 * 24)])
def test_an_ensemble_is_the_mean_over_all_orientations(generator, height, width, limit):
    image = photo(height, width, seed=3).astype(np.float32) / 255
    single = Restorer(generator, max_pixels=limit)
    ensemble = Restorer(generator, max_pixels=limit, ensemble=True)
    wanted = np.zeros_like(image)
    for turns in range(4):
        for flipped in (image, image[::-1]):
            restored = np.rot90(single.deblur(np.rot90(flipped, turns)), -turns)
            wanted += restored if flipped is image else restored[::-1]
    np.testing.assert_allclose(ensemble.deblur(image), wanted / 8, atol=1e-6)
    # It no longer depends on how the image is held.
    turned = ensemble.deblur(np.ascontiguousarray(image.swapaxes(0, 1)))
    if limit > height * width:
        np.testing.assert_allclose(turned.swapaxes(0, 1), wanted / 8, atol=1e-6)
