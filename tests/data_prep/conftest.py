"""Small data sets in the native layouts of the real ones."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from data_prep import frames


def picture(seed, width=40, height=30):
    """A smooth picture with some detail, so that resizing and PNG behave as for photographs."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


class DyingJob(frames.Job):
    """Takes its worker process down, as the system does when memory runs out.

    It stands here because workers import its module, and this one is light.
    """

    def build_source(self):
        os._exit(3)


def make_gopro(root, splits, frames=2, folders=("blur", "sharp"), **size):
    """GoPro's layout: `splits` maps a split to its scenes."""
    seed = 0
    for split, scenes in splits.items():
        for scene in scenes:
            for frame in range(1, frames + 1):
                for folder in folders:
                    seed += 1
                    save(root / split / scene / folder / f"{frame:06d}.png", picture(seed, **size))
    return root


def make_reds(root, parts, frames=2, blurred="blur", sharp="sharp", **size):
    """REDS's layout: `parts` maps `train` and `val` to their scenes."""
    seed = 0
    for part, scenes in parts.items():
        for scene in scenes:
            for frame in range(frames):
                for half in (blurred, sharp):
                    seed += 1
                    place = root / f"{part}_{half}" / scene / f"{frame:08d}.png"
                    save(place, picture(seed, **size))
    return root


@pytest.fixture
def gopro(tmp_path) -> pathlib.Path:
    """Four training scenes and one test scene of two pairs each, 40x30."""
    scenes = {"train": ["GOPR01", "GOPR02", "GOPR03", "GOPR04"], "test": ["GOPR09"]}
    return make_gopro(tmp_path / "gopro", scenes)


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    """Six photographs of 40x30."""
    for number in range(6):
        save(tmp_path / "photos" / f"photo{number}.png", picture(number))
    return tmp_path / "photos"
