"""The page of images that several networks and programs restored: scores, images, regions."""

from collections.abc import Sequence

import numpy as np

from tfdeblur.evaluation.pictures import JPEG_QUALITY, address
from tfdeblur.metrics import CEILING_DB, METRICS
from tfdeblur.ops.tiling import Box
from tfdeblur.paper.side_by_side import Strip
from tfdeblur.reports import pages

_MEASURES = ("psnr_db", "ssim")


def write(
    strips: Sequence[Strip],
    regions: Sequence[Sequence[Box]],
    folder: str,
    name: str,
    *,
    title: str,
    notes: Sequence[str] = (),
) -> str:
    """Writes the page; returns its path.

    Args:
        strips: The images, each restored by the same networks.
        regions: The regions of each image.
        folder: Output folder.
        name: Name of the page.
        title: Heading of the page.
        notes: Sentences below the tables, such as where the networks are.

    Raises:
        UserError: The page cannot be written.
    """
    smallest = min(min(strip.sharp.shape[:2]) for strip in strips)
    keys = [key for key in _MEASURES if METRICS[key].fits(smallest, smallest)]
    return pages.write(
        folder,
        name,
        title,
        tables=[_table(strips, key) for key in keys],
        measures=[METRICS[key] for key in keys],
        notes=[
            "Versions are measured as files, rounded to 8 bits, over the whole image.",
            f"Pictures larger than 256 pixels are JPEG of quality {JPEG_QUALITY} in this page.",
            *notes,
        ],
        pictures=[
            row for strip, own in zip(strips, regions, strict=True) for row in _rows(strip, own)
        ],
    )


def _table(strips: Sequence[Strip], key: str) -> pages.Table:
    """Returns one metric of every version, an image per column and their mean."""
    metric = METRICS[key]
    values = {
        version: [min(_score(strip, version, key), CEILING_DB) for strip in strips]
        for version in strips[0].versions()
    }
    ends = {version: [*row, float(np.mean(row))] for version, row in values.items()}
    best = {
        (list(ends).index(max(ends, key=lambda version: ends[version][column])), column + 1)
        for column in range(len(strips) + 1)
    }
    return pages.Table(
        ["", *(strip.title for strip in strips), "mean"],
        [[version, *map(metric.text, row)] for version, row in ends.items()],
        metric.header,
        frozenset(best),
    )


def _score(strip: Strip, version: str, key: str) -> float:
    compute = METRICS[key].compute
    assert compute is not None  # `_MEASURES` need neither weights nor options
    pair = (strip.sharp, strip.versions()[version])
    unit = [image[np.newaxis] / np.float32(255) for image in pair]
    return float(np.asarray(compute(*unit))[0])


def _rows(strip: Strip, regions: Sequence[Box]) -> list[pages.PictureRow]:
    """Returns an image with its regions marked, and a row for each of them."""
    height, width = strip.sharp.shape[:2]
    boxes = [
        pages.Box(box.left, box.top, box.width, box.height, str(number), correct=True)
        for number, box in enumerate(regions, 1)
    ]
    whole = {
        caption.replace("\n", " "): pages.BoxedImage(address(image), width, height, boxes)
        for caption, image in strip.captioned().items()
    }
    shown = {**strip.versions(), "sharp": strip.sharp}
    return [
        (strip.title, whole),
        *(
            (
                f"{strip.title}, region {number}: {box.left},{box.top},{box.width}x{box.height}",
                {version: address(image[box.slices]) for version, image in shown.items()},
            )
            for number, box in enumerate(regions, 1)
        ),
    ]
