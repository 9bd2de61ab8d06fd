"""LiteRT and ONNX files: results equal the network's, without tfdeblur."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from tests.helpers.tiny_models import TINY
from tfdeblur import config, models
from tfdeblur.errors import UserError
from tfdeblur.exporting import litert, onnx
from tfdeblur.io import files

# Every network: LiteRT has operations for all of them.
NAMES = config.MODELS.names()
LONG = pytest.mark.long
HEIGHT, WIDTH = 21, 34

# Runs a file in a process that cannot import tfdeblur, nor TensorFlow for ONNX.
PROGRAM = """
    import sys

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {absent!r}:
                raise ImportError(name + " is not here")

    sys.meta_path.insert(0, Absent())
    sys.path[:] = [p for p in sys.path if p]
    import numpy as np

    images = np.load("images.npy")
    {run}
    np.save("restored.npy", restored)
"""
RUNNERS = {
    "litert": (
        ["tfdeblur", "tensorflow"],
        "from ai_edge_litert.interpreter import Interpreter\n    "
        "restored = Interpreter('model').get_signature_runner()(images=images)['restored']",
    ),
    "onnx": (
        ["tfdeblur", "tensorflow", "keras"],
        "import onnxruntime\n    "
        "(restored,) = onnxruntime.InferenceSession('model').run(['restored'], "
        "dict(images=images))",
    ),
}


def generator_of(name):
    keras.utils.set_random_seed(5)
    return models.create(name, TINY.get(name))


def images_of(batch=1, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(height).random((batch, height, width, 3), np.float32)


def expected(generator, images):
    return np.clip(generator.as_unit_model()(images), 0, 1)


def run_alone(kind, folder, images):
    np.save(folder / "images.npy", images)
    absent, run = RUNNERS[kind]
    program = textwrap.dedent(PROGRAM.format(absent=absent, run=run))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "restored.npy")


def in_litert(content, images):
    import tensorflow as tf

    runner = tf.lite.Interpreter(model_content=content).get_signature_runner()
    return runner(images=images)["restored"]


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
class TestLiteRT:
    @pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks={"unet16": (), "nafnet": pytest.mark.slow}.get(name, LONG))
            for name in NAMES
        ],
    )
    def test_litert_of_every_network_equals_the_generator(self, name):
        generator = generator_of(name)
        litert.write(generator, "ram://litert/model.tflite", size=(HEIGHT, WIDTH))
        images = images_of()
        found = in_litert(files.read_bytes("ram://litert/model.tflite"), images)
        np.testing.assert_allclose(found, expected(generator, images), atol=2e-5)

    @pytest.mark.slow
    def test_litert_with_float16_weights_is_half_as_large_and_nearly_equal(self):
        generator = models.create("unet16", {"width": 32})
        sizes, found = {}, {}
        images = images_of()
        for weights in ("float32", "float16"):
            path = f"ram://litert-{weights}/model.tflite"
            litert.write(generator, path, size=(HEIGHT, WIDTH), weights=weights)
            sizes[weights] = files.size(path)
            found[weights] = in_litert(files.read_bytes(path), images)
        assert 0.45 < sizes["float16"] / sizes["float32"] < 0.6
        difference = np.abs(found["float16"] - found["float32"]).max()
        assert 0 < difference < 1 / 255

    @pytest.mark.slow
    def test_litert_runs_without_tfdeblur(self, tmp_path):
        pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
        generator, images = generator_of("unet16"), images_of()
        litert.write(generator, str(tmp_path / "m.tflite"), size=(HEIGHT, WIDTH))
        (tmp_path / "m.tflite").rename(tmp_path / "model")
        found = run_alone("litert", tmp_path, images)
        np.testing.assert_allclose(found, expected(generator, images), atol=2e-5)


class TestONNX:
    @pytest.fixture(autouse=True)
    def _tools(self):
        pytest.importorskip("tf2onnx", reason="tf2onnx (extra `onnx`) is not installed")
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks={"unet16": (), "nafnet": pytest.mark.slow}.get(name, LONG))
            for name in NAMES
        ],
    )
    def test_onnx_of_every_network_equals_the_generator_at_any_size(self, name, tmp_path):
        import onnxruntime

        generator = generator_of(name)
        path = str(tmp_path / "model.onnx")
        onnx.write(generator, path)
        session = onnxruntime.InferenceSession(path)
        for images in (images_of(), images_of(2, 9, 17), images_of(3, 16, 16)):
            (found,) = session.run(["restored"], {"images": images})
            np.testing.assert_allclose(found, expected(generator, images), atol=2e-5)

    def test_onnx_with_a_size_accepts_that_size_only(self, tmp_path):
        import onnxruntime

        path = str(tmp_path / "model.onnx")
        onnx.write(generator_of("unet16"), path, size=(HEIGHT, WIDTH))
        (taken,) = onnxruntime.InferenceSession(path).get_inputs()
        assert taken.shape == [1, HEIGHT, WIDTH, 3]

    def test_onnx_runs_without_tfdeblur_and_tensorflow(self, tmp_path):
        generator, images = generator_of("unet16"), images_of()
        onnx.write(generator, str(tmp_path / "model"))
        found = run_alone("onnx", tmp_path, images)
        np.testing.assert_allclose(found, expected(generator, images), atol=2e-5)


def test_onnx_without_tf2onnx_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UserError, match=r"pip install 'tfdeblur\[onnx\]'"):
        onnx.write(generator_of("unet16"), "ram://onnx/model.onnx")
    assert not files.exists("ram://onnx/model.onnx")
