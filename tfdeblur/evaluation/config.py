"""Settings of an evaluation, and what follows from them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field

from tfdeblur.config.fields import Size
from tfdeblur.errors import UserError
from tfdeblur.io import files

if TYPE_CHECKING:
    from tfdeblur.data.evaluation import EvaluationData
    from tfdeblur.data.schema import Manifest, Sizes

# Pixels per batch if `batch_size` is unset, and its upper limit.
_BATCH_PIXELS = 2**20
_MAX_IMAGES = 256

TILING = ("tile", "overlap", "max_pixels")
"""Settings with which images are restored in tiles; see `tiling`."""

Card = TypeVar("Card")


@dataclasses.dataclass(frozen=True)
class EvaluationResult(Generic[Card]):
    """Scores and their files.

    Attributes:
        card: All scores.
        folder: Output folder with the scores, the page and its pictures.
        report: Path of the page.
    """

    card: Card
    folder: str
    report: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationInputs:
    """The network to evaluate and the data."""

    workdir: str = ""
    """work directory of tfdeblur.train; or give --model"""
    model: str = ""
    """instead of --workdir: name or folder of a preset, checkpoint, or SavedModel, which is a
    program: load only those you trust"""
    data: str = ""
    """folder made by data_prep.build"""
    split: str = "test"
    """split of the data to evaluate on"""
    checkpoint: Literal["best", "last"] = "best"
    """which checkpoint of the work directory"""
    batch_size: Annotated[int | None, Field(ge=1)] = None
    """images per batch; depends on their size if unset"""
    limit: Annotated[int | None, Field(ge=1)] = None
    """evaluate only the first images of the split"""
    out: str = ""
    """output folder; WORKDIR/evaluation/DATA-SPLIT if unset"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(EvaluationInputs):
    """Settings of `tfdeblur.evaluate`."""

    all_checkpoints: bool = False
    """evaluate every checkpoint of the work directory, oldest first"""
    loss: bool = True
    """also measure the generator's loss and its adversarial term, if the run's config.yaml and
    critic are there"""
    full: bool = False
    """every protocol used in papers, with intervals, time and one self-contained page"""
    crops: Size | None = Size(256, 256)
    """with --full, WIDTHxHEIGHT of crops that are restored independently; none for whole images
    only"""
    tlc_window: int | Literal["auto"] | None = "auto"
    """with --full, side in pixels of the pooling window of the test-time local converter, for
    networks that pool; auto: 1.5 training patches; none: no converter"""
    lpips: tuple[Literal["alex", "vgg"], ...] = ()
    """with --full, networks of LPIPS v0.1: alex (AlexNet, which most papers report), vgg (VGG16),
    or both"""
    lpips_weights: tuple[str, ...] = ()
    """two files per network of --lpips: torchvision's weights, then the linear heads of the lpips
    package"""
    dists_weights: tuple[str, ...] = ()
    """with --full, also DISTS: two files, torchvision's weights of VGG16 and the weights of the
    DISTS_pytorch package"""
    max_shift: Annotated[int, Field(ge=0, le=16)] = 0
    """with --full, also PSNR and SSIM at the best whole-pixel shift of up to this many pixels, for
    sets that are not aligned; none if 0"""
    register: Literal["homography", "translation"] | None = None
    """with --full, also PSNR and SSIM after the restored image is registered to its target:
    homography is RealBlur's protocol, translation finds parts of a pixel; needs OpenCV"""
    targets: str = ""
    """with --full, also PSNR against the best of several targets, Köhler's protocol: a folder with
    a folder for each image, one of whose pictures is the sharp half of the pair"""
    compare: tuple[str, ...] = ()
    """compare runs evaluated with --full: work directories, or folders with card.json; the others
    are compared with the first. A folder of pictures that another program made of the same frames,
    named SCENE/FRAME.png or SCENE_FRAME.png, is one more"""
    restored: str = ""
    """score a folder of pictures that another program restored, without a network or a data set:
    requires --sharp, the folder of their targets"""
    sharp: str = ""
    """with --restored, folder of the sharp pictures; each has a restored one of its name"""
    blurred: str = ""
    """with --restored, folder of the blurred pictures, for a row of their own and for gains"""
    no_reference: tuple[str, ...] = ()
    """score photos or folders of them without sharp images: before, and after restoration by
    --model or --workdir if given; requires --niqe"""
    niqe: str = ""
    """file of NIQE's parameters, such as BasicSR's niqe_pris_params.npz"""
    tile: Annotated[int | None, Field(ge=16)] = None
    """restore every image that is higher or wider in tiles of this side, in pixels, as
    tfdeblur.deblur does; whole images if unset, which need more memory"""
    overlap: Annotated[int | None, Field(ge=0)] = None
    """pixels shared by neighboring tiles; if unset, 64, but at most a quarter of a tile"""
    max_pixels: Annotated[int | None, Field(ge=1)] = None
    """restore images of more pixels in tiles that suit their size, and several tiles of together
    as many pixels at a time; with --tile only the latter"""
    pictures: Annotated[int, Field(ge=0)] = 3
    """best, median and worst pictures in the report, of each; with --all-checkpoints the number of
    pictures, spread over the split"""
    figures: Literal["pdf", "png", "svg"] | None = None
    """also write each chart of the page as a file of this format, for papers"""


def default_folder(config: EvaluationInputs) -> str:
    """Returns the default output folder, which depends on the settings that affect the scores."""
    name = f"{files.own_name(config.data)}-{config.split}"
    if config.checkpoint != "best":
        name += f"-{config.checkpoint}"
    if config.limit:
        name += f"-first-{config.limit}"
    for setting in TILING:
        value = getattr(config, setting, None)
        name += "" if value is None else f"-{setting.replace('_', '-')}-{value}"
    if config.workdir:
        return files.join(config.workdir, "evaluation", name)
    # A SavedModel may be shipped: the scores go beside it, not into it.
    return f"{config.model.rstrip('/')}-evaluation/{name}"


def network_path(config: EvaluationInputs) -> str:
    """Returns `workdir` or `model`.

    Raises:
        UserError: Both or neither are given.
    """
    if bool(config.workdir) == bool(config.model):
        raise UserError(
            "Give one of --workdir (a run) and --model (a preset, checkpoint or SavedModel)."
        )
    return (config.workdir or config.model).rstrip("/")


def open_data(data: str, split: str, limit: int | None = None) -> "EvaluationData":
    """Opens a split.

    Raises:
        UserError: `data` is empty.
        DataError: The data cannot be read.
    """
    from tfdeblur.data.evaluation import EvaluationData

    if not data:
        raise UserError("data is required: give --data, a folder made by data_prep.build.")
    return EvaluationData(data, split, limit)


def tiling(config: EvaluateConfig) -> dict[str, Any]:
    """Returns `tiles` and `max_pixels` of a `Restorer`; empty if images are restored whole.

    Raises:
        UserError: There is an overlap without tiles, or one that is too large.
    """
    from tfdeblur.inference.restorer import DEFAULT_MAX_PIXELS
    from tfdeblur.inference.tiles import Tiles

    if config.tile is None and config.max_pixels is None:
        if config.overlap is not None:
            raise UserError("overlap: images are restored whole. Give --tile or --max-pixels.")
        return {}
    tiles = Tiles(config.tile, config.overlap)
    return {"tiles": tiles, "max_pixels": config.max_pixels or DEFAULT_MAX_PIXELS}


def about_tiles(how: Mapping[str, Any], sizes: Sequence["Sizes"]) -> dict[str, Any]:
    """Returns how images of some sizes are restored by `tiling`, for a score card."""
    if not how:
        return {}
    rule, limit = how["tiles"], how["max_pixels"]
    tiles = [rule.tile_for(size.height, size.width, limit) for size in sizes]
    divided = sum(size.records for size, tile in zip(sizes, tiles, strict=True) if tile)
    found: dict[str, Any] = {
        "tiles": {
            **({} if rule.side is None else {"side": rule.side}),
            "max_pixels": limit,
            "sizes": ", ".join(sorted({f"{tile.width}x{tile.height}" for tile in tiles if tile})),
            "overlap": max((tile.overlap for tile in tiles if tile), default=0),
            "divided_images": divided,
        }
    }
    return found | ({"whole_images": "whole images, restored in tiles"} if divided else {})


def batch_size_for(data: "EvaluationData", batch_size: int | None = None) -> int:
    """Returns the images per batch: as given, or depending on the largest size."""
    pixels = max(size.height * size.width for size in data.sizes)
    return batch_size or max(1, min(_BATCH_PIXELS // pixels, _MAX_IMAGES))


def about_run(config: EvaluationInputs, restorer: Any, manifest: "Manifest") -> dict[str, Any]:
    """Returns the origin of the scores, for a score card."""
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
