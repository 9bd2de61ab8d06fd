"""The weights of DISTS; `tests/golden` compares its distances with the authors' code."""

import numpy as np
import pytest

from tests.golden.lpips_weights import random_backbone, random_channels
from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.lpips_weights import open_dists
from tfdeblur.metrics import dists


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dists")
    np.savez(folder / "vgg16.npz", **random_backbone("vgg"))
    np.savez(folder / "weights.npz", **random_channels())
    return [str(folder / "vgg16.npz"), str(folder / "weights.npz")]


def test_open_dists_returns_the_metric_and_its_files(paths):
    (metric,), about = open_dists(paths)
    assert metric.key == "dists" and not metric.higher_is_better
    first, second = np.random.default_rng(0).random((2, 2, 16, 20, 3), np.float32)
    value = metric.compute(metric.prepare(first), second)
    assert value.shape == (2,) and (np.asarray(value) > 0).all()
    assert about["dists_weights"] == {
        "backbone": paths[0],
        "channels": paths[1],
        "not recognized": "backbone",
    }
    digest = dists.Dists({**random_backbone("vgg"), **random_channels()}).sha256
    assert about["dists_sha256"] == digest


def test_no_files_are_no_metric():
    assert open_dists([]) == ([], {})


def test_wrong_files_raise_errors_that_name_them(paths):
    with pytest.raises(UserError, match=r"dists_weights.*vgg16-397923af\.pth"):
        open_dists(paths[:1])
    with pytest.raises(DataError, match=r"weights\.npz holds no features"):
        open_dists(paths[::-1])
    with pytest.raises(DataError, match=r"vgg16\.npz holds no alpha"):
        open_dists([paths[0], paths[0]])


@pytest.mark.parametrize(
    ("array", "named"),
    [(np.ones((1, 1472, 1, 1), np.float32), "1472"), (np.full(1475, np.inf), "damaged")],
)
def test_check_of_other_arrays_raises_data_error(array, named):
    with pytest.raises(DataError, match=rf"some\.pt.*{named}"):
        dists.check("some.pt", {**random_channels(), "beta": array})
