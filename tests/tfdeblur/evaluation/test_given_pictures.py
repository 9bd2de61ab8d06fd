"""Pictures of other programs: matched by name, measured as the output of a network."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tests.helpers.tiny_data import write_data_set
from tfdeblur import evaluate
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.errors import UserError
from tfdeblur.evaluation import given_pictures
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.pictures import write_triplets
from tfdeblur.evaluation.scores import FULL_FILES
from tfdeblur.io import files
from tfdeblur.metrics import METRICS


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """A split and the card of a network that changes nothing, with its pictures."""
    folder = str(tmp_path_factory.mktemp("pictures"))
    data = EvaluationData(write_data_set(f"{folder}/data", {"test": 5}), "test")
    evaluator = SplitEvaluator(
        {"restored": lambda images: images},
        data,
        batch_size=2,
        metrics=list(METRICS.values()),
        values=("float", "uint8"),
    )
    about = {
        "from": "runs/one",
        "data": data.path,
        "split": "test",
        "data_fingerprint": data.manifest.fingerprint,
    }
    card = evaluator.run(about=about)
    card.write(f"{folder}/card", FULL_FILES)
    triplets = evaluator.pictures(range(5))
    write_triplets(triplets, f"{folder}/card", FULL_FILES.pictures)
    return f"{folder}/card", data, card, triplets


def write_pictures(folder, triplets, name="{scene}/{frame}.png", of="sharp"):
    for triplet in triplets:
        path = f"{folder}/{name.format(scene=triplet.scene, frame=triplet.frame)}"
        files.make_dirs(files.parent(path))
        Image.fromarray(getattr(triplet, of)).save(path)
    return str(folder)


@pytest.mark.parametrize(
    "name",
    ["{scene}/{frame}.png", "{scene}_{frame}.png", "out/{scene}-{frame}.tif", "{frame}.bmp"],
)
def test_pictures_are_found_by_name_and_measured(split, tmp_path, name):
    _, data, first, triplets = split
    given = given_pictures.measure(write_pictures(tmp_path, triplets, name), data, first)
    assert np.isinf(given.card.values[given.card.primary]["psnr_db"]).all()
    np.testing.assert_array_equal(given.pictures.read(3), triplets[3].sharp)
    # The input as a picture has the scores of the network that changes nothing.
    inputs = write_pictures(tmp_path / "inputs", triplets, of="blurred")
    card = given_pictures.measure(inputs, data, first).card
    for key, values in first.values[first.primary].items():
        np.testing.assert_allclose(card.values[card.primary][key], values, rtol=1e-5)


def test_comparison_has_the_pictures_as_one_more_column(split, tmp_path):
    folder, _, _, triplets = split
    peer = write_pictures(tmp_path / "peer", triplets)
    out = f"{tmp_path}/out"
    result = evaluate.run_compare(evaluate.EvaluateConfig(compare=(folder, peer), out=out))
    assert list(result.card.labels) == ["one", "peer"]
    rows = result.card.rows("whole", "float")
    assert [row[0] for row in rows] == ["blurred", "one", "peer"] and rows[2][1] == "100.00"
    page = files.read_text(result.report)
    assert page.count("data:image/png;base64,") == 5 * 4 and "another program" in page


def test_missing_picture_is_named_before_any_is_measured(split, tmp_path):
    _, data, first, triplets = split
    folder = write_pictures(tmp_path, triplets[:4])
    with pytest.raises(UserError, match=f"test-scene / {triplets[4].frame} among its 4"):
        given_pictures.measure(folder, data, first)


def test_two_pictures_of_one_name_are_named(split, tmp_path):
    _, data, first, triplets = split
    folder = write_pictures(tmp_path, triplets)
    write_pictures(tmp_path, triplets[:1], "{scene}_{frame}.png")
    with pytest.raises(UserError, match=r"test-scene/0000\.png and test-scene_0000\.png"):
        given_pictures.measure(folder, data, first)


def test_picture_of_another_size_or_damaged_is_named(split, tmp_path):
    _, data, first, triplets = split
    small = dataclasses.replace(triplets[2], sharp=triplets[2].sharp[:8])
    folder = write_pictures(tmp_path, [*triplets[:2], small, *triplets[3:]])
    path = f"{folder}/test-scene/{small.frame}.png"
    with pytest.raises(UserError, match=f"{path} is 16x8 pixels.*16x16"):
        given_pictures.measure(folder, data, first)
    files.write_bytes(path, b"no picture")
    with pytest.raises(UserError, match=path):
        given_pictures.measure(folder, data, first)


def test_pictures_alone_and_of_another_split_are_refused(split, tmp_path):
    _, data, first, triplets = split
    folder = write_pictures(tmp_path, triplets)
    with pytest.raises(UserError, match="--full"):
        evaluate.run_compare(evaluate.EvaluateConfig(compare=(folder, folder)))
    other = dataclasses.replace(first, frames=["x"] * 5)
    with pytest.raises(UserError, match="does not hold the images"):
        given_pictures.measure(folder, data, other)


def test_runs_and_evaluations_are_no_folders_of_pictures(split, tmp_path):
    folder, _, _, triplets = split
    assert not given_pictures.holds_pictures(folder)
    assert not given_pictures.holds_pictures(str(tmp_path / "nothing"))
    files.make_dirs(str(tmp_path / "run"))
    files.write_text(f"{tmp_path}/run/config.yaml", "model: unet16\n")
    write_pictures(tmp_path / "run" / "pictures", triplets)
    assert not given_pictures.holds_pictures(str(tmp_path / "run"))
    assert given_pictures.holds_pictures(str(tmp_path / "run" / "pictures"))
