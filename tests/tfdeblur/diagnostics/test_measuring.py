"""Rates are measured on a real step, and conclusions are drawn from them."""

import pytest

from tests.helpers.tiny_data import write_data_set
from tfdeblur.config import recipes
from tfdeblur.diagnostics import measuring
from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Answer

VALUES = {
    "recipe": "unet16_cifar10",
    "size": "32x32",
    "batch": 32,
    "policy": "float32",
    "source": "made-up records",
    "step": 100.0,
    "first": 3.0,
    "input": 1000.0,
    "float32": 2e9,
    "bfloat16": 1e9,
}


def statuses(**values):
    return {f.name: f.status for f in measuring.judged({**VALUES, **values})}


def test_a_machine_that_is_well():
    assert set(statuses().values()) == {"ok"}
    text = measuring.judged(VALUES)[2].text
    assert "0.5 times as fast" in text


def test_an_input_that_holds_the_step_up():
    assert statuses(input=110.0)["measured input"] == "warning"


def test_bfloat16_that_is_slower_where_it_is_used():
    assert statuses(policy="mixed_bfloat16")["bfloat16"] == "warning"
    assert statuses(policy="mixed_bfloat16", bfloat16=9e9)["bfloat16"] == "ok"


def test_a_step_that_fails_is_a_finding(monkeypatch):
    monkeypatch.setattr(subprocesses, "ask", lambda *args, **options: Answer({}, "out of memory"))
    (finding,) = measuring.findings("unet16_cifar10", (), None)
    assert finding.status == "wrong" and finding.text == "out of memory"


@pytest.fixture
def tiny(monkeypatch):
    """A recipe of a few channels on pictures of 16x16."""
    own = recipes.load

    def load(name):
        recipe = own("unet16_cifar10")
        small = {
            "model": {"name": "srresnet", "width": 4, "blocks": 1},
            "training": {"global_batch": 16},
        }
        about = {"data": "--tile 16x16"}
        return recipes.Recipe(name=name, about=about, config={**recipe.config, **small})

    monkeypatch.setattr(recipes, "load", load)


@pytest.mark.parametrize("given", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_step_is_timed_on_made_up_records_or_on_given_ones(tiny, folder, given):
    data = [write_data_set(folder)] if given else []
    values = measuring._work({"recipe": "tiny", "data": data, "tpu": None, "seconds": 0.1})
    assert values["source"] == (data[0] if given else "made-up records")
    assert values["size"] == "16x16"
    assert all(values[name] > 0 for name in ("step", "input", "first", "float32", "bfloat16"))
