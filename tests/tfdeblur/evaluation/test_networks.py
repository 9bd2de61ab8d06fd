"""The evaluated network: its local converter and its hashes."""

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import models
from tfdeblur.errors import UserError
from tfdeblur.evaluation import networks
from tfdeblur.exporting import saved_model
from tfdeblur.inference.restorer import Restorer
from tfdeblur.inference.tiles import Tiles
from tfdeblur.io import files
from tfdeblur.models import local_pooling

SMALL = {"width": 4, "encoder": (1,), "middle": 0, "decoder": (1,)}


def nafnet(**options):
    """A small NAFNet whose attention is not trivial."""
    generator = models.create("nafnet", {**SMALL, **options})
    rng = np.random.default_rng(0)
    weights = generator.network.get_weights()
    generator.network.set_weights([w + rng.normal(0, 0.2, w.shape) for w in weights])
    return generator


@pytest.fixture(scope="module")
def plain():
    return nafnet()


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens a generator as if it were in a work directory with a configuration."""

    def of(generator, crop="40x16", window=networks.AUTO):
        about = {
            "folder": f"{tmp_path}/best/000000000001",
            "format": 1,
            "files": {"generator.weights.h5": {"sha256": "ab"}},
        }
        restorer = Restorer(generator, name=generator.name, about=about)
        monkeypatch.setattr(networks, "load_restorer", lambda path, which, pooling: restorer)
        if crop:
            files.write_text(f"{tmp_path}/config.yaml", f"data:\n  crop: {crop}\n")
        return networks.open_network(str(tmp_path), "best", window)

    return of


def test_automatic_window_is_one_and_a_half_patches_and_changes_the_result(opened, plain):
    network = opened(plain)
    assert network.tlc_window == 60
    images = tf.constant(np.random.default_rng(1).random((1, 96, 96, 3)), tf.float32)
    whole, local = (network.states[s](images).numpy() for s in ("restored", "restored_tlc"))
    assert np.abs(whole - local).max() > 1e-4
    # An image no larger than the window is pooled as a whole.
    small = images[:, :40, :40]
    whole, local = (network.states[s](small).numpy() for s in ("restored", "restored_tlc"))
    np.testing.assert_allclose(whole, local, atol=1e-5)


def test_network_trained_with_a_window_is_also_evaluated_without_it(opened):
    network = opened(nafnet(pool_window=16), crop=None)
    assert network.tlc_window == 16
    images = tf.constant(np.random.default_rng(1).random((1, 64, 64, 3)), tf.float32)
    found = {state: restore(images).numpy() for state, restore in network.states.items()}
    own = network.restorer.restore(images).numpy()
    np.testing.assert_allclose(found["restored_tlc"], own, atol=1e-6)
    assert np.abs(found["restored"] - own).max() > 1e-4


def test_window_is_used_disabled_or_rejected(opened, plain):
    assert opened(plain, window=24).tlc_window == 24
    assert opened(plain, window=None).tlc_window is None
    assert opened(plain, crop="null").tlc_window is None
    unet = models.create("unet16", {"width": 4})
    assert set(opened(unet).states) == {"restored"}
    with pytest.raises(UserError, match="tlc_window"):
        opened(unet, window=24)
    with pytest.raises(ValueError, match="pool_window"):
        local_pooling.with_window(unet, 8)


def test_identity_hashes_configuration_and_weights(opened):
    unet = models.create("unet16", {"width": 4})
    first = opened(unet).identity
    assert first["weights_sha256"] == "ab" and first["configuration"] == "config.yaml"
    assert (
        opened(unet, crop="16").identity["configuration_sha256"] != (first["configuration_sha256"])
    )


@pytest.mark.slow
def test_saved_model_that_limits_its_requests_is_refused(write_run, tmp_path):
    path = str(tmp_path / "limited")
    generator = write_run(str(tmp_path / "run"))
    saved_model.export_saved_model(generator, path, max_pixels=100)
    for tiling in (None, {"max_pixels": 101}, {"max_pixels": 100, "tiles": Tiles(16)}):
        with pytest.raises(UserError, match=f"{path}.*--max-pixels 100"):
            networks.open_network(path, tiling=tiling)
    network = networks.open_network(path, tiling={"max_pixels": 100})
    images = np.random.default_rng(0).random((1, 16, 20, 3), np.float32)
    assert network.states["restored"](images).shape == images.shape
