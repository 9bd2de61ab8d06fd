"""Reading the weights of LPIPS from files."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy

from tests.golden.lpips_weights import random_backbone, random_heads
from tests.helpers import pickles
from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.lpips_weights import open_lpips
from tfdeblur.metrics import lpips
from tfdeblur.porting import reading

PARTS = {"backbone": random_backbone("alex"), "heads": random_heads("alex")}


def as_torch(arrays) -> bytes:
    """A file as written by `torch.save`."""
    tensors = {name: pickles.tensor(name, array.shape) for name, array in arrays.items()}
    records = {name: array.tobytes() for name, array in arrays.items()}
    return pickles.archive(pickles.dictionary(tensors), records)


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("lpips")
    (folder / "heads.pth").write_bytes(as_torch(PARTS["heads"]))
    (folder / "backbone.pth").write_bytes(as_torch(PARTS["backbone"]))
    safetensors.numpy.save_file(PARTS["backbone"], folder / "backbone.safetensors")
    return {path.name: str(path) for path in folder.iterdir()}


def test_file_format_does_not_affect_the_digest(paths):
    wanted = lpips.Lpips("alex", PARTS["backbone"] | PARTS["heads"]).sha256
    for name in ("backbone.pth", "backbone.safetensors"):
        pair = [paths[name], paths["heads.pth"]]
        (metric,), about = open_lpips(["alex"], pair)
        assert metric.key == "lpips_alex" and metric.compute and metric.prepare
        assert about["lpips_alex_sha256"] == wanted
        assert about["lpips_alex_weights"] == {
            "backbone": pair[0],
            "heads": pair[1],
            "not recognized": "backbone and heads",
        }


def test_published_files_are_recognized_and_version_0_0_is_rejected(paths, monkeypatch):
    pair = [paths["backbone.pth"], paths["heads.pth"]]
    digests = [reading.read(path).sha256 for path in pair]
    known = lpips.NETWORKS["alex"]
    published = {"backbone": (digests[0][:8],), "heads": (digests[1],)}
    changed = dataclasses.replace(known, digests=published)
    monkeypatch.setitem(lpips.NETWORKS, "alex", changed)
    _, about = open_lpips(["alex"], pair)
    assert "not recognized" not in about["lpips_alex_weights"]
    changed = dataclasses.replace(known, outdated=digests[1])
    monkeypatch.setitem(lpips.NETWORKS, "alex", changed)
    with pytest.raises(DataError, match=r"heads\.pth .*0\.0"):
        open_lpips(["alex"], pair)


def test_no_network_needs_no_files():
    assert open_lpips([], []) == ([], {})


def test_files_that_do_not_match_the_networks_are_rejected(paths, tmp_path):
    backbone, heads = paths["backbone.pth"], paths["heads.pth"]
    with pytest.raises(UserError, match=r"0 files for 1 .*alexnet-owt-7be5be79\.pth and the lpips"):
        open_lpips(["alex"], [])
    with pytest.raises(UserError, match="--lpips"):
        open_lpips([], [backbone, heads])
    with pytest.raises(UserError, match="alex alex"):
        open_lpips(["alex", "alex"], [backbone, heads] * 2)
    with pytest.raises(DataError, match=r"backbone\.pth: features\.0\.weight has shape"):
        open_lpips(["vgg"], [backbone, heads])
    with pytest.raises(DataError, match=r"heads\.pth holds no features\.0\.weight"):
        open_lpips(["alex"], [heads, backbone])
    with pytest.raises(UserError, match=r"nowhere\.pth"):
        open_lpips(["alex"], [str(tmp_path / "nowhere.pth"), heads])
    broken = tmp_path / "broken.npz"
    np.savez(broken, **{"lin0.model.1.weight": np.ones((1, 64, 1, 1), np.float32)})
    with pytest.raises(DataError, match=r"broken\.npz holds no lin1\.model\.1\.weight"):
        open_lpips(["alex"], [backbone, str(broken)])
