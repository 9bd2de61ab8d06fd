"""GoPro (GOPRO_Large): 2,103 training and 1,111 test pairs of 1280x720 from a fast camera.

The layout is `train|test/SCENE/{blur,blur_gamma,sharp}/FRAME.png`; either half may be absent.
The set has no validation split, so one is made of training scenes.

Both kinds of blur are averages of consecutive sharp frames. Those in `blur` were averaged as they
are, as if the camera's response were linear; their pixels have the mean of the sharp ones. Those
in `blur_gamma` were turned to linear light by a gamma of 2.2, averaged, and turned back, so lights
leave brighter traces. Most published results use `blur` (the default here); the paper that brought
the set uses `blur_gamma`. Scores on one say nothing about the other, so the manifest records which.

Reference: Nah et al., Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring,
2017, section 2.
"""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from data_prep.sources._folders import (
    PairSource,
    Scene,
    SceneOptions,
    describe_recorded,
    list_pairs,
    sub_folders,
    unrecognized,
)
from data_prep.sources._source import Listing

EXPECTED = "train/SCENE/blur/FRAME.png with train/SCENE/sharp/FRAME.png, or the same under test/"
FOLDERS = {"linear": "blur", "gamma": "blur_gamma"}
HOW = {
    "linear": "mean of consecutive frames as they are (linear camera response)",
    "gamma": "mean of consecutive frames in linear light (gamma 2.2)",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(SceneOptions):
    """Options of the GoPro source."""

    source: Annotated[str, Field(description="folder that holds train and test")]
    gamma: Annotated[
        Literal["linear", "gamma"],
        Field(description="which blur: linear reads the folders blur, gamma blur_gamma"),
    ] = "linear"


def build(options: Options) -> "GoPro":
    """Returns the source."""
    return GoPro(options)


class GoPro(PairSource):
    """GoPro in its native layout."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def listing(self) -> Listing:
        """Lists all pairs; see `Source.listing`."""
        from tfdeblur import files

        root, folder = self._options.source, FOLDERS[self._options.gamma]
        scenes = []
        for split in ("train", "val", "test"):
            place = files.join(root, split)
            if files.is_dir(place):
                for name in sub_folders(place):
                    scene = files.join(place, name)
                    scenes.append(
                        Scene(name, split, files.join(scene, folder), files.join(scene, "sharp"))
                    )
        if not scenes:
            raise unrecognized(root, EXPECTED)
        return list_pairs(scenes, self._options)

    def describe_blur(self) -> dict[str, Any]:
        """Returns which of GoPro's two kinds of blur this is."""
        gamma = self._options.gamma
        return describe_recorded(HOW[gamma], gamma=gamma, folder=FOLDERS[gamma])
