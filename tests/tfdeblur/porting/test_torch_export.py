"""Weights for PyTorch: the arrays that were read come out again, and spandrel reads them."""

import os
import subprocess
import textwrap

import keras
import numpy as np
import pytest

from tests.tfdeblur.porting.test_mapping import SMALL, theirs
from tfdeblur import export, models
from tfdeblur.errors import ConfigError
from tfdeblur.porting import conversion, mapping, torch_export
from tfdeblur.porting.architectures import REGISTRY
from tfdeblur.porting.mapping import Layout, Permutation, Place
from tfdeblur.porting.reading import read
from tfdeblur.porting.torch_files import is_torch_file

CASES = {
    "nafnet": ({"width": 8, "encoder": (1, 2), "middle": 1, "decoder": (2, 1)}, (36, 52)),
    "fftformer": ({"width": 8, "blocks": (2, 1, 1), "refinement": 1}, (32, 64)),
    "restormer": (
        {"width": 8, "blocks": (1, 2, 1, 1), "heads": (2, 1, 4, 1), "refinement": 1},
        (40, 56),
    ),
}


def randomized(name, options):
    keras.utils.set_random_seed(3)
    generator = models.create(name, options)
    rng = np.random.default_rng(3)
    for weight in generator.network.trainable_variables:
        near = 1.0 if weight.name == "gamma" else 0.0
        weight.assign(near + rng.normal(0, 0.1, weight.shape).astype(np.float32))
    return generator


@pytest.mark.parametrize("name", sorted({*REGISTRY.names()} - {"deepdeblur"}))
def test_extracted_arrays_are_those_that_filled_the_network(name):
    generator = models.create(name, SMALL[name])
    layout = REGISTRY.load(name).layout(generator.options)
    rng = np.random.default_rng(0)
    arrays = {n: rng.random(a.shape, np.float32) for n, a in theirs(generator, layout).items()}
    mapping.fill(generator, layout, arrays)
    found = mapping.extract(generator, layout)
    assert found.keys() == arrays.keys() | layout.placeholders.keys()
    for array_name, array in arrays.items():
        np.testing.assert_array_equal(found[array_name], array, err_msg=array_name)


def test_extract_with_a_permutation_that_changes_entries_raises_value_error():
    generator = models.create("nafnet", SMALL["nafnet"])
    halved = Permutation(lambda a: a / 2, lambda s: s)
    with pytest.raises(ValueError, match=r"a\.bias"):
        mapping.extract(generator, Layout([Place("a.bias", "intro/bias", halved)]))


@pytest.mark.parametrize(
    ("name", "suffix"), [*((name, ".safetensors") for name in CASES), ("nafnet", ".pth")]
)
def test_written_file_is_converted_back_to_the_same_network(name, suffix, tmp_path):
    options, size = CASES[name]
    generator = randomized(name, options)
    path = str(tmp_path / f"model{suffix}")
    assert torch_export.write(generator, path) == REGISTRY.load(name).LOADER
    weights = read(path)
    assert conversion.recognize(weights) == name
    again = conversion.port(weights, name, {}).generator
    assert again.options == generator.options
    image = np.random.default_rng(1).random((1, *size, 3), np.float32)
    np.testing.assert_array_equal(again.as_unit_model()(image), generator.as_unit_model()(image))


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("unet16", {"width": 4}, "unet16"),
        ("deepdeblur", SMALL["deepdeblur"], "deepdeblur"),
        ("restormer", SMALL["restormer"], "4 scales"),
        ("fftformer", SMALL["fftformer"], "3 scales"),
    ],
)
def test_network_that_spandrel_does_not_read_raises_config_error(name, options, named, tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ConfigError, match=named):
        torch_export.write(models.create(name, options), str(path))
    assert not path.exists()


def test_export_command_writes_files_of_both_kinds_and_names_the_loader(tmp_path, capsys):
    generator = randomized("nafnet", CASES["nafnet"][0])
    checkpoint, out = str(tmp_path / "checkpoint"), tmp_path / "out.pth"
    conversion.write(conversion.Ported(generator, 0, {}), checkpoint, {})
    words = ["--model", checkpoint, "--format", "pytorch", "--out"]
    assert export.main([*words, str(tmp_path / "out.onnx")]) == 2
    assert ".safetensors or .pth" in capsys.readouterr().err
    assert export.main([*words, str(out), "--size", "32x32"]) == 2
    for path in (out, out.with_suffix(".safetensors")):
        assert export.main([*words, str(path)]) == 0
        assert "pip install spandrel" in capsys.readouterr().out
        assert is_torch_file(path.read_bytes()) == (path == out)
        assert read(str(path)).arrays["intro.weight"].shape == (8, 3, 3, 3)
    out.write_text("mine")
    assert export.main([*words, str(out)]) == 2
    assert out.read_text() == "mine"


SPANDREL = """
    import numpy as np, torch

    if not torch.cuda.is_available():
        # The usual build of torchvision has no operators beside a build of PyTorch for CPUs, and
        # does not import without these two, which no network here uses.
        schema = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define("torchvision::nms", schema)
        torch.library.define("torchvision::qnms", schema)
    import spandrel, spandrel_extra_arches

    spandrel_extra_arches.install()
    network = spandrel.ModelLoader().load_from_file({path!r})
    image = torch.from_numpy(np.load({image!r})).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        restored = network.model.eval()(image)
    np.save({restored!r}, restored.permute(0, 2, 3, 1).numpy())
    print(network.architecture.id)
"""


@pytest.mark.long
@pytest.mark.parametrize("suffix", export.SUFFIXES["pytorch"])
@pytest.mark.parametrize("name", CASES)
def test_spandrel_computes_the_same(name, suffix, tmp_path):
    python = os.environ.get("TORCH_PYTHON")
    if not python:
        pytest.skip("TORCH_PYTHON names no interpreter with PyTorch and spandrel-extra-arches")
    options, size = CASES[name]
    generator = randomized(name, options)
    path, image, restored = (str(tmp_path / n) for n in (f"m{suffix}", "in.npy", "out.npy"))
    torch_export.write(generator, path)
    given = np.random.default_rng(1).random((1, *size, 3), np.float32)
    np.save(image, given)
    program = textwrap.dedent(SPANDREL.format(path=path, image=image, restored=restored))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().lower() == name
    expected = generator.network(given, training=False)
    assert np.abs(expected - given).max() > 0.05
    np.testing.assert_allclose(np.load(restored), expected, atol=1e-4)
