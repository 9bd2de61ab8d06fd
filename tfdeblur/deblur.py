"""Command: restores photographs and videos, one by one or by the folder.

::

    python -m tfdeblur.deblur FILE_OR_FOLDER... -o OUT --model RUN_OR_SAVEDMODEL

`run` does the same for a notebook.
"""

import collections
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tfdeblur import cli
from tfdeblur.cli.environment import require_tensorflow
from tfdeblur.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from tfdeblur.inference.photos import Photo
    from tfdeblur.inference.restorer import Restorer

EXIT_SOME_FAILED = 1
_BYTES_A_PIXEL = 50
"""Measured with a photo of 108 million pixels: several float32 copies."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeblurConfig:
    """What is restored, with what, and where to."""

    photos: Annotated[
        tuple[str, ...], Field(description="photos and videos, or folders of them", min_length=1)
    ]
    out: Annotated[
        str,
        Field(description="folder to write to; for a single file also a file", min_length=1),
    ]
    model: Annotated[
        str, Field(description="work directory, checkpoint or SavedModel", min_length=1)
    ]
    tile: Annotated[
        int | None,
        Field(description="side of a tile in pixels; up to 512 where not given", ge=16),
    ] = None
    overlap: Annotated[
        int | None,
        Field(description="pixels that neighboring tiles share; up to 64 where not given", ge=0),
    ] = None
    max_pixels: Annotated[
        int, Field(description="larger pictures go through as tiles; lower it to save memory", ge=1)
    ] = 2**20
    tlc: Annotated[
        int | Literal["auto", "off"],
        Field(
            description="networks that pool over the whole image: the window that they pool over "
            "instead, in pixels; auto: one and a half of the training crops"
        ),
    ] = "auto"
    ensemble: Annotated[
        bool,
        Field(
            description="restore in all eight orientations and average: eight times the work for "
            "a little more precision"
        ),
    ] = False
    side_by_side: Annotated[
        bool,
        Field(description="also write NAME.before-after: the file and what became of it"),
    ] = False
    overwrite: Annotated[
        bool, Field(description="restore again what lies in the output folder already")
    ] = False


@dataclasses.dataclass(frozen=True)
class DeblurResult:
    """What became of the files.

    Attributes:
        written: Paths of the restored files; those of before and after not among them.
        skipped: Outputs that were there already.
        failed: Input and reason of those that could not be restored.
    """

    written: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def run(config: DeblurConfig) -> DeblurResult:
    """Restores photographs and videos; one that fails does not stop the others.

    Args:
        config: What is restored.

    Returns:
        What was written, skipped and failed.

    Raises:
        UserError: There is nothing to restore, an output would overwrite an input or another
            output, or the model cannot be loaded. Nothing is written then.
    """
    require_tensorflow()
    import tqdm

    from tfdeblur.inference import video
    from tfdeblur.inference.restorer import Tiles, load_restorer
    from tfdeblur.io import files

    tiles = Tiles.within(config.max_pixels, config.tile, config.overlap)
    plan = plan_outputs(config.photos, config.out, config.side_by_side)
    skipped = []
    if not config.overwrite:
        for out in plan.values():
            if all(files.exists(path) for path in outputs(out, config.side_by_side)):
                skipped.append(out)
    there = set(skipped)
    todo = {photo: out for photo, out in plan.items() if out not in there}
    written, failed = [], []
    if todo:
        restorer = load_restorer(
            config.model,
            max_pixels=config.max_pixels,
            tiles=tiles,
            ensemble=config.ensemble,
            pooling=config.tlc,
        )
        for photo, out in tqdm.tqdm(todo.items(), desc="files", unit="file", disable=None):
            restore_one = _restore_video if video.is_video(out) else _restore_photo
            try:
                restore_one(restorer, photo, *outputs(out, config.side_by_side))
            except MemoryError:
                failed.append((photo, "there is not enough memory for it."))
            except UserError as error:
                failed.append((photo, str(error)))
            else:
                written.append(out)
    return DeblurResult(tuple(written), tuple(skipped), tuple(failed))


def outputs(out: str, side_by_side: bool) -> list[str]:
    """Returns the restored file's path and, if wanted, that of the one of before and after."""
    from tfdeblur.inference import photos

    if not side_by_side:
        return [out]
    ending = out[len(out) - len(photos.suffix(out)) :]
    return [out, f"{out.removesuffix(ending)}.before-after{ending}"]


def plan_outputs(inputs: Sequence[str], out: str, side_by_side: bool = False) -> dict[str, str]:
    """Decides where each photo and video goes, before anything is touched.

    The content of a single folder goes to `out` with its structure; of several inputs, each
    folder goes to a folder of its own name. What lies in `out` already is no input.

    Args:
        inputs: Photos, videos and folders.
        out: The output folder, or a file name where there is one file.
        side_by_side: Each has one of before and after, too; see `outputs`.

    Returns:
        The output of each file.

    Raises:
        UserError: Nothing to restore, or an output would overwrite an input or another output.
    """
    from tfdeblur.inference import photos, video
    from tfdeblur.io import files

    known = (*photos.SUFFIXES, *video.SUFFIXES)
    inputs = list({_identity(given): given for given in inputs}.values())
    if not files.is_dir(out) and not out.endswith("/") and photos.suffix(out) in known:
        if len(inputs) > 1 or files.is_dir(inputs[0]):
            raise UserError(f"--out {out} names one file, but more are given; name a folder.")
        _refuse_kind(inputs[0], out)
        plan = {inputs[0]: out}
    else:
        if files.exists(out) and not files.is_dir(out):
            raise UserError(f"--out {out} is a file; name a folder.")
        plan = {}
        for given in inputs:
            inside = out if len(inputs) == 1 else files.join(out, _folder_name(given))
            if files.is_dir(given):
                for name in files.walk_files(given):
                    path = files.join(given, name)
                    if photos.suffix(name) in known and not _is_within(path, out, given):
                        plan[path] = files.join(inside, _written_name(name))
            else:
                plan[given] = files.join(out, _written_name(files.base_name(given)))
    if not plan:
        raise UserError(
            f"No photos and no videos in {', '.join(inputs)}: looked for {' '.join(known)}."
        )
    plan = _apart(plan)
    _refuse_collisions(plan, side_by_side)
    return plan


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 1 where a photo failed."""
    return cli.run_command(
        DeblurConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.deblur",
        description=(
            "Restores photographs and videos of any size. Folders are searched to their ends and "
            "keep their structure; finished files are not restored again."
        ),
        positional="photos",
        short={"out": "o"},
    )


def _run_and_report(config: DeblurConfig) -> int:
    result = run(config)
    print(f"{len(result.written)} restored into {config.out}")
    if result.skipped:
        print(f"{len(result.skipped)} were there already (--overwrite restores them again)")
    if result.failed:
        print(f"{len(result.failed)} failed:", file=sys.stderr)
        for photo, reason in result.failed:
            # The reason names the photo by itself where the file was at fault.
            print(f"  {reason if photo in reason else f'{photo}: {reason}'}", file=sys.stderr)
        return EXIT_SOME_FAILED
    return 0


def _restore_video(restorer: "Restorer", path: str, out: str, side: str | None = None) -> None:
    from tfdeblur.inference import video

    # Several small frames at once are faster than one by one.
    video.rewrite(
        path,
        out,
        restorer.deblur,
        side=side,
        pixels_at_once=restorer.max_pixels,
        progress=True,
    )


def _restore_photo(restorer: "Restorer", path: str, out: str, side: str | None = None) -> None:
    import numpy as np

    from tfdeblur.inference import photos
    from tfdeblur.io import files

    photo: Photo = photos.read_photo(path)
    _refuse_too_large(path, photo.pixels)
    restored = dataclasses.replace(photo, pixels=restorer.deblur(photo.pixels, progress=True))
    if files.parent(out):
        files.make_dirs(files.parent(out))
    photos.write_photo(out, restored)
    # Not first: a picture of twice the width may be too wide for its format.
    if side is not None:
        both = np.concatenate([photo.pixels, restored.pixels], axis=1)
        alpha = None if photo.alpha is None else np.concatenate([photo.alpha, photo.alpha], axis=1)
        photos.write_photo(side, dataclasses.replace(photo, pixels=both, alpha=alpha))


def _refuse_too_large(path: str, pixels: "np.ndarray") -> None:
    """Refuses a photo that the machine has not the memory for: it would end the whole command."""
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return
    needed = _BYTES_A_PIXEL * pixels.shape[0] * pixels.shape[1]
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise UserError(
            f"{path} has {pixels.shape[1]}x{pixels.shape[0]} pixels: restoring it takes about "
            f"{needed / 2**30:.0f} GiB of memory, and this machine has {there / 2**30:.0f}."
        )


def _written_name(name: str) -> str:
    from tfdeblur.inference import photos, video

    return video.written_name(name) if video.is_video(name) else photos.written_name(name)


def _refuse_kind(given: str, out: str) -> None:
    """Refuses an output of a kind that is not written, or that the input is not of."""
    from tfdeblur.inference import photos, video

    film = video.is_video(out)
    if _written_name(out) != out:
        better = ".mkv" if film else ".png"
        raise UserError(f"--out {out}: {photos.suffix(out)} is not written; try {better}.")
    if film != video.is_video(given):
        kind = "a video" if film else "a photo"
        raise UserError(f"--out {out} is {kind}, and {given} is none.")


def _apart(plan: dict[str, str]) -> dict[str, str]:
    """Names the output `a.gif.png` where `a.gif` lies beside `a.png`, which has that name."""
    from tfdeblur.inference import photos
    from tfdeblur.io import files

    times = collections.Counter(_identity(out) for out in plan.values())
    return {
        given: files.join(files.parent(out), files.base_name(given) + photos.suffix(out))
        if times[_identity(out)] > 1 and photos.suffix(given) != photos.suffix(out)
        else out
        for given, out in plan.items()
    }


def _refuse_collisions(plan: dict[str, str], side_by_side: bool) -> None:
    originals = {_identity(photo): photo for photo in plan}
    claimed: dict[str, str] = {}
    for photo, out in plan.items():
        for path in outputs(out, side_by_side):
            place = _identity(path)
            if place in originals:
                raise UserError(
                    f"{originals[place]} would be overwritten by a restored photo. Give another "
                    "--out."
                )
            if place in claimed:
                raise UserError(
                    f"{claimed[place]} and {photo} would both be written to {path}. Restore them "
                    "into different folders."
                )
            claimed[place] = photo


def _folder_name(path: str) -> str:
    from tfdeblur.io import files

    return files.base_name(path if "://" in path else os.path.abspath(path))


def _identity(path: str) -> str:
    """The same for two spellings of one local path, links resolved."""
    return path if "://" in path else os.path.realpath(path)


def _is_within(path: str, out: str, given: str) -> bool:
    """Tells whether a file found in a folder is an earlier output that lies inside that folder."""
    folder, top = _identity(out).rstrip("/") + "/", _identity(given).rstrip("/") + "/"
    inside = folder != top and folder.startswith(top)
    return inside and _identity(path).startswith(folder)


if __name__ == "__main__":
    raise SystemExit(main())
