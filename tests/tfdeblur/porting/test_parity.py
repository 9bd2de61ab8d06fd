"""Ported networks compared with their PyTorch originals."""

import numpy as np
import pytest

from tfdeblur import convert
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.config import settings

torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")

from tests.torch_networks.examples import build, picture, restore  # noqa: E402  # needs PyTorch
from tfdeblur.porting import reading  # noqa: E402  # after the skip, with the others

TOLERANCE = 1e-4  # in the network's own range

SMALL = [
    ("mimo_unet", {"width": 8, "blocks": 2}, (52, 36)),
    ("nafnet", {"width": 8, "encoder": (1, 2), "middle": 1, "decoder": (2, 1)}, (52, 36)),
    ("fftformer", {"width": 8, "blocks": (2, 1, 1), "refinement": 1}, (32, 64)),
    ("deepdeblur", {"width": 8, "blocks": 2}, (56, 40)),
    ("restormer", {"width": 8, "blocks": (1, 2, 1), "heads": (2, 1, 4)}, (52, 36)),
    (
        "fpn_inception",
        {"width": 8, "norm": "batch", "backbone_width": 4, "backbone_blocks": (1, 2)},
        (128, 160),
    ),
    ("fpn_mobilenet", {"width": 8, "norm": "batch"}, (64, 96)),
    ("deblurgan", {"width": 8, "blocks": 2}, (52, 36)),
    ("deblurgan", {"width": 8, "blocks": 3, "norm": "batch", "dropout": False}, (36, 52)),
    ("deblurgan", {"width": 8, "blocks": 2, "residual": False}, (36, 52)),
]
# As their authors publish them.
FULL = [
    ("mimo_unet", {}, (76, 52)),
    ("mimo_unet", {"blocks": 20}, (76, 52)),
    ("nafnet", {"width": 32, "encoder": (1, 1, 1, 28), "middle": 1, "decoder": (1,) * 4}, (80, 48)),
    ("nafnet", {"width": 64, "encoder": (1, 1, 1, 28), "middle": 1, "decoder": (1,) * 4}, (48, 80)),
    ("fftformer", {}, (32, 64)),
    ("deepdeblur", {}, (56, 40)),
    ("restormer", {}, (56, 40)),
    ("fpn_inception", {}, (128, 192)),
    ("fpn_mobilenet", {}, (96, 128)),
    ("deblurgan", {}, (76, 52)),
    ("deblurgan", {"norm": "batch", "blocks": 6}, (52, 76)),
]


def compare(architecture, options, size, tmp_path):
    """Returns the maximum difference, and the maximum change of the input by the network."""
    network = build(architecture, seed=len(str(options)), **options)
    path = str(tmp_path / "weights.pth")
    torch.save(network.state_dict(), path)
    chosen = ["residual=false"] if options.get("residual") is False else []
    values = {"weights": path, "out": str(tmp_path / "ported"), "options": chosen}
    convert.run(settings.validate(convert.ConvertConfig, values))
    generator, _ = load_generator(str(tmp_path / "ported"))
    signed = generator.value_range == "signed"
    image = picture(*size, signed=signed)
    ours = generator.network(image, training=False)
    ours = ours if isinstance(ours, list) else [ours]
    expected = restore(network, image)
    unit = generator.as_unit_model()((image + 1) / 2 if signed else image, training=False)
    finest = (expected[0] + 1) / 2 if signed else expected[0]
    differences = [np.abs(a - b).max() for a, b in zip(ours, expected, strict=True)]
    return max(*differences, np.abs(unit - finest).max()), np.abs(expected[0] - image).max()


@pytest.mark.parametrize(("architecture", "options", "size"), SMALL)
def test_small_network_equals_pytorch(architecture, options, size, tmp_path):
    difference, moved = compare(architecture, options, size, tmp_path)
    assert moved > 0.05
    assert difference < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "options", "size"), FULL)
def test_network_of_published_size_equals_pytorch(architecture, options, size, tmp_path):
    difference, moved = compare(architecture, options, size, tmp_path)
    print(f"\n{architecture} {options}: {difference:.2e} (changes its input by {moved:.2f})")
    assert moved > 0.05
    assert difference < TOLERANCE


@pytest.mark.parametrize("zipped", [True, False])
def test_file_is_read_as_by_pytorch(zipped, tmp_path):
    path = str(tmp_path / "w.pth")
    wide = torch.randn(4, 6)
    weights = {
        "plain": wide,
        "transposed": wide.t(),
        "part": wide[1:3, ::2],
        "layout": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "half": wide.half(),
        "bfloat16": wide.bfloat16(),
        "double": wide.double(),
        "count": torch.tensor(7),
        "parameter": torch.nn.Parameter(wide.clone()),
        "shared": wide.view(-1),
    }
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    found = reading.read(path).arrays
    expected = torch.load(path, weights_only=True)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        tensor = tensor.detach()
        wanted = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        np.testing.assert_array_equal(found[name], wanted.numpy(), err_msg=name)
        assert found[name].dtype == wanted.numpy().dtype
