"""Command: restores photographs and videos, given as files or folders.

::

    python -m tfdeblur.deblur FILE_OR_FOLDER... -o OUT [--model PRESET_RUN_OR_SAVEDMODEL]

`run` does the same for a notebook.
"""

import collections
import dataclasses
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tqdm
from pydantic import Field

from tfdeblur import cli, presets
from tfdeblur.cli.environment import require_keras
from tfdeblur.cli.printable import printable
from tfdeblur.errors import UserError, reason_of
from tfdeblur.inference import photo_files, video
from tfdeblur.io import files

if TYPE_CHECKING:
    from tfdeblur.inference.restorer import Restorer

EXIT_SOME_FAILED = 1
_BYTES_PER_PIXEL = 64
_BYTES_AT_REST = 2**30
"""Several float32 copies; measured with a photo of 108 million pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeblurConfig:
    """Settings of the deblur command."""

    photos: Annotated[tuple[str, ...], Field(min_length=1)]
    """photos and videos, or folders of them"""
    out: Annotated[str, Field(min_length=1)]
    """output folder; for a single input also a file name"""
    model: Annotated[str, Field(min_length=1)] = presets.DEFAULT
    """name of a preset (python -m tfdeblur.presets lists them), work directory, checkpoint, folder
    of a preset, or SavedModel, which is a program: load only those you trust"""
    tile: Annotated[int | None, Field(ge=16)] = None
    """divide every image that is higher or wider into tiles of this side, in pixels; if unset, only
    images above --max-pixels are divided, into tiles that suit their size"""
    overlap: Annotated[int | None, Field(ge=0)] = None
    """pixels shared by neighboring tiles; if unset, 64, but at most a quarter of a tile"""
    max_pixels: Annotated[int, Field(ge=1)] = 2**20
    """pixels to process at a time, of an image or of several tiles; lower it to save memory"""
    tlc: int | Literal["auto", "off"] = "auto"
    """for networks that pool over the whole image: side of the window to pool over instead, in
    pixels; auto: 1.5 times the training crops"""
    ensemble: bool = False
    """average over all eight orientations: eight times the work for a little more precision"""
    side_by_side: bool = False
    """also write NAME.before-after with input and output side by side"""
    overwrite: bool = False
    """replace outputs that exist"""


@dataclasses.dataclass(frozen=True)
class DeblurResult:
    """Outputs written and skipped, and inputs that failed.

    Attributes:
        written: Paths of the restored files, without the side-by-side ones; of a side-by-side file
            only if the restored one existed before.
        skipped: Outputs that existed before.
        failed: Input and reason of each file that could not be restored.
        flicker: By path of a restored video, how much more its neighboring frames differ than those
            of the input.
    """

    written: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    flicker: Mapping[str, video.Flicker] = dataclasses.field(default_factory=dict)


def run(config: DeblurConfig) -> DeblurResult:
    """Restores photographs and videos; a failure on one file does not stop the others.

    Args:
        config: Settings of the command.

    Raises:
        UserError: There is nothing to restore, an output would overwrite an input or another
            output, or the model cannot be loaded. Nothing is written then.
    """
    require_keras()
    from tfdeblur.inference.restorer import load_restorer
    from tfdeblur.inference.tiles import Tiles

    tiles = Tiles(config.tile, config.overlap)
    plan = plan_outputs(config.photos, config.out, config.side_by_side)
    todo: dict[str, list[str | None]] = {}
    skipped = []
    for given, out in plan.items():
        wanted = [
            path if config.overwrite or not files.exists(path) else None
            for path in outputs(out, config.side_by_side)
        ]
        if any(wanted):
            todo[given] = wanted
        else:
            skipped.append(out)
    written, failed, flicker = [], [], {}
    for folder in sorted({files.parent(out) for out in plan.values()}):
        files.remove_abandoned(folder, (*photo_files.SUFFIXES, *video.SUFFIXES))
    if todo:
        restorer = load_restorer(
            config.model,
            max_pixels=config.max_pixels,
            tiles=tiles,
            ensemble=config.ensemble,
            pooling=config.tlc,
        )
        for given, wanted in tqdm.tqdm(todo.items(), desc="files", unit="file", disable=None):
            restore_one = _restore_video if video.is_video(plan[given]) else _restore_photo
            try:
                measured = restore_one(restorer, given, *wanted)
            except UserError as error:
                failed.append((given, str(error)))
            except MemoryError:
                failed.append((given, "not enough memory."))
            except Exception as error:
                failed.append((given, _unexpected(error)))
            else:
                written += [path for path in wanted if path][:1]
                if measured is not None:
                    flicker[written[-1]] = measured
    return DeblurResult(tuple(written), tuple(skipped), tuple(failed), flicker)


def _unexpected(error: Exception) -> str:
    """Writes the traceback to a temporary file; returns one line that names the file."""
    reason = f"unexpected {type(error).__name__}: {reason_of(error)}."
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="tfdeblur-", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            traceback.print_exception(error, file=file)
    except OSError as full:
        return f"{reason} The traceback could not be written: {full}."
    return f"{reason} The traceback is in {file.name}"


def outputs(out: str, side_by_side: bool) -> list[str]:
    """Returns the path of the restored file and, if requested, of the side-by-side file."""
    if not side_by_side:
        return [out]
    ending = out[len(out) - len(photo_files.suffix(out)) :]
    return [out, f"{out.removesuffix(ending)}.before-after{ending}"]


def plan_outputs(inputs: Sequence[str], out: str, side_by_side: bool = False) -> dict[str, str]:
    """Assigns an output path to each photo and video, without reading or writing any.

    The files of a single folder keep their structure below `out`; of several inputs, each folder
    gets a subfolder of its name. Hidden files and folders, such as the `._photo.jpg` of macOS, and
    files below `out` are not inputs.

    Args:
        inputs: Photos, videos and folders.
        out: The output folder, or a file name if there is a single file.
        side_by_side: Whether each file has a second, side-by-side output; see `outputs`.

    Returns:
        The output by input.

    Raises:
        UserError: Nothing to restore, or an output would overwrite an input or another output.
    """
    known = (*photo_files.SUFFIXES, *video.SUFFIXES)
    inputs = list({_identity(given): given for given in inputs}.values())
    if not files.is_dir(out) and not out.endswith("/") and photo_files.suffix(out) in known:
        if len(inputs) > 1 or files.is_dir(inputs[0]):
            raise UserError(f"--out {out} is one file for several inputs; give a folder.")
        _check_kind(inputs[0], out)
        plan = {inputs[0]: out}
    else:
        if files.exists(out) and not files.is_dir(out):
            raise UserError(f"--out {out} is a file; give a folder.")
        plan = {}
        for given in inputs:
            inside = out if len(inputs) == 1 else files.join(out, files.own_name(given))
            if files.is_dir(given):
                for name in files.walk_files(given):
                    path = files.join(given, name)
                    if files.is_hidden(name):
                        continue
                    if photo_files.suffix(name) in known and not _is_within(path, out, given):
                        plan[path] = files.join(inside, _written_name(name))
            else:
                plan[given] = files.join(out, _written_name(files.base_name(given)))
    if not plan:
        raise UserError(
            f"No photos or videos in {', '.join(inputs)}; known suffixes: {' '.join(known)}."
        )
    plan = _disambiguate(plan)
    _check_collisions(plan, side_by_side)
    return plan


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 1 if a photo or video failed."""
    return cli.run_command(
        DeblurConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.deblur",
        description=(
            "Restores photographs and videos of any size. Folders are searched recursively and "
            "keep their structure; files whose output exists are skipped."
        ),
        positional="photos",
        short={"out": "o"},
    )


def _run_and_report(config: DeblurConfig) -> int:
    result = run(config)
    print(f"{len(result.written)} restored into {config.out} with {config.model}")
    for out, measured in result.flicker.items():
        print(f"  {printable(out)}: {measured}")
    if result.skipped:
        print(f"{len(result.skipped)} skipped because their outputs exist (--overwrite)")
    if result.failed:
        print(f"{len(result.failed)} failed:", file=sys.stderr)
        for given, reason in result.failed:
            # Most reasons name the file themselves.
            print(f"  {reason if given in reason else f'{given}: {reason}'}", file=sys.stderr)
        return EXIT_SOME_FAILED
    return 0


def _restore_video(
    restorer: "Restorer", path: str, out: str | None, side: str | None = None
) -> video.Flicker | None:
    # Several small frames in one batch are faster than one by one.
    return video.rewrite(
        path,
        out,
        restorer.deblur,
        side=side,
        pixels_at_once=restorer.max_pixels,
        progress=True,
        identity={
            "network": restorer.name,
            "about": _plain(restorer.about),
            # Of a SavedModel; the facts about a checkpoint contain those of its files.
            "sha256": getattr(restorer.source, "sha256", None),
            # With the pooling window.
            "options": _plain(dict(getattr(restorer.source, "options", {}))),
            "tiles": dataclasses.asdict(restorer.tiles),
            "max_pixels": restorer.max_pixels,
            "ensemble": restorer.ensemble,
        },
    )


def _plain(values: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(values, default=str))


def _restore_photo(
    restorer: "Restorer", path: str, out: str | None, side: str | None = None
) -> None:
    photo = photo_files.read_photo(path, _check_memory)
    restored = dataclasses.replace(photo, pixels=restorer.deblur(photo.pixels, progress=True))
    if out is not None:
        if files.parent(out):
            files.make_dirs(files.parent(out))
        photo_files.write_photo(out, restored)
    # Last, because an image of twice the width may be too wide for its format.
    if side is not None:
        both = np.concatenate([photo.pixels, restored.pixels], axis=1)
        alpha = None if photo.alpha is None else np.concatenate([photo.alpha, photo.alpha], axis=1)
        photo_files.write_photo(side, dataclasses.replace(photo, pixels=both, alpha=alpha))


def _check_memory(height: int, width: int) -> None:
    """Rejects a photo for which the machine lacks memory: the system would kill the command."""
    from tfdeblur.ops.devices import host_memory

    available = host_memory()
    needed = _BYTES_AT_REST + _BYTES_PER_PIXEL * height * width
    if needed > available:
        raise UserError(
            f"has {width}x{height} pixels: restoring it needs about "
            f"{needed / 2**30:.0f} GiB of memory, and this machine has {available / 2**30:.0f}."
        )


def _written_name(name: str) -> str:
    return video.written_name(name) if video.is_video(name) else photo_files.written_name(name)


def _check_kind(given: str, out: str) -> None:
    """Rejects an output file of an unsupported format, or a photo for a video and vice versa."""
    is_video = video.is_video(out)
    if _written_name(out) != out:
        better = ".mkv" if is_video else ".png"
        raise UserError(
            f"--out {out}: writing {photo_files.suffix(out)} files is not supported; try {better}."
        )
    if is_video != video.is_video(given):
        kind, other = ("a video", "a photo") if is_video else ("a photo", "a video")
        raise UserError(f"--out {out} is {kind}, but {given} is {other}.")


def _disambiguate(plan: dict[str, str]) -> dict[str, str]:
    """Renames the output of `a.gif` from `a.png` to `a.gif.png` if there is an `a.png` as well."""
    counts = collections.Counter(_identity(out) for out in plan.values())
    return {
        given: files.join(files.parent(out), files.base_name(given) + photo_files.suffix(out))
        if counts[_identity(out)] > 1 and photo_files.suffix(given) != photo_files.suffix(out)
        else out
        for given, out in plan.items()
    }


def _check_collisions(plan: dict[str, str], side_by_side: bool) -> None:
    inputs = {_identity(given): given for given in plan}
    claimed: dict[str, str] = {}
    for given, out in plan.items():
        for path in outputs(out, side_by_side):
            identity = _identity(path)
            if identity in inputs:
                raise UserError(
                    f"{inputs[identity]} would be overwritten by a restored file. Choose another "
                    "--out."
                )
            if identity in claimed:
                raise UserError(
                    f"{claimed[identity]} and {given} would both be written to {path}. Restore "
                    "them into different folders."
                )
            claimed[identity] = given


def _identity(path: str) -> str:
    """Returns the same string for all spellings of one local path, with links resolved."""
    return path if "://" in path else os.path.realpath(path)


def _is_within(path: str, out: str, given: str) -> bool:
    """Returns whether a file found in an input folder is in an output folder below it."""
    folder, top = _identity(out).rstrip("/") + "/", _identity(given).rstrip("/") + "/"
    inside = folder != top and folder.startswith(top)
    return inside and _identity(path).startswith(folder)


if __name__ == "__main__":
    raise SystemExit(main())
