"""Weights and outputs of PyTorch networks, compared without PyTorch."""

import pathlib

import numpy as np
import pytest

from tfdeblur.porting import conversion, reading

GOLDEN = pathlib.Path(__file__).parent / "golden"

# Case: architecture, options that follow from the weights, number of omitted arrays.
CASES = {
    "mimo_unet": ("mimo_unet", {"width": 4, "blocks": 1}, 0),
    "nafnet": ("nafnet", {"width": 4, "encoder": (1, 2), "middle": 1, "decoder": (0, 1)}, 0),
    "deblurgan": (
        "deblurgan",
        {"width": 4, "blocks": 1, "norm": "instance", "dropout": 0.5},
        21,
    ),
    "deblurgan_batch": (
        "deblurgan",
        {"width": 4, "blocks": 2, "norm": "batch", "dropout": 0.0, "epsilon": 1e-5},
        9,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_ported_network_equals_pytorch(case):
    architecture, options, omitted = CASES[case]
    weights = reading.read(str(GOLDEN / f"{case}.pth"))
    assert conversion.recognize(weights) == architecture
    ported = conversion.port(weights, architecture, {})
    assert {name: ported.generator.options[name] for name in options} == options
    assert sum(ported.omitted.values()) == omitted
    assert ported.arrays + omitted == len(weights.arrays)
    expected = np.load(GOLDEN / "expected.npz")
    image = expected[f"{case}/image"]
    outputs = ported.generator.network(image, training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    for level, output in enumerate(outputs):
        restored = expected[f"{case}/restored{level}"]
        assert np.abs(restored - image[:, :: 2**level, :: 2**level]).max() > 0.05
        np.testing.assert_allclose(output, restored, atol=1e-5)
