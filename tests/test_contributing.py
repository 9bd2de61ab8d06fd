"""The worked examples of CONTRIBUTING.md do what the page says they do."""

import pathlib
import re
import sys
import types

import numpy as np
import pytest
from PIL import Image

import tfdeblur
from data_prep import plan
from data_prep.sources.source import Item
from tfdeblur.config import settings
from tfdeblur.models.generator import Generator
from tfdeblur.objectives.objective import View


@pytest.fixture
def example(repository: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """A function that runs one example of the page and returns it as a module."""
    page = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", page, flags=re.DOTALL))

    def load(path: str) -> types.ModuleType:
        module = types.ModuleType(path.removesuffix(".py").replace("/", "."))
        # Dataclasses look their module up by name.
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(blocks[path], path, "exec"), module.__dict__)
        return module

    return load


def test_model_builds_restores_any_size_and_has_the_size_it_states(example) -> None:
    module = example("tfdeblur/models/shallow.py")
    generator = module.build(settings.validate(module.Options, {}))
    assert isinstance(generator, Generator)
    stated = re.search(r"([\d,]+) parameters", module.build.__doc__)
    assert generator.network.count_params() == int(stated[1].replace(",", ""))
    restored = generator.as_unit_model()(np.full((2, 9, 14, 3), 0.5, "float32"))
    assert tuple(restored.shape) == (2, 9, 14, 3)


def test_objective_is_zero_but_for_epsilon_at_the_truth_and_scales_with_the_range(example) -> None:
    module = example("tfdeblur/objectives/edges.py")
    objective = module.build(settings.validate(module.Options, {"weight": 2.0}))
    sharp = np.random.default_rng(0).uniform(size=(3, 8, 8, 3)).astype("float32")

    def loss(restored: np.ndarray):
        view = View(
            blurred=restored,
            sharp=sharp,
            outputs=(restored,),
            critics={},
            data_range=1.0,
            gradient=lambda function, x: x,
            uniform=np.zeros(3, np.float32),
            batch_mean=np.mean,
        )
        return objective.loss("generator", view)

    at_truth = loss(sharp)
    assert np.allclose(at_truth.terms["edges"], 0.0)
    assert np.all(np.asarray(at_truth.per_example) < 2e-3)
    # A constant offset has no edges; noise has.
    assert np.allclose(loss(sharp + 0.1).terms["edges"], 0.0, atol=1e-6)
    noisy = loss(sharp[:, ::-1])
    assert tuple(noisy.per_example.shape) == (3,)
    assert set(noisy.terms) == set(objective.term_names("generator"))
    expected = np.asarray(noisy.terms["charbonnier"]) + 2.0 * np.asarray(noisy.terms["edges"])
    assert np.allclose(noisy.per_example, expected, rtol=1e-6)


def test_objective_with_a_critic_has_two_networks(example) -> None:
    module = example("tfdeblur/objectives/hinge.py")
    objective = module.build(settings.validate(module.Options, {"critic_updates": 2}))
    assert objective.updates == ("critic", "critic", "generator")
    assert module.Options.needs_critic
    scores = np.array([-2.0, 0.5, 3.0], np.float32).reshape(3, 1, 1, 1)
    assert np.allclose(objective.critic_loss(scores, scores, None), [3.0, 2.0, 4.0])
    assert np.allclose(objective.generator_loss(None, scores, None), [2.0, -0.5, -3.0])


def test_source_lists_and_loads(example, tmp_path: pathlib.Path) -> None:
    for scene in ("a", "b"):
        (tmp_path / scene).mkdir()
        for frame in range(2):
            picture = np.full((24, 32, 3), 40 * frame, np.uint8)
            Image.fromarray(picture).save(tmp_path / scene / f"{frame}.png")
    module = example("data_prep/sources/clips.py")
    source = module.build(settings.validate(module.Options, {"source": str(tmp_path)}))
    listing = source.listing()
    assert [item.key for item in listing.splits["test"]] == ["b/0", "b/1"]
    first: Item = listing.splits["train"][1]
    blurred, sharp = source.load(first)
    assert blurred is None and sharp.shape == (first.height, first.width, 3)
    assert source.describe_blur()["kind"] == "gaussian"
    plans = plan.make_plan(listing, plan.Settings(tile=(12, 16)))
    assert plans["train"].records == 8


def test_examples_do_not_shadow_what_exists() -> None:
    assert "shallow" not in tfdeblur.list_models()
    assert not {"edges", "hinge"} & set(tfdeblur.list_objectives())
