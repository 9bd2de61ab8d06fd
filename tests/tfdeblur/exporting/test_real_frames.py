"""One network on real frames of 1280x720: whole, in tiles and as a SavedModel it restores alike."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import models
from tfdeblur.exporting import saved_model
from tfdeblur.inference import photo_files
from tfdeblur.inference.restorer import Restorer, load_restorer
from tfdeblur.inference.tiles import Tiles
from tfdeblur.ops import tiling

TILES = Tiles(512, 64)
FAR = 64
"""No pixel of the network below looks further."""


@pytest.fixture(scope="module")
def frames(real_data):
    """One blurred and sharp frame of each set, float32 in [0, 1]."""
    gopro = sorted(real_data.glob("gopro/test/*/blur/*.png"))[0]
    reds = sorted(real_data.glob("reds/train_blur/*/*.png"))[0]
    pairs = {
        "gopro": (gopro, gopro.parent.parent / "sharp" / gopro.name),
        "reds": (reds, real_data / "reds/train_sharp" / reds.parent.name / reds.name),
    }
    return {
        name: [photo_files.read_photo(str(path)).pixels.astype(np.float32) / 255 for path in pair]
        for name, pair in pairs.items()
    }


@pytest.fixture(scope="module")
def generator(frames):
    """A narrow UNet16, trained on some crops of these frames: untrained it would see little."""
    keras.utils.set_random_seed(4)
    made = models.create("unet16", {"width": 8})
    random = np.random.default_rng(4)
    crops = []
    for blurred, sharp in frames.values():
        for _ in range(240):
            top, left = random.integers(0, 720 - 64), random.integers(0, 1280 - 64)
            place = (slice(top, top + 64), slice(left, left + 64))
            crops.append((blurred[place], sharp[place]))
    model = made.as_unit_model()
    model.compile(keras.optimizers.Adam(2e-3), "mae")
    given, wanted = (np.stack(half) for half in zip(*crops, strict=True))
    model.fit(given, wanted, batch_size=8, epochs=2, verbose=0)
    return made


@pytest.fixture(scope="module")
def folder(generator, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("export") / "saved")
    saved_model.export_saved_model(generator, out)
    return out


def decibels(a, b):
    return -10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2))


def inside(height, width):
    """Where every tile that counts is at least FAR from its own edges, if not at the image's."""
    mask = np.ones((height, width), bool)
    step = TILES.side - TILES.overlap
    for box in tiling.grid(height, width, TILES.side, TILES.side, step, step, cover=True):
        for edge in {box.top, box.bottom} - {0, height}:
            mask[edge - FAR : edge + FAR] = False
        for edge in {box.left, box.right} - {0, width}:
            mask[:, edge - FAR : edge + FAR] = False
    return mask


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gopro", "reds"])
def test_whole_tiled_and_saved_agree(frames, generator, folder, name):
    blurred = frames[name][0]
    assert blurred.shape == (720, 1280, 3)
    here, there = Restorer(generator), load_restorer(folder)
    whole = here.deblur(blurred)
    change = decibels(whole, blurred)
    assert 15 < change < 40  # still the picture, and not the one that was given
    tiled = here.deblur(blurred, tiles=TILES)
    mask = inside(720, 1280)
    assert mask.mean() > 0.4
    assert np.abs(tiled - whole)[mask].max() < 1e-3
    assert decibels(tiled, whole) > max(50, change + 20)
    fitted = here.deblur(blurred, max_pixels=TILES.side**2)
    assert decibels(fitted, whole) > max(50, change + 20)
    np.testing.assert_allclose(there.deblur(blurred), whole, rtol=0, atol=1e-4)
    again = there.deblur(blurred, tiles=TILES)
    np.testing.assert_allclose(again, tiled, rtol=0, atol=1e-4)

    # As a server gets it: bytes in, bytes out, rounded once.
    served = tf.saved_model.load(folder).signatures
    levels = np.round(blurred * 255).astype(np.uint8)
    (found,) = served["uint8"](images=levels[np.newaxis]).values()
    assert np.abs(found[0].numpy() - whole * 255.0).max() < 0.5 + 1e-2
    (png,) = served["bytes"](images=tf.io.encode_png(levels)[tf.newaxis]).values()
    np.testing.assert_array_equal(tf.io.decode_png(png[0]), found[0])
