"""What the evaluate command takes, and what follows from it."""

import dataclasses
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tfdeblur.config.fields import Size
from tfdeblur.errors import UserError

if TYPE_CHECKING:
    from tfdeblur.data.evaluation import EvaluationData
    from tfdeblur.data.schema import Manifest

# Pixels in a batch that is chosen by itself, and its most images.
_BATCH_PIXELS = 2**20
_MOST_IMAGES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgedConfig:
    """Which network is judged, and on what."""

    workdir: Annotated[
        str, Field(description="work directory of tfdeblur.train; or give --model")
    ] = ""
    model: Annotated[str, Field(description="checkpoint or SavedModel, instead of --workdir")] = ""
    data: Annotated[
        str,
        Field(description="folder made by data_prep.build"),
    ] = ""
    split: Annotated[str, Field(description="which part of the data is judged")] = "test"
    checkpoint: Annotated[
        Literal["best", "last"], Field(description="which checkpoint of the work directory")
    ] = "best"
    batch_size: Annotated[
        int | None,
        Field(description="images at a time; chosen by their size where not given", ge=1),
    ] = None
    limit: Annotated[
        int | None, Field(description="judge only the first images of the split", ge=1)
    ] = None
    out: Annotated[
        str, Field(description="folder to write; WORKDIR/evaluation/DATA-SPLIT where not given")
    ] = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(JudgedConfig):
    """What is judged, and how much is asked of it."""

    all_checkpoints: Annotated[
        bool, Field(description="judge every checkpoint of the work directory, oldest first")
    ] = False
    full: Annotated[
        bool,
        Field(
            description="every protocol that papers use, with intervals, time and one "
            "self-contained page"
        ),
    ] = False
    crops: Annotated[
        Size | None,
        Field(
            description="with --full, WIDTHxHEIGHT of the crops that are restored by themselves; "
            "none for whole images only"
        ),
    ] = (256, 256)
    tlc_window: Annotated[
        int | Literal["auto"] | None,
        Field(
            description="with --full, side in pixels of the pooling window of the test-time local "
            "converter, for networks that pool; auto: 1.5 training patches; none: left out"
        ),
    ] = "auto"
    lpips: Annotated[
        tuple[Literal["alex", "vgg"], ...],
        Field(
            description="with --full, networks of LPIPS v0.1: alex (AlexNet, what most papers "
            "report), vgg (VGG16), or both"
        ),
    ] = ()
    lpips_weights: Annotated[
        tuple[str, ...],
        Field(
            description="for each network of --lpips two files: torchvision's weights, then the "
            "linear heads of the lpips package"
        ),
    ] = ()
    compare: Annotated[
        tuple[str, ...],
        Field(
            description="put runs side by side that were judged with --full: work directories, or "
            "folders with card.json; the first is what the others are compared with"
        ),
    ] = ()
    pictures: Annotated[
        int,
        Field(
            description="best, median and worst pictures in the report, of each; with "
            "--all-checkpoints the pictures whose growth is shown, spread over the split",
            ge=0,
        ),
    ] = 3


def default_folder(config: JudgedConfig) -> str:
    """Returns where an evaluation is written by itself; settings that matter have their own."""
    from tfdeblur.io import files

    name = f"{data_name(config.data)}-{config.split}"
    if config.checkpoint != "best":
        name += f"-{config.checkpoint}"
    if config.limit:
        name += f"-first-{config.limit}"
    if config.workdir:
        return files.join(config.workdir, "evaluation", name)
    # A SavedModel is somebody's to ship: the numbers go beside it, not into it.
    return f"{config.model.rstrip('/')}-evaluation/{name}"


def network_path(config: JudgedConfig) -> str:
    """Returns the one of `workdir` and `model` that is given; both or none is a UserError."""
    if bool(config.workdir) == bool(config.model):
        raise UserError("Give one of --workdir (a run) and --model (a checkpoint or SavedModel).")
    return (config.workdir or config.model).rstrip("/")


def open_data(config: JudgedConfig) -> "EvaluationData":
    """Opens the split; a UserError says that none was named."""
    from tfdeblur.data.evaluation import EvaluationData

    if not config.data:
        raise UserError("data: give --data, a folder made by data_prep.build.")
    return EvaluationData(config.data, config.split, config.limit)


def batch_size_for(config: JudgedConfig, data: "EvaluationData") -> int:
    """Returns the images at a time: as given, or as many as suit their size."""
    pixels = data.height * data.width
    return config.batch_size or max(1, min(_BATCH_PIXELS // pixels, _MOST_IMAGES))


def data_name(path: str) -> str:
    """Returns the name of a data set's folder."""
    from tfdeblur.io import files

    return files.base_name(path if "://" in path else os.path.abspath(path))


def about_run(config: JudgedConfig, restorer: Any, manifest: "Manifest") -> dict[str, Any]:
    """Returns where numbers come from, for a score card."""
    known = restorer.about
    return {
        "model": restorer.name,
        "from": config.workdir or config.model,
        "checkpoint": known.get("folder", ""),
        "images_seen": known.get("images"),
        "data": config.data,
        "split": config.split,
        "limit": config.limit,
        "source": manifest.source,
        "blur": manifest.blur,
    }
