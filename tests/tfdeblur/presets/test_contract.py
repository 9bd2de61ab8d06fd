"""What every preset of the package promises; each new one is tested by existing."""

import pathlib
import re
import shlex

import numpy as np
import pytest
import yaml

import tfdeblur
from data_prep import build
from tests.helpers.real_data import build_cifar10
from tests.test_repository import lines_of, setup_cfg
from tfdeblur import presets
from tfdeblur.evaluate import EvaluateConfig, run
from tfdeblur.inference import photo_files
from tfdeblur.presets import card, catalog, preset

NAMES = tfdeblur.list_presets()
IN_THE_BOX = [name for name in NAMES if presets.load(name).weights.url is None]
# Presets and the sets at hand on which their facts state scores.
SCORED = [
    (name, data)
    for name in IN_THE_BOX
    for data in ("cifar10", "gopro", "kodak-trajectory", "kodak-disc", "kodak-varying")
    if f"{data}, split test" in [scores.data for scores in presets.load(name).scores]
]


def folder_of(name):
    return catalog._FOLDER / name


def test_there_are_presets():
    assert "unet16-cifar10" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_folder_is_called_as_the_preset_and_holds_its_files_alone(name):
    found = presets.load(name)
    assert found.name == name
    expected = {preset.FACTS, preset.CARD}
    expected |= {preset.WEIGHTS} if name in IN_THE_BOX else set()
    assert {path.name for path in folder_of(name).iterdir()} == expected


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_complete(name):
    found = presets.load(name)
    assert found.about and found.license and found.terms and found.probe and found.scores
    assert found.training.data and found.training.blur and found.training.of
    assert found.training.command.startswith("python -m tfdeblur.train ")
    window = found.model.get("pool_window")
    for scores in found.scores:
        named = re.findall(r"TLC over windows of (\d+) pixels", scores.protocol)
        assert named == ([str(window)] if window else [])


@pytest.mark.parametrize("name", NAMES)
def test_card_and_guide_are_those_of_the_facts(name, repository: pathlib.Path):
    found = presets.load(name)
    assert (folder_of(name) / preset.CARD).read_text("utf-8") == card.card(found)
    page = (repository / "docs" / "presets" / f"{name}.md").read_text("utf-8")
    assert f"{{include}} ../../tfdeblur/presets/{name}/{preset.CARD}\n" in page
    assert f"\npresets/{name}\n" in (repository / "docs" / "presets.md").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_written_as_they_are_read(name):
    text = (folder_of(name) / preset.FACTS).read_text("utf-8")
    assert preset.to_yaml(presets.load(name)) == text
    assert yaml.safe_load(text)["name"] == name


@pytest.mark.parametrize("name", NAMES)
def test_package_contains_every_file(name, repository: pathlib.Path):
    patterns = lines_of(setup_cfg(repository)["options.package_data"]["tfdeblur"])
    for path in folder_of(name).iterdir():
        inside = path.relative_to(repository / "tfdeblur")
        assert any(inside.match(pattern) for pattern in patterns), inside


@pytest.mark.parametrize("name", IN_THE_BOX)
def test_weights_have_their_sha256_and_are_small(name):
    found = preset.verify(str(folder_of(name)))
    assert found.weights.bytes == (folder_of(name) / preset.WEIGHTS).stat().st_size
    assert found.weights.bytes < 20e6


def test_weights_in_the_package_are_small_together():
    sizes = [(folder_of(name) / preset.WEIGHTS).stat().st_size for name in IN_THE_BOX]
    assert sizes and sum(sizes) < 32e6


@pytest.mark.parametrize("name", IN_THE_BOX)
def test_preset_restores_the_probe_as_its_facts_say(name):
    restorer = tfdeblur.load(name)
    found = presets.load(name)
    assert restorer.source.network.count_params() == found.weights.parameters
    restored = np.asarray(restorer.restore(preset.probe_image()))
    np.testing.assert_allclose(preset.probe_of(restored), found.probe, atol=2e-4)


@pytest.fixture(scope="module")
def cifar10(real_data, tmp_path_factory):
    """CIFAR-10 as `data_prep.build` makes it."""
    return build_cifar10(real_data, tmp_path_factory.mktemp("cifar10"))


@pytest.fixture(scope="module")
def gopro(real_data, tmp_path_factory):
    """Whole GoPro test frames."""
    out = f"{tmp_path_factory.mktemp('gopro')}/built"
    flags = ["--source", str(real_data / "gopro"), "--out", out, "--val-share", "0"]
    assert build.main(["gopro", *flags]) == 0
    return out


def build_kodak(name, request):
    """Builds a set of blurred photographs by the command of the guide."""
    repository, real_data, tmp_path = map(
        request.getfixturevalue, ("repository", "real_data", "tmp_path")
    )
    page = (repository / "docs" / "presets.md").read_text("utf-8").replace("\\\n", "")
    (command,) = re.findall(rf"^python -m data_prep.build (.* --out data/{name})$", page, re.M)
    flags = shlex.split(command)
    flags[flags.index("--source") + 1] = str(real_data / "sharp" / "kodak")
    flags[-1] = str(tmp_path / name)
    assert build.main(flags) == 0
    return flags[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "data"), SCORED)
def test_scores_are_those_of_an_evaluation(name, data, request, tmp_path):
    (scores,) = (one for one in presets.load(name).scores if one.data == f"{data}, split test")
    built = request.getfixturevalue(data) if "-" not in data else build_kodak(data, request)
    result = run(EvaluateConfig(model=name, data=built, out=str(tmp_path), pictures=0))
    for row in ("blurred", "restored"):
        values = getattr(scores, row)
        measured = {key: result.card.rows[row][key] for key in values}
        assert measured == pytest.approx(values, rel=1e-4)


@pytest.mark.slow
def test_default_preset_leaves_sharp_photos_as_they_are(real_data):
    restorer = tfdeblur.load(presets.DEFAULT)
    for path in sorted(real_data.glob("sharp/kodak/*.png")):
        sharp = photo_files.read_photo(str(path)).pixels
        difference = restorer.deblur(sharp).astype(np.float32) - sharp
        assert 20 * np.log10(255 / np.sqrt(np.mean(difference**2))) > 40, path.name
