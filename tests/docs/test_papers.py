"""What docs/papers.md names exists, and its table of recipes has the parameters of the networks."""

import fnmatch
import pathlib
import re

import pytest

from tests.tfdeblur.models.test_mimo_unet import ABLATION
from tfdeblur.config import recipes

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs/papers.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([^`]+)`", PAGE)))


@pytest.mark.parametrize("path", [name for name in NAMED if re.fullmatch(r"[\w/]+(\.py|/)", name)])
def test_modules_of_the_statements_exist(path):
    assert (ROOT / "tfdeblur" / path).exists()


def expanded(pattern):
    """The patterns of a name such as ``{a,b}_{c,d}``."""
    found = re.search(r"\{([\w,]+)\}", pattern)
    if not found:
        return [pattern]
    parts = found[1].split(",")
    return [name for part in parts for name in expanded(pattern.replace(found[0], part, 1))]


def test_recipes_of_the_papers_are_all_named_and_exist():
    named = [
        name for line in re.findall(r"^Recipes .*", PAGE, re.M) for name in line.split("`")[1::2]
    ]
    names = {name for pattern in named for name in expanded(pattern)}
    own = {n for n in recipes.names() if recipes.load(n).about["system"] != "none"}
    assert names - {"_synthetic", "mimo_unet_gopro"} <= own
    suffixes = {f"{name}_synthetic" for name in names if name.startswith("deblurgan_study")}
    assert own - names - suffixes == {"unet16_cifar10_fast"}
    for pattern in (name for name in NAMED if name.startswith("deblurgan_pro_*")):
        assert fnmatch.filter(own, pattern)


def test_ablation_has_the_parameters_of_the_networks():
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*) \| ([\d.]+) M \| ([\d.]+) M \| ([\d.]+) \|$", page, re.M)
    assert len(rows) == 9
    for row, (parts, millions, parameters) in zip(rows, ABLATION, strict=False):
        flags, ours, counted, _ = row
        own = parts if flags == "all three" else set(re.findall(r"--model\.(\w+) true", flags))
        assert own == parts
        assert (ours, counted) == (f"{parameters / 1e6:.2f}", f"{millions:.2f}")
    assert rows[0][3] == str(recipes.load("mimo_unet_ablation").about["reported"]["psnr_db"])
    assert rows[8][3] == str(recipes.load("mimo_unet_gopro").about["reported"]["psnr_db"])


def test_adversarial_losses_of_the_recipes_are_in_the_documents():
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    found = {name: recipes.load(name).about["reported"] or {} for name in recipes.names()}
    found = {name: of["adversarial_loss"] for name, of in found.items() if "adversarial_loss" in of}
    assert len(found) == 3
    for name, value in found.items():
        assert re.search(rf"{value} for\s+`{name}`", page)
