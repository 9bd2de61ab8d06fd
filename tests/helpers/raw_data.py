"""Small raw data sets in the layouts of real ones, and builds of them."""

import os

import numpy as np
from PIL import Image

from data_prep import build, frames
from tfdeblur.io import files


def picture(seed, width=40, height=30):
    """Returns a smooth image with noise, which resizes and compresses like a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def save(path, image):
    """Writes an image and its parent folders; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def make_gopro(root, splits, frames=2, folders=("blur", "sharp"), **size):
    """Writes GoPro's native layout; `splits` maps each split to its scenes."""
    seed = 0
    for split, scenes in splits.items():
        for scene in scenes:
            for frame in range(1, frames + 1):
                for folder in folders:
                    seed += 1
                    save(root / split / scene / folder / f"{frame:06d}.png", picture(seed, **size))
    return root


def make_reds(root, parts, frames=2, blurred="blur", sharp="sharp", **size):
    """Writes REDS's layout; `parts` maps `train` and `val` to their scenes."""
    seed = 0
    for part, scenes in parts.items():
        for scene in scenes:
            for frame in range(frames):
                for half in (blurred, sharp):
                    seed += 1
                    place = root / f"{part}_{half}" / scene / f"{frame:08d}.png"
                    save(place, picture(seed, **size))
    return root


def write_video(path, count=12, width=64, height=48):
    """Writes a video whose frames are uniform, with a gray level that encodes their number."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 24, (width, height))
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.full((height, width, 3), 10 * number + 5, np.uint8))
    writer.release()
    return path


def build_photos(photos, out, **settings):
    """Builds a folder of photographs with synthetic blur; returns the manifest."""
    settings = {"workers": 1, "tile": "10x10", "length": 8.0, "val_share": 0.2, **settings}
    config = build.config_class("sharp")(source=str(photos), out=str(out), **settings)
    return build.run(config)


def content(out):
    """Returns the bytes of all files in a folder by name."""
    return {name: files.read_bytes(files.join(str(out), name)) for name in files.list_dir(str(out))}


class DyingJob(frames.Job):
    """Kills its worker process, as the system does when memory runs out.

    It is here because workers import its module, which is fast for this one.
    """

    def build_source(self):
        os._exit(3)
