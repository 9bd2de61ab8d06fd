"""The detect command, and the detector on photographs."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers.tiny_data import write_data_set, write_mixed_set
from tfdeblur import detect
from tfdeblur.errors import UserError
from tfdeblur.evaluation import detector as detector_module
from tfdeblur.evaluation.detector import Detections, Detector
from tfdeblur.io import files


class BrightCorner:
    """Detects one object in bright pictures."""

    names = ("corner",)
    sha256 = "00"

    def __init__(self, path, **options):
        self.options = options

    def __call__(self, image):
        count = int(image.max() > 200)
        boxes = np.array([[0, 0, 8, 8]], np.float32)[:count]
        return Detections(boxes, np.ones(count, np.float32), np.zeros(count, int))

    def name(self, number):
        return self.names[number]


def test_command_prints_a_table_and_writes_all_files(write_run, tmp_path, capsys, monkeypatch):
    workdir, data = str(tmp_path / "run"), write_data_set(f"{tmp_path}/pairs", {"test": 5})
    write_run(workdir)
    monkeypatch.setattr(detector_module, "Detector", BrightCorner)
    arguments = ["--workdir", workdir, "--data", data, "--detector", "d.onnx", "--pictures", "2"]
    assert detect.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "precision" in printed and "blurred" in printed and "detection.html" in printed
    folder = f"{workdir}/evaluation/pairs-test"
    stored = files.read_json(f"{folder}/detection.json")
    # Blurred pictures have half the contrast, so none is bright.
    assert stored["rows"]["sharp"]["found"] == 5 and stored["rows"]["blurred"]["recall"] == 0
    assert stored["detector_sha256"] == "00" and len(stored["weights_sha256"]) == 64
    assert files.read_text(f"{folder}/detection.html").count("<article>") == 2


def test_images_of_several_sizes_are_detected_in_order(write_run, tmp_path, monkeypatch):
    workdir = str(tmp_path / "run")
    data, _ = write_mixed_set(f"{tmp_path}/mixed", [(18, 30, [2]), (30, 18, [1])])
    write_run(workdir)
    monkeypatch.setattr(detector_module, "Detector", BrightCorner)
    words = ["--workdir", workdir, "--data", data, "--detector", "d.onnx"]
    assert detect.main(words) == 0
    folder = f"{workdir}/evaluation/mixed-test"
    assert files.read_json(f"{folder}/detection.json")["rows"]["sharp"]["found"] == 3
    page = files.read_text(f"{folder}/detection.html")
    places = [page.index(f"/ {index:04d}") for index in range(3)]
    assert places == sorted(places)


def test_missing_inputs_raise_errors_that_name_them(write_run, tmp_path, capsys):
    pytest.importorskip("cv2", reason="the extra `detection` is not installed")
    data = write_data_set(f"{tmp_path}/pairs", {"test": 2})
    assert detect.main(["--workdir", "w", "--data", data]) == 2
    assert "--detector" in capsys.readouterr().err
    broken = str(tmp_path / "broken.onnx")
    files.write_bytes(broken, b"no network")
    assert detect.main(["--workdir", "w", "--data", data, "--detector", broken]) == 2
    assert "broken.onnx" in capsys.readouterr().err
    assert detect.main(["--data", data, "--detector", str(tmp_path / "none.onnx")]) == 2
    assert "none.onnx" in capsys.readouterr().err
    with pytest.raises(UserError, match="detector_size: 100"):
        Detector(broken, size=100)


@pytest.fixture(scope="module")
def yolox(real_data):
    pytest.importorskip("cv2", reason="the extra `detection` is not installed")
    folder = real_data / "yolo"
    return Detector(str(folder / "yolox_nano.onnx"), names=str(folder / "coco.names"))


def look(detector, path):
    """Returns name, score and box of each detection in a picture."""
    found = detector(np.asarray(Image.open(path).convert("RGB")))
    names = map(detector.name, found.classes)
    return list(zip(names, found.scores, found.boxes, strict=True))


def test_detector_finds_the_objects_of_a_photograph(yolox, real_data):
    found = look(yolox, real_data / "yolo" / "dog.jpg")
    sure = {name: float(score) for name, score, _ in found if score > 0.5}
    assert sure == pytest.approx({"dog": 0.86, "bicycle": 0.80, "car": 0.80}, abs=0.03)
    # In pixels of the 768x576 picture.
    (dog,) = (box for name, _, box in found if name == "dog")
    np.testing.assert_allclose(dog, [131, 214, 320, 541], atol=12)


def test_detector_finds_fewer_cars_in_a_blurred_frame(yolox, real_data):
    scene = real_data / "gopro" / "test" / "GOPR0854_11_00"
    cars = {
        state: [name for name, *_ in look(yolox, scene / state / "unk01.png")].count("car")
        for state in ("sharp", "blur")
    }
    assert cars == {"sharp": 6, "blur": 2}


def test_network_with_another_output_is_rejected(yolox, monkeypatch):
    class Decoded:
        def setInput(self, blob):
            assert blob.shape == (1, 3, 416, 416) and blob.dtype == np.float32

        def forward(self):
            return np.zeros((1, 100, 6), np.float32)

    monkeypatch.setattr(yolox, "_network", Decoded())
    with pytest.raises(UserError, match=r"returns \[1, 100, 6\].*--detector-size"):
        yolox(np.zeros((320, 300, 3), np.uint8))
