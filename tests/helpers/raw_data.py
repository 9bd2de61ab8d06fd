"""Small raw data sets in the layouts of real ones, and builds of them."""

import os

import numpy as np
from PIL import Image

from data_prep import build, frames
from tfdeblur.io import files

HIDE = {
    "train": ["1fromGOPR1", "2fromGOPR1", "1fromGOPR2", "lone"],
    "test/test-close-ups": ["5fromGOPR3", "6fromGOPR2"],
    "test/test-long-shot": ["7fromGOPR3"],
}
REALBLUR = {
    "J": "RealBlur-J_ECC_IMCORR_centroid_itensity_ref",
    "R": "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref",
}


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


def make_hide(root, pictures=HIDE):
    """Writes HIDE's published layout; `pictures` maps folders to the names in them."""
    for seed, (folder, names) in enumerate(pictures.items()):
        for name in names:
            save(root / folder / f"{name}.png", picture(seed))
            save(root / "GT" / f"{name}.png", picture(seed + 10))
    return root


def make_realblur(root, splits, kind="J", listed=True):
    """Writes RealBlur's published layout; `splits` maps each split to its scenes."""
    for split, scenes in splits.items():
        lines = []
        for scene in scenes:
            for number in (9, 10):
                halves = [f"{REALBLUR[kind]}/{scene}/{h}/{h}_{number}.png" for h in ("gt", "blur")]
                for seed, half in enumerate(halves):
                    save(root / half, picture(number + seed, 40 + len(scene[5:].lstrip("0")), 30))
                lines.append(" ".join(halves))
        if listed:
            (root / f"RealBlur_{kind}_{split}_list.txt").write_text("\n".join(lines) + "\n")
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
