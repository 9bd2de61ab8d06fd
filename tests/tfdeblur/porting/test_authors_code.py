"""Outputs of our networks compared with those of their authors' code, under the same weights."""

import numpy as np
import pytest

from tests.helpers import drawn_weights
from tests.tfdeblur.porting.authors_cases import CASES, GOLDEN
from tfdeblur import models
from tfdeblur.porting import conversion
from tfdeblur.porting.architectures import REGISTRY
from tfdeblur.porting.reading import WeightsFile


def drawn_arrays(architecture, options):
    """Returns the arrays of the authors' code by name, drawn."""
    generator = models.create(architecture, options)
    layers = generator.network.layers
    shapes = {f"{x.name}/{w.name}": tuple(w.shape) for x in layers for w in x.weights}
    return {
        place.theirs: drawn_weights.drawn(place.theirs, place.permutation.shape(shapes[place.ours]))
        for place in REGISTRY.load(architecture).layout(generator.options).places
    }


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if case.slow else n for n, case in CASES.items()],
)
def test_output_equals_that_of_the_authors_code(name):
    case = CASES[name]
    weights = WeightsFile("weights.npz", "", "", drawn_arrays(case.architecture, case.options))
    assert conversion.recognize(weights) == case.architecture
    chosen = {option: case.options[option] for option in case.chosen}
    generator = conversion.port(weights, case.architecture, chosen).generator
    for option, value in case.options.items():
        assert generator.options[option] == value
    image = drawn_weights.image(*case.size, signed=case.signed)
    outputs = generator.network(image, training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    expected = np.load(GOLDEN / f"{name}.npz")
    assert len(outputs) == len(expected.files)
    for level, output in enumerate(outputs):
        restored = expected[f"restored{level}"]
        np.testing.assert_allclose(output, restored, atol=1e-4)
        difference = np.abs(output - restored).max()
        print(f"\n{name}, output {level}: {difference:.2e} of {np.abs(restored).max():.2f}")
    assert np.abs(expected["restored0"] - image).max() > 0.05
