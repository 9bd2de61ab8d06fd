"""Measured rates of a real step, and the findings for them."""

import pytest

from tests.helpers.tiny_data import write_data_set
from tfdeblur.config import recipes
from tfdeblur.diagnostics import measuring
from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Reply

VALUES = {
    "recipe": "unet16_cifar10",
    "size": "32x32",
    "batch": 32,
    "policy": "float32",
    "source": "random records",
    "step": 100.0,
    "first": 3.0,
    "input": 1000.0,
    "float32": 2e9,
    "bfloat16": 1e9,
}


def statuses(**values):
    return {f.name: f.status for f in measuring.evaluate({**VALUES, **values})}


def test_evaluate_with_fast_input_is_ok():
    assert set(statuses().values()) == {"ok"}
    text = measuring.evaluate(VALUES)[2].text
    assert "0.5 times as fast" in text


def test_evaluate_with_slow_input_is_a_warning():
    assert statuses(input=110.0)["measured input"] == "warning"


def test_evaluate_with_slow_bfloat16_is_a_warning_if_it_is_used():
    assert statuses(policy="mixed_bfloat16")["bfloat16"] == "warning"
    assert statuses(policy="mixed_bfloat16", bfloat16=9e9)["bfloat16"] == "ok"


def test_findings_of_a_failing_step_are_wrong(monkeypatch):
    monkeypatch.setattr(subprocesses, "call", lambda *args, **options: Reply({}, "out of memory"))
    (finding,) = measuring.findings("unet16_cifar10", (), None)
    assert finding.status == "wrong" and finding.text == "out of memory"


@pytest.fixture
def tiny(monkeypatch):
    """A recipe with a small network and images of 16x16 pixels."""
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
def test_work_measures_rates_on_random_or_given_records(tiny, folder, given):
    data = [write_data_set(folder)] if given else []
    values = measuring._work({"recipe": "tiny", "data": data, "tpu": None, "seconds": 0.1})
    assert values["source"] == (data[0] if given else "random records")
    assert values["size"] == "16x16"
    assert all(values[name] > 0 for name in ("step", "input", "first", "float32", "bfloat16"))
