"""Evaluation, restoration and detection under JAX: full precision, and TensorFlow's numbers."""

import contextlib
import csv
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.helpers.tiny_data import write_data_set
from tfdeblur.inference import photo_files
from tfdeblur.io import files

pytest.importorskip("jax")

MODEL = "unet16-cifar10"
BACKENDS = ("tensorflow", "jax")
RANDOM = np.random.default_rng(7)

# What identifies a detection.
BOX = ("scene", "frame", "state", "class", "left", "top", "right", "bottom")


def run_under(backend, program, repository, *arguments):
    """Runs a program in a process of its own, JAX on two devices; returns what it prints."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    if backend == "jax":
        environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_first_calls_from_several_threads_look_for_variables_once(monkeypatch):
    from tfdeblur.execution import jax as execution

    calls, both = [], threading.Barrier(2)

    def find(function, *args):
        calls.append(function)
        with contextlib.suppress(threading.BrokenBarrierError):  # only one call comes
            both.wait(1)
        return []

    monkeypatch.setattr(execution, "variables_read_by", find)
    executor = execution.JaxExecutor()
    double = executor.compile(lambda images: 2 * images)
    images = executor.place(np.ones((executor.devices, 2), np.float32))
    with ThreadPoolExecutor(2) as pool:
        found = [executor.fetch(one) for one in pool.map(double, [images] * 2)]
    np.testing.assert_array_equal(found, np.full((2, executor.devices, 2), 2))
    assert len(calls) == 1


# ------------------------------------------------------------------------------------- precision

TRACE = f"""
import json, sys
import jax
from tests.tfdeblur.training.engines.jax.products import summary
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.networks import open_network
from tfdeblur.execution.jax import JaxExecutor
from tfdeblur.metrics import METRICS

traced = []

class Recorder(JaxExecutor):
    def compile(self, function):
        compiled = super().compile(function)

        def call(*args):
            found = compiled(*args)
            traced.append(jax.make_jaxpr(compiled)(*args))
            return found

        return call

evaluator = SplitEvaluator(
    open_network({MODEL!r}, tlc_window=None).states,
    EvaluationData(sys.argv[1], "test"),
    batch_size=4,
    metrics=list(METRICS.values()),
    values=("float", "uint8"),
    crop=(16, 16),
    executor=Recorder(),
)
evaluator.run()
print(json.dumps(summary(traced)))
"""


@pytest.mark.slow
def test_networks_and_metrics_multiply_in_full_precision(tmp_path, repository):
    data = write_data_set(f"{tmp_path}/data", {"test": 4}, side=32)
    found = json.loads(run_under("jax", TRACE, repository, data).splitlines()[-1])
    assert found["rounded"] == []
    # The network and the windows of SSIM; the third axis of the window of an SSIM of volumes.
    assert found["counts"]["conv_general_dilated"] > 16
    assert found["counts"]["dot_general"] > 0


# ---------------------------------------------------------------------------------------- memory

SIZES = """
import jax, keras, numpy as np
from tfdeblur.execution import jax as execution

execution.PROGRAMS = 3
gain, traced = keras.Variable(2.0), []

def scale(images):
    traced.append(images.shape[1])
    return images * gain

executor = execution.JaxExecutor()
scaled = executor.compile(scale)
for side in (4, 5, 6, 7, 8, 7, 6, 8, 4, 8, 6):
    images = executor.place(np.ones((2, side), np.float32))
    assert (executor.fetch(scaled(images)) == 2).all()
live = jax.local_devices()[0].client.live_executables()
programs = [one.hlo_modules()[0].name for one in live]
print(programs.count("jit_program"), traced)
"""


def test_compiled_function_keeps_the_programs_of_its_latest_shapes_only(repository):
    # The first trace finds the variables.
    assert run_under("jax", SIZES, repository).splitlines()[-1] == "3 [4, 4, 5, 6, 7, 8, 4]"


# --------------------------------------------------------------------- the numbers of TensorFlow

COMMANDS = """
import json, sys
import keras
from tfdeblur import deblur, detect, evaluate

commands = {"deblur": deblur, "detect": detect, "evaluate": evaluate}
for name, *words in json.loads(sys.argv[1]):
    code = commands[name].main(words)
    assert code == 0, f"{name} exits with {code}"
print(keras.backend.backend())
"""


def run_commands(repository, folder, commands):
    """Runs commands under each backend; they write to a folder of its name."""
    for backend in BACKENDS:
        lines = [
            [name, *words, "--model", MODEL, "--out", f"{folder}/{backend}/{name}"]
            for name, *words in commands
        ]
        printed = run_under(backend, COMMANDS, repository, json.dumps(lines))
        assert printed.splitlines()[-1] == backend


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_scores_and_photos_are_those_of_tensorflow(tmp_path, repository):
    # Not a multiple of the two devices.
    data = write_data_set(f"{tmp_path}/data", {"test": 5}, side=32)
    photos = {
        "photo.png": RANDOM.integers(0, 256, (40, 52, 3), dtype=np.uint8),
        "deep.png": RANDOM.integers(0, 65536, (37, 30, 3), dtype=np.uint16),
    }
    for name, pixels in photos.items():
        photo_files.write_photo(f"{tmp_path}/{name}", photo_files.Photo(pixels))
    given = [f"{tmp_path}/{name}" for name in photos]
    scoring = ["evaluate", "--data", data, "--pictures", "2"]
    run_commands(repository, tmp_path, [scoring, ["deblur", *given]])

    expected, found = (rows_of(f"{tmp_path}/{name}/evaluate/images.csv") for name in BACKENDS)
    assert len(expected) == 5
    for theirs, ours in zip(expected, found, strict=True):
        assert ours.keys() == theirs.keys()
        for name, text in theirs.items():
            if name in ("scene", "frame"):
                assert ours[name] == text
            else:
                assert float(ours[name]) == pytest.approx(float(text), rel=1e-4, abs=1e-5), name
    expected, found = (
        files.read_json(f"{tmp_path}/{name}/evaluate/scores.json") for name in BACKENDS
    )
    assert found["rows"].keys() == expected["rows"].keys() == {"blurred", "restored"}
    for state, means in expected["rows"].items():
        assert found["rows"][state] == pytest.approx(means, rel=1e-4, abs=1e-5)
    assert found["rows"]["restored"]["mse"] != found["rows"]["blurred"]["mse"]

    for name, pixels in photos.items():
        expected, found = (
            photo_files.read_photo(f"{tmp_path}/{backend}/deblur/{name}").pixels
            for backend in BACKENDS
        )
        assert found.dtype == expected.dtype == pixels.dtype and found.shape == pixels.shape
        white = np.iinfo(pixels.dtype).max
        # Rounding turns the smallest difference into a level.
        difference = np.abs(found.astype(int) - expected.astype(int)).max()
        assert difference <= max(1, 1e-4 * white)
        assert np.abs(found.astype(int) - pixels.astype(int)).max() > 0.02 * white


def write_detector(path, size=64):
    """Writes a detector without training: each bright enough cell is an object of its size."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    weights = {"order": np.array([1, 7, -1], np.int64)}
    nodes, heads = [], []
    for stride in (8, 16, 32):
        # Offsets and sizes of the box, objectness, and the scores of two classes.
        kernel = np.zeros((7, 3, stride, stride), np.float32)
        kernel[4] = 1 / (32 * kernel[4].size)
        bias = np.array([0.5, 0.5, 0, 0, 0.5 - 127.5 / 32, 1, 0], np.float32)
        weights |= {f"kernel{stride}": kernel, f"bias{stride}": bias}
        names = ["images", f"kernel{stride}", f"bias{stride}"]
        strides = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        heads.append(f"head{stride}")
        nodes += [
            helper.make_node("Conv", names, [f"map{stride}"], **strides),
            helper.make_node("Reshape", [f"map{stride}", "order"], heads[-1:]),
        ]
    nodes += [
        helper.make_node("Concat", heads, ["columns"], axis=2),
        helper.make_node("Transpose", ["columns"], ["cells"], perm=[0, 2, 1]),
    ]
    cells = sum((size // stride) ** 2 for stride in (8, 16, 32))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("cells", TensorProto.FLOAT, [1, cells, 7])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    save(model, path)
    return path


@pytest.mark.slow
def test_detections_are_those_of_tensorflow(tmp_path, repository):
    pytest.importorskip("onnx", reason="ONNX (extra `onnx`) is not installed")
    pytest.importorskip("cv2", reason="OpenCV (extra `detection`) is not installed")
    data = write_data_set(f"{tmp_path}/data", {"test": 3}, side=32)
    detector = write_detector(f"{tmp_path}/detector.onnx")
    words = ["--data", data, "--detector", detector, "--detector-size", "64", "--pictures", "1"]
    run_commands(repository, tmp_path, [["detect", *words]])

    boxes = []
    for backend in BACKENDS:
        rows = rows_of(f"{tmp_path}/{backend}/detect/detection.csv")
        boxes.append({tuple(row[name] for name in BOX): row for row in rows})
    expected, found = boxes
    counts = Counter(row["state"] for row in expected.values())
    # Some of the 84 cells of each picture, and not the same number.
    assert 20 < counts["sharp"] < counts["blurred"] < 3 * 84 and counts["restored"] > 20
    # A restored picture that is rounded to another level may move a score across the minimum.
    assert len(found.keys() ^ expected.keys()) <= 1
    for key in found.keys() & expected.keys():
        ours, theirs = found[key], expected[key]
        assert float(ours["score"]) == pytest.approx(float(theirs["score"]), abs=0.01)
        assert ours["has_partner"] == theirs["has_partner"]
    expected, found = (
        files.read_json(f"{tmp_path}/{name}/detect/detection.json") for name in BACKENDS
    )
    for state in ("blurred", "restored", "sharp"):
        assert found["rows"][state]["f1"] == pytest.approx(expected["rows"][state]["f1"], abs=0.01)
