"""The BibTeX entries of the recipes' papers."""

import re

import pytest

import tfdeblur
from tfdeblur import train
from tfdeblur.config import recipes


@pytest.mark.parametrize("name", recipes.names())
def test_recipe_has_an_entry_for_each_paper_it_cites(name):
    text = recipes.bibtex(name)
    keys = re.findall(r"^@\w+{(\w+),$", text, re.MULTILINE)
    assert keys == [*recipes.load(name).about["cite"], "tfdeblur"]
    assert len(keys) > 1 or recipes.load(name).about["paper"].startswith("none")
    assert text.count("{") == text.count("}")
    assert tfdeblur.__version__ in text


def test_every_entry_is_cited():
    cited = {key for name in recipes.names() for key in recipes.load(name).about["cite"]}
    assert cited == set(recipes._bibliography()) - {"tfdeblur"}


def test_cite_prints_the_entries_and_does_not_train(tmp_path, capsys):
    words = ["--recipe", "nafnet32_gopro", "--workdir", str(tmp_path / "run"), "--cite"]
    assert train.main(words) == 0
    assert capsys.readouterr().out.startswith("@inproceedings{chen2022nafnet,")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["--cite"], ["--cite", "--recipe", "nafnet23_gopro"]])
def test_cite_without_a_known_recipe_exits_with_2(words, capsys):
    assert train.main(words) == 2
    assert "recipe" in capsys.readouterr().err
