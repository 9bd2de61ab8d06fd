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
from tfdeblur.evaluation.frames import BASELINE
from tfdeblur.evaluation.pictures import write_triplets
from tfdeblur.evaluation.scores import FULL_FILES, ScoreCard
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


def folders_of(path, triplets, count=5):
    names = {"sharp": "{scene}/{frame}.png", "blurred": "{frame}.bmp", "restored": "{frame}.tif"}
    return {
        key: write_pictures(
            path / key, triplets[:count], name, of="sharp" if key == "sharp" else "blurred"
        )
        for key, name in names.items()
    }


def test_folders_are_scored_without_a_data_set(split, tmp_path):
    _, _, first, triplets = split
    folders = folders_of(tmp_path, triplets)
    result = evaluate.run_pictures(evaluate.EvaluateConfig(**folders, pictures=1))
    card = result.card
    assert result.folder == f"{folders['restored']}-evaluation"
    order = [first.frames.index(frame) for frame in card.frames]
    assert card.frames == sorted(first.frames)
    inputs = {key: values[order] for key, values in first.values[BASELINE].items()}
    for setting in (card.primary, BASELINE):
        for key, values in card.values[setting].items():
            np.testing.assert_allclose(values, inputs[key], rtol=1e-5)
    stored = files.read_json(f"{result.folder}/scores.json")
    assert stored["model"] == "pictures" and stored["rows"]["restored"] == stored["rows"]["blurred"]
    assert stored["protocols"]["states"]["restored"].startswith("Pictures")
    assert len(files.list_dir(f"{result.folder}/pictures")) == 9
    assert "pictures of another program" in files.read_text(result.report)


def test_folders_without_blurred_pictures_have_scores_and_no_gains(split, tmp_path, capsys):
    _, _, first, triplets = split
    folders = folders_of(tmp_path, triplets)
    flags = ["--full", "--max-shift", "1", "--out", f"{tmp_path}/out"]
    for name in ("restored", "sharp"):
        flags += [f"--{name}", folders[name]]
    assert evaluate.main(flags) == 0
    printed = capsys.readouterr().out
    assert not [line for line in printed.splitlines() if line.startswith(("blurred", "Gain"))]
    card = ScoreCard.load(f"{tmp_path}/out")
    assert list(card.values) == [card.primary] and card.about["max_shift"] == 1
    found = card.values[card.primary]
    expected = np.sort(first.values[BASELINE]["psnr_db"])
    np.testing.assert_allclose(np.sort(found["psnr_db"]), expected, rtol=1e-5)
    # Parts of the images, as they are shifted.
    assert (np.abs(found["psnr_shift_db"] - found["psnr_db"]) < 3).all()
    assert "ms_ssim" not in found and "MS-SSIM is omitted" in printed


def test_pictures_in_folders_of_several_sizes_count_once_each(split, tmp_path):
    _, _, _, triplets = split
    smaller = [
        dataclasses.replace(t, **{n: getattr(t, n)[:12, :14] for n in ("sharp", "blurred")})
        for t in triplets[:2]
    ]
    folders = folders_of(tmp_path, [*smaller, *triplets[2:]])
    card = evaluate.run_pictures(evaluate.EvaluateConfig(**folders)).card
    assert card.images == 5 and card.about["image_sizes"] == "14x12, 16x16"


def test_folders_that_do_not_match_are_refused(split, tmp_path, capsys):
    _, _, _, triplets = split
    folders = folders_of(tmp_path, triplets)
    files.remove(f"{folders['restored']}/{triplets[4].frame}.tif")
    for changes, named in (
        ({}, f"{folders['restored']} holds no picture of test-scene / {triplets[4].frame}"),
        ({"sharp": ""}, "--sharp"),
        ({"sharp": str(tmp_path / "nothing")}, "sharp.*nothing"),
        ({"data": "data/scenes"}, "^data"),
    ):
        with pytest.raises(UserError, match=named):
            evaluate.run_pictures(evaluate.EvaluateConfig(**{**folders, **changes}))
    assert evaluate.main(["--restored", "a", "--sharp", "b", "--compare", "c"]) == 2
    assert "--restored" in capsys.readouterr().err


def test_picture_of_exactly_the_name_precedes_longer_names(tmp_path):
    pixels = np.zeros((12, 12, 3), np.uint8)
    for folder, names in (("sharp", ("2", "a_2")), ("restored", ("2", "a_2"))):
        files.make_dirs(str(tmp_path / folder))
        for value, name in enumerate(names):
            Image.fromarray(pixels + value).save(tmp_path / folder / f"{name}.png")
    found = given_pictures.PictureFolders.find(str(tmp_path / "restored"), str(tmp_path / "sharp"))
    for index in range(2):
        images = list(found.read(index).images.values())
        np.testing.assert_array_equal(images[0], images[1])
    (tmp_path / "restored" / "2.png").unlink()
    with pytest.raises(UserError, match=r"restored/a_2\.png.* 2\.png and a_2\.png"):
        given_pictures.PictureFolders.find(str(tmp_path / "restored"), str(tmp_path / "sharp"))


def test_runs_and_evaluations_are_no_folders_of_pictures(split, tmp_path):
    folder, _, _, triplets = split
    assert not given_pictures.holds_pictures(folder)
    assert not given_pictures.holds_pictures(str(tmp_path / "nothing"))
    files.make_dirs(str(tmp_path / "run"))
    files.write_text(f"{tmp_path}/run/config.yaml", "model: unet16\n")
    write_pictures(tmp_path / "run" / "pictures", triplets)
    assert not given_pictures.holds_pictures(str(tmp_path / "run"))
    assert given_pictures.holds_pictures(str(tmp_path / "run" / "pictures"))
