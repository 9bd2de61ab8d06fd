import numpy as np
import pytest

from tests.helpers.small_vgg import LAYER, WEIGHTS
from tfdeblur.losses.perceptual import PerceptualLoss


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("vgg") / "small.npz"
    np.savez(path, **WEIGHTS)
    return str(path)


@pytest.fixture(scope="module")
def loss(weights) -> PerceptualLoss:
    built = PerceptualLoss(LAYER, weights=weights)
    built.build()
    return built
