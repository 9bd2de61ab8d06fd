"""The guides' commands exist, and those for everybody's first hour run as they are written."""

import importlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.golden.lpips_weights import random_backbone, random_heads
from tests.test_repository import commands

ROOT = pathlib.Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs").glob("*.md"))
# Run one after the other in one folder: what one leaves the next may use.
FIRST_HOUR = ("first-run", "your-data", "metrics", "serving", "weights")
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "ihc.png", "camera.png")


def of_ours(path):
    """The commands of a guide that are this project's."""
    found = commands(path.read_text(encoding="utf-8"))
    return [words for words in found if words[2:] and words[2].startswith(("tfdeblur", "data_"))]


def help_of(words, capsys):
    leading = words[3:4] if words[2] in ("data_prep.build", "tfdeblur.paper") else []
    module = importlib.import_module(words[2])
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{words[2]}.__main__")
    with pytest.raises(SystemExit) as left:
        module.main([*leading, "--help"])
    assert not left.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_commands_know_their_flags(path, capsys):
    for words in of_ours(path):
        known = set(re.findall(r"--[\w.-]+", help_of(words, capsys)))
        given = {word.split("=")[0] for word in words[3:] if word.startswith("--")}
        own = {flag for flag in given if flag.startswith(("--model.", "--critic.", "--objective."))}
        assert given - own <= known, words


def test_all_guides_of_the_first_hour_have_commands():
    for name in FIRST_HOUR:
        assert of_ours(ROOT / "docs" / f"{name}.md")


def test_first_run_restores_photos_with_the_default_preset_before_it_trains():
    first, *others = of_ours(ROOT / "docs/first-run.md")
    assert first[2:] == ["tfdeblur.deblur", "photos", "-o", "restored-preset"]
    assert "tfdeblur.train" in [words[2] for words in others]


@pytest.fixture
def desk(tmp_path):
    """A folder with what the guides take for granted: photographs, pairs, files of weights."""
    skimage = pytest.importorskip("skimage", reason="the photographs are in scikit-image's wheel")
    from PIL import Image

    from tfdeblur.degradation import kernels

    for folder in ("photos", "pairs/blur", "pairs/sharp", "mixed"):
        (tmp_path / folder).mkdir(parents=True)
    kernel = kernels.gaussian_kernel1d(2.0, 13)
    for place, name in enumerate(PHOTOS):
        with Image.open(pathlib.Path(skimage.__file__).parent / "data" / name) as photo:
            picture = np.asarray(photo.convert("RGB").crop((100, 80, 260, 208)))
        (tmp_path / "photos" / name).write_bytes(_png(picture[:, :128]))
        blurred = kernels.convolve_separable(picture.astype(np.float32), kernel)
        blurred = np.rint(blurred).astype(np.uint8)
        split = ("train", "train", "train", "train", "valid", "test")[place]
        for half, content, others in (
            ("blur", blurred, ("input", "Blur", "blur/im{}_kernel1_img", "inputs")),
            ("sharp", picture, ("GT", "Sharp", "gt/im{}", "targets")),
        ):
            for path in (
                f"pairs/{half}/{place}.png",
                f"mixed/{place}_{half}.png",
                f"scenes/{place}/{others[0]}/0001.png",
                f"BSD/{split}/{place}/{others[1]}/RGB/0001.png",
                f"levin/{others[2].format(place)}.png",
                f"{others[3]}/{place}.png",
            ):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_bytes(_png(content))
        (tmp_path / "halves").mkdir(exist_ok=True)
        both = np.concatenate([blurred, picture], axis=1)
        (tmp_path / "halves" / f"{place}.png").write_bytes(_png(both))
    # Another program's pictures, which change nothing.
    shutil.copytree(tmp_path / "inputs", tmp_path / "peer")
    (tmp_path / "photos" / "chelsea.png").rename(tmp_path / "photos" / "cat.png")
    golden = ROOT / "tests/tfdeblur/porting/golden/nafnet.pth"
    shutil.copyfile(golden, tmp_path / "NAFNet-GoPro-width32.pth")
    lpips = {"alexnet-owt-7be5be79.pth": random_backbone("alex"), "alex.pth": random_heads("alex")}
    for name, arrays in lpips.items():
        with open(tmp_path / name, "wb") as file:  # its content tells the kind of a file
            np.savez(file, **arrays)
    return tmp_path


def _png(picture):
    import io

    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


def run(words, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_the_first_hour(desk):
    for name in FIRST_HOUR:
        page = ROOT / "docs" / f"{name}.md"
        for words in of_ours(page):
            if "--compare" in words:
                shutil.copytree(desk / "runs/first", desk / "runs/second")
            run(words[1:], desk)
    (in_python, *_) = re.findall(r"```python\n(.*?)```", page_text("serving"), flags=re.DOTALL)
    run(["-c", in_python], desk)
    made = (
        "restored-preset/cat.png",
        "restored/cat.png",
        "doctor.html",
        "cat-restored.png",
        "restored-nafnet/cat.png",
    )
    for path in made:
        assert (desk / path).stat().st_size > 0, path


@pytest.mark.slow
def test_fine_tuning(desk):
    for words in of_ours(ROOT / "docs/fine-tuning.md"):
        run(words[1:], desk)
    for name in ("restored-tuned/0.png", "tuned/preset.yaml"):
        assert (desk / name).stat().st_size > 0, name
    for start in ("", "nafnet-"):  # a preset, and weights from PyTorch
        before, after = (
            json.loads((desk / f"evaluations/{start}{name}/card.json").read_text())
            for name in ("before", "after")
        )
        scores = [card["rows"]["restored"]["psnr_db"] for card in (before, after)]
        assert scores[1] > scores[0]
        assert (desk / f"evaluations/{start}before/comparison/comparison.html").exists()
    # NAFNet has its own window before and after.
    assert before["tlc_window"] == after["tlc_window"] == 384


@pytest.mark.slow
def test_training_from_python(tmp_path):
    # Stands in for the service that the page's callback logs to.
    (tmp_path / "wandb.py").write_text(
        "class Run:\n"
        "    logged, finished = [], False\n"
        "    def log(self, scalars, step): self.logged.append((step, scalars))\n"
        "    def finish(self): self.finished = True\n"
        "def init(project): return Run()\n"
    )
    checks = """
assert result.images == 640 and np.isfinite(result.best["psnr_db"])
assert restored.shape == (64, 64, 3) and restored.dtype == np.uint8
assert [step for step, _ in logger._run.logged] == [800, 1280]
assert all(np.isfinite(scalars["generator/loss"]) for _, scalars in logger._run.logged)
assert logger._run.finished
"""
    code = "".join(re.findall(r"```python\n(.*?)```", page_text("python"), flags=re.DOTALL))
    run(["-c", code + checks], tmp_path)
    assert (tmp_path / "runs/mine/index.html").exists()


def page_text(name):
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
