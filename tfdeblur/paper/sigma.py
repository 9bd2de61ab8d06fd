"""Images blurred by Gaussians of rising width."""

import dataclasses
from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from tfdeblur.cli.environment import require_keras
from tfdeblur.errors import UserError
from tfdeblur.paper.output import FigureFile, FigureFormat, FigureResult

POSITIONAL = "pictures"
NAME = "sigma"
_SIGMAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmaConfig:
    """Settings of `tfdeblur.paper sigma`."""

    pictures: tuple[str, ...] = ()
    """files of sharp pictures; or give --data"""
    data: str = ""
    """folder made by data_prep.build, whose sharp images are blurred"""
    split: str = "test"
    """split of the data"""
    indices: tuple[NonNegativeInt, ...] = (0,)
    """images of the split, from 0"""
    sigmas: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = _SIGMAS
    """standard deviations in pixels"""
    figures: FigureFormat = "png"
    out: str = "figures"
    """output folder"""


def run(config: SigmaConfig) -> FigureResult:
    """Blurs pictures as data preparation does and draws them, with the PSNR that is left.

    A Gaussian has round(6 sigma + 1) | 1 taps; borders are reflected, and values are rounded to
    8 bits.

    Raises:
        UserError: A picture is missing or damaged, or none is named.
        DataError: The data cannot be read.
    """
    require_keras()
    import numpy as np

    from tfdeblur.data.evaluation import EvaluationData
    from tfdeblur.degradation import kernels
    from tfdeblur.evaluation.picture_files import read_pixels
    from tfdeblur.evaluation.results import unique_labels
    from tfdeblur.io import files
    from tfdeblur.paper.side_by_side import decibels, stored_images
    from tfdeblur.reports import figures

    if bool(config.pictures) == bool(config.data):
        raise UserError("Give either files of sharp pictures or --data.")
    file = FigureFile(config.out, NAME, config.figures)
    if config.data:
        found = stored_images(EvaluationData(config.data, config.split), config.indices)
        sharp = {strip.title: strip.sharp for strip in found}
    else:
        titles = unique_labels([files.base_name(path) for path in config.pictures])
        sharp = {t: read_pixels(p) for t, p in zip(titles, config.pictures, strict=True)}

    def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
        line = kernels.gaussian_kernel1d(sigma, kernels.gaussian_size(sigma))
        values = kernels.convolve_separable(image.astype(np.float32), line)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    rows = []
    for title, image in sharp.items():
        versions = {}
        for sigma in config.sigmas:
            version = blurred(image, sigma)
            versions[f"sigma {sigma:g}\n{decibels(version, image)}"] = version
        rows.append(figures.PictureRow(title, versions))
    return file.write(figures.draw_pictures(rows))


def report(config: SigmaConfig) -> int:
    """Prints the path of the figure."""
    print(f"Figure: {run(config).path}")
    return 0
