"""Loads and hashes the network to evaluate, with its local converter if it has one."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tfdeblur.checkpoints.manifest import weights_file
from tfdeblur.config import CONFIG_FILE, settings
from tfdeblur.errors import UserError
from tfdeblur.evaluation.scores import CONVERTED, RESTORED
from tfdeblur.exporting.saved_model import LoadedModel
from tfdeblur.inference import tlc
from tfdeblur.inference.restorer import Restorer, load_restorer
from tfdeblur.io import files
from tfdeblur.models import local_pooling
from tfdeblur.models.generator import Generator

AUTO: Literal["auto"] = "auto"


@dataclasses.dataclass(frozen=True)
class EvaluatedNetwork:
    """A network in the states that are evaluated.

    Attributes:
        restorer: The network as it was trained.
        states: Restoring functions by state, `restored` and possibly `restored_tlc`, from float32
            [B, H, W, 3] in [0, 1] to the restored images.
        generator: The network of the state `restored`; None for a SavedModel.
        tlc_window: Side of the converter's window in pixels; None without a converter.
        identity: The recipe and hashes of weights and configuration, for the score card.
        tiled: Whether the states restore images in tiles and are called with arrays.
    """

    restorer: Restorer
    states: dict[str, Callable[[Any], Any]]
    generator: Generator | None
    tlc_window: int | None
    identity: dict[str, Any]
    tiled: bool = False


def open_network(
    path: str,
    which: Literal["best", "last"] = "best",
    tlc_window: int | str | None = AUTO,
    tiling: Mapping[str, Any] | None = None,
) -> EvaluatedNetwork:
    """Loads a network to evaluate.

    Args:
        path: A preset's name or folder, a work directory, a checkpoint or a SavedModel.
        which: Which checkpoint of a work directory.
        tlc_window: Side of the pooling window of the local converter in pixels; `auto` uses the
            network's own, or one and a half of its training patches; None disables the converter.
        tiling: `tiles` and `max_pixels` of a `Restorer`, to restore images in tiles.

    Raises:
        UserError: There is no network; a window is given and the network does not pool; or it is a
            SavedModel that limits its requests, which whole images or tiles would exceed.
    """
    how = dict(tiling or {})
    restorer = load_restorer(path, which, pooling=None, **how)
    limit = getattr(restorer.source, "max_pixels", None)
    side = restorer.tiles.side
    if limit is not None and (not how or (side**2 if side else restorer.max_pixels) > limit):
        raise UserError(
            f"{path} takes at most {limit:,} pixels at a time (--max-pixels of its export). "
            f"Evaluate the run, an export without a limit, or tiles, with --max-pixels {limit}."
        )
    generator = restorer.source if isinstance(restorer.source, Generator) else None
    config = _config_path(path, restorer)
    restorers = {RESTORED: restorer}
    window = _window(generator, config, tlc_window, path)
    if window is not None and generator is not None:
        # A network that was trained with a window is evaluated without it, too.
        local = Restorer(local_pooling.with_window(generator, window), name=restorer.name, **how)
        generator = local_pooling.with_window(generator, None)
        whole = Restorer(generator, name=restorer.name, **how)
        restorers = {RESTORED: whole, CONVERTED: local}
    states: dict[str, Callable[[Any], Any]] = {
        state: functools.partial(one.deblur, exact=True) if how else one.restore
        for state, one in restorers.items()
    }
    identity = _identity(restorer, config)
    return EvaluatedNetwork(restorer, states, generator, window, identity, bool(how))


def _window(
    generator: Generator | None, config: str | None, requested: int | str | None, path: str
) -> int | None:
    if requested is None:
        return None
    if generator is None or not local_pooling.can_convert(generator):
        if requested == AUTO:
            return None
        raise UserError(
            f"tlc_window: {path} has no pooling whose window can be set"
            + (", as it is a SavedModel." if generator is None else ".")
            + " Remove --tlc-window."
        )
    if requested != AUTO:
        return int(requested)
    return tlc.own_window(generator, config)


def _config_path(path: str, restorer: Restorer) -> str | None:
    """Returns the run's `config.yaml`, from its work directory or one of its checkpoints."""
    folder = restorer.about.get("folder")
    if folder is None:  # a SavedModel has none
        return None
    own = files.join(path, CONFIG_FILE)
    return own if files.exists(own) else tlc.config_of(folder)


def _identity(restorer: Restorer, config: str | None) -> dict[str, Any]:
    about = restorer.about
    if isinstance(restorer.source, LoadedModel):
        weights = restorer.source.sha256
    else:
        weights = about["files"][weights_file(about)]["sha256"]
    if config is not None:
        text = files.read_bytes(config)
    else:
        text = json.dumps(about.get("model", {}), sort_keys=True).encode()
    tree = {} if config is None else settings.parse_yaml(files.read_text(config), config)
    return {
        "recipe": tree.get("recipe"),
        "weights_sha256": weights,
        "configuration_sha256": hashlib.sha256(text).hexdigest(),
        "configuration": "config.yaml" if config is not None else "the model's options",
    }
