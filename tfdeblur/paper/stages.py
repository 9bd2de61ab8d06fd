"""What each stage of the training data does to a sample."""

import dataclasses
from typing import Annotated

from pydantic import Field

from tfdeblur.cli.environment import require_keras
from tfdeblur.config.fields import Size
from tfdeblur.evaluation.config import open_data
from tfdeblur.paper.output import FigureFile, FigureFormat, FigureResult

POSITIONAL = None
NAME = "stages"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StagesConfig:
    """Settings of `tfdeblur.paper stages`."""

    data: str = ""
    """folder made by data_prep.build"""
    split: str = "train"
    """split of the data"""
    index: Annotated[int, Field(ge=0)] = 0
    """record of the split, from 0"""
    crop: Size | None = None
    """crop of the training, 256 or WIDTHxHEIGHT; none if unset"""
    seed: Annotated[int, Field(ge=0)] = 0
    """seed of the crops and flips"""
    figures: FigureFormat = "png"
    out: str = "figures"
    """output folder"""


def run(config: StagesConfig) -> FigureResult:
    """Draws a record of a data set after each stage: frame, tile, crop, flips, batch.

    Raises:
        UserError: No data set is named, or its record does not exist or is smaller than the crop.
        DataError: The data cannot be read.
    """
    require_keras()
    from tfdeblur.paper.stage_pictures import stages
    from tfdeblur.reports import figures

    data = open_data(config.data, config.split)
    file = FigureFile(config.out, NAME, config.figures)
    found = stages(data, config.index, config.crop, config.seed)
    rows = [
        figures.PictureRow(half, {f"{title}\n{half}": image for title, image in versions.items()})
        for half, versions in found.items()
    ]
    return file.write(figures.draw_pictures(rows))


def report(config: StagesConfig) -> int:
    """Prints the path of the figure."""
    print(f"Figure: {run(config).path}")
    return 0
