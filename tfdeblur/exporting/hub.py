"""Presets: weights, facts and model card in one folder, as model hubs publish them."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from pydantic import TypeAdapter

from tfdeblur.checkpoints.arrays import assign_arrays, serialized, to_arrays, weight_variables
from tfdeblur.config import StageConfig, fields, settings
from tfdeblur.config.stages import Timeline
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.io import files
from tfdeblur.models.generator import Generator
from tfdeblur.models.keras_settings import standard_settings
from tfdeblur.presets import card, preset
from tfdeblur.presets.preset import Preset, Scores, Training, Weights

Precision = Literal["float32", "float16"]

_METRICS = ("psnr_db", "ssim", "mse", "mae", "log_cosh")
_DIGITS = 5


def check_target(out: str, overwrite: bool) -> None:
    """Checks, before any work, that a preset may be written to a folder.

    Hidden files, such as those of a repository, may be there and stay.

    Raises:
        UserError: The folder is a file, contains other files, or contains a preset and `overwrite`
            is False; or its name cannot be that of a preset.
    """
    if re.match(preset.NAME, files.own_name(out)) is None:
        raise UserError(
            f"{out}: the name of the folder is the name of the preset, of lower-case letters, "
            "digits, dots, hyphens and underscores."
        )
    if not files.exists(out):
        return
    if not files.is_dir(out):
        raise UserError(f"{out} is a file; choose a folder for the preset.")
    there = {name for name in files.list_dir(out) if not name.startswith(".")}
    if other := there - {preset.FACTS, preset.WEIGHTS, preset.CARD}:
        raise UserError(
            f"{out} contains {min(other)}, which is no file of a preset; choose another folder."
        )
    if there and not overwrite:
        raise UserError(f"{out} already contains a preset; replace it with --overwrite.")


def write(
    generator: Generator,
    out: str,
    meta: Mapping[str, Any],
    *,
    config: str | None = None,
    precision: Precision = "float32",
    license: str = "",
    scores: str = "",
) -> Preset:
    """Writes a preset, whose name is that of the folder.

    What is known about the network comes from its manifest and its run's configuration. All else,
    such as the description, the command and the terms, is kept from the preset that is replaced,
    or from the preset that the generator was loaded from.

    Args:
        generator: The trained generator. Its weights are rounded to `precision`.
        out: Folder to write; see `check_target`.
        meta: Manifest of the checkpoint or preset that it was loaded from, with its `folder`.
        config: Path of the run's `config.yaml`.
        precision: Data type of the stored weights.
        license: SPDX identifier of the license; that of the preset, or of converted weights, if
            empty.
        scores: `scores.json` of an evaluation of the same weights, as stored.

    Returns:
        The content of ``preset.yaml``, which is written last.

    Raises:
        DataError: `scores` belongs to other weights.
        UserError: The folder cannot be written, or a weight is too large for `precision`.
    """
    arrays = _rounded(to_arrays(weight_variables(generator.network)), precision)
    assign_arrays(weight_variables(generator.network), arrays)
    known = next((preset.read(f) for f in (out, meta["folder"]) if preset.is_preset(f)), None)
    content = serialized(arrays)
    described = Preset(
        name=files.own_name(out),
        model={"name": generator.name, **settings.to_plain(generator.options)},
        weights=Weights(
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
            parameters=generator.network.count_params(),
            precision=precision,
        ),
        training=_training(meta, config),
        probe=_probe(generator),
    )
    if not license and known is None:
        license = (meta.get("origin") or {}).get("license", "")
    described = _completed(described, known, license, scores)
    files.make_dirs(out)
    files.write_bytes(files.join(out, preset.WEIGHTS), content)
    files.write_text(files.join(out, preset.CARD), card.card(described))
    files.write_text(files.join(out, preset.FACTS), preset.to_yaml(described))
    return described


def _rounded(arrays: Mapping[str, np.ndarray], precision: Precision) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore"):
        rounded = {name: array.astype(precision) for name, array in arrays.items()}
    for name, array in rounded.items():
        if not np.isfinite(array).all():
            raise UserError(
                f"weights: {name} holds values that are not finite in {precision}"
                + ("; store float32." if precision == "float16" else ".")
            )
    return rounded


def _probe(generator: Generator) -> tuple[float, ...]:
    with standard_settings():
        restored = generator.as_unit_model()(preset.probe_image(), training=False)
    return preset.probe_of(np.clip(keras.ops.convert_to_numpy(restored), 0, 1))


def _training(meta: Mapping[str, Any], config: str | None) -> Training:
    """Returns the facts of the training in a checkpoint's manifest and configuration."""
    facts: dict[str, Any] = {"images": meta["images"], "averaged": bool(meta.get("averaged"))}
    if config is not None:
        tree = settings.parse_yaml(files.read_text(config), config)
        try:
            training, data = tree["training"], tree["data"]
            duration = TypeAdapter(fields.Period).validate_python(training["duration"])
            stages = TypeAdapter(tuple[StageConfig, ...]).validate_python(
                training.get("stages", ())
            )
            batches = [training["global_batch"]]
            for stage in stages:
                batches.append(stage.global_batch or batches[-1])
            facts["of"] = Timeline.of(stages, batches, meta["epoch_images"]).images(duration)
            facts["data"] = ", ".join(files.base_name(path) for path in data["paths"])
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ConfigError(f"{config} is not the configuration of a run ({error!r}).") from error
    return Training(**facts)


def _completed(new: Preset, known: Preset | None, license: str, scores: str) -> Preset:
    """Adds to the facts about new weights those that people wrote, and the scores."""
    if known is not None:
        same = new.weights.sha256 == known.weights.sha256
        texts = {key: getattr(known.training, key) for key in ("data", "blur", "command", "device")}
        kept = {key: text for key, text in texts.items() if text}
        of = new.training.of or known.training.of
        new = dataclasses.replace(
            new,
            version=known.version if same else known.version + 1,
            weights=known.weights if same else new.weights,
            about=known.about,
            license=known.license,
            terms=known.terms,
            training=dataclasses.replace(
                new.training, **kept, of=of, hours=known.training.hours if same else None
            ),
            scores=known.scores if same else (),
        )
    if license:
        new = dataclasses.replace(new, license=license)
    if scores:
        found = _read_scores(scores, new)
        others = tuple(entry for entry in new.scores if entry.data != found.data)
        new = dataclasses.replace(new, scores=(*others, found))
    return new


def _read_scores(path: str, preset: Preset) -> Scores:
    tree = files.read_json(path)
    window = preset.model.get("pool_window")
    tlc = f"TLC over windows of {window} pixels, " if window else ""
    try:
        if tree["weights_sha256"] != preset.weights.sha256:
            raise DataError(
                f"{path} evaluates other weights than these: run tfdeblur.evaluate with --model "
                "and the folder of the preset, and pass the scores of that."
            )
        rows = {
            row: {key: float(f"{tree['rows'][row][key]:.{_DIGITS}g}") for key in _METRICS}
            for row in ("blurred", "restored")
        }
        limited = f", first {tree['limit']:,} images" if tree.get("limit") else ""
        return Scores(
            data=f"{files.base_name(tree['data'])}, split {tree['split']}{limited}",
            images=tree["images"],
            protocol=(
                f"`python -m tfdeblur.evaluate`: whole images, {tlc}float32, clipped to [0, 1], "
                f"RGB; PSNR averages over the {tree['differing']:,} images whose input differs "
                "from the target."
            ),
            **rows,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not the scores.json of an evaluation ({error!r}).") from error
