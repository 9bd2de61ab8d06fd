"""The same images by several networks, with scores and magnified regions."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tfdeblur.cli.environment import require_keras
from tfdeblur.evaluation.config import open_data
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.paper.output import FigureFile, FigureFormat, FigureResult

if TYPE_CHECKING:
    from tfdeblur.paper.side_by_side import Strip

POSITIONAL = "runs"
NAME = "images"
PAGE = "images.html"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """Settings of `tfdeblur.paper images`."""

    runs: Annotated[tuple[str, ...], Field(min_length=1)]
    """folders of pictures that other programs made of the same frames, and networks: preset, work
    directory, checkpoint, or SavedModel, which is a program: load only those you trust"""
    data: str = ""
    """folder made by data_prep.build"""
    split: str = "test"
    """split of the data"""
    checkpoint: Literal["best", "last"] = "best"
    """which checkpoint of the work directories"""
    indices: tuple[int, ...] = ()
    """images of the split, or whole frames, from 0; three of them if unset"""
    frames: bool = False
    """whole frames, put together from the tiles of the split"""
    regions: tuple[str, ...] = ()
    """regions to mark and magnify, as LEFT,TOP,WIDTHxHEIGHT in pixels; where the networks differ
    most if unset"""
    find_regions: Annotated[int, Field(ge=0, le=6)] = 1
    """number of regions to find if none is given"""
    labels: tuple[str, ...] = ()
    """names of the runs"""
    figures: FigureFormat = "png"
    out: str = "figures"
    """output folder"""


@dataclasses.dataclass(frozen=True)
class ImagesResult(FigureResult):
    """A figure, its file and the page.

    Attributes:
        strips: The images.
        page: Path of the page, which has their scores, too.
    """

    strips: "list[Strip]"
    page: str


def run(config: ImagesConfig) -> ImagesResult:
    """Restores images with several networks and sets them side by side, as a figure and a page.

    Args:
        config: The settings.

    Returns:
        The images, the figure and its file, and the page.

    Raises:
        UserError: A network or a picture is missing, or a region lies outside an image.
        DataError: The data cannot be read.
    """
    require_keras()
    from tfdeblur.paper import side_by_side, strip_page
    from tfdeblur.reports import figures

    data = open_data(config.data, config.split)
    given = [side_by_side.parse_region(text) for text in config.regions]
    file = FigureFile(config.out, NAME, config.figures)
    OutputFolder.reserve(config.out, PAGE)
    strips = side_by_side.restore(
        config.runs,
        data,
        checkpoint=config.checkpoint,
        indices=config.indices,
        frames=config.frames,
        labels=config.labels,
    )
    regions = [given or side_by_side.differing_regions(s, config.find_regions) for s in strips]
    rows = zip(strips, regions, strict=True)
    figure = figures.draw_pictures(
        [figures.PictureRow(strip.title, strip.captioned(), own) for strip, own in rows]
    )
    written = file.write(figure)
    kind = "whole frames" if config.frames else "images"
    page = strip_page.write(
        strips,
        regions,
        config.out,
        PAGE,
        title=f"{', '.join(strips[0].restored)} on {kind} of {files.own_name(config.data)}",
        notes=[
            f"{name}: {path}" for name, path in zip(strips[0].restored, config.runs, strict=True)
        ],
    )
    return ImagesResult(written.figure, written.path, strips, page)


def report(config: ImagesConfig) -> int:
    """Prints the paths of the figure and of the page."""
    result = run(config)
    print(f"Figure: {result.path}\nPage: {result.page}")
    return 0
