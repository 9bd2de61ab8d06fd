"""Test-time local conversion (TLC) of trained networks: the pooling window, and its failures.

Networks that pool over the whole image were trained on patches, and restore whole images worse.
TLC limits their pooling to a window of about a patch, without changing the weights.

Reference: Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation",
ECCV 2022, section 3.3.
"""

from typing import Literal

import numpy as np
from pydantic import TypeAdapter

from tfdeblur.checkpoints.weights import BEST, CHECKPOINTS
from tfdeblur.config import CONFIG_FILE, fields, settings
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.io import files
from tfdeblur.models import local_pooling
from tfdeblur.models.generator import Generator
from tfdeblur.models.keras_settings import standard_settings

Choice = int | Literal["auto", "off"] | None

# Side in pixels of the blocks whose mean colors are compared, and their largest color shift.
_BLOCK = 32
_MAX_COLOR_CAST = 0.2


def convert(generator: Generator, choice: Choice, folder: str) -> Generator:
    """Returns a generator with the pooling window for restoring whole images.

    Args:
        generator: A trained generator.
        choice: `auto`: the network's own window, else 1.5 times the training crops of its run,
            else none; `off`: pooling over the whole image; an integer: side of the window in
            image pixels; None: the network as it was trained.
        folder: The checkpoint, whose run's `config.yaml` holds the size of the crops.

    Returns:
        The same generator if nothing changes, else one with copies of its weights.

    Raises:
        UserError: A window is given, but the network does not pool.
    """
    if choice is None:
        return generator
    if not local_pooling.can_convert(generator):
        if isinstance(choice, int):
            raise UserError(
                f"tlc: {generator.name} does not pool over the image, so it has no window to set. "
                "Remove --tlc."
            )
        return generator
    own: int | None = generator.options[local_pooling.OPTION]
    window: int | None
    if choice == "auto":
        window = own_window(generator, config_of(folder))
    else:
        window = None if choice == "off" else choice
    if window == own:
        return generator
    with standard_settings():
        return local_pooling.with_window(generator, window)


def own_window(generator: Generator, config: str | None) -> int | None:
    """Returns a network's own window, else 1.5 times its training crops, else None."""
    own: int | None = generator.options[local_pooling.OPTION]
    patch = patch_side(config)
    return own or (None if patch is None else local_pooling.window_for(patch))


def config_of(folder: str) -> str | None:
    """Returns the path of the `config.yaml` of a run, or of the run of a checkpoint."""
    places = [folder]
    if files.base_name(files.parent(folder)) in (BEST, CHECKPOINTS):
        places.append(files.parent(files.parent(folder)))
    for place in places:
        found = files.join(place, CONFIG_FILE)
        if files.exists(found):
            return found
    return None


def patch_side(config: str | None) -> int | None:
    """Returns the larger side of a run's training crops in pixels, or None if unknown.

    Raises:
        ConfigError: The file is damaged; the message names it.
    """
    if config is None:
        return None
    tree = settings.parse_yaml(files.read_text(config), config)
    try:
        crop = tree.get("data", {}).get("crop")
        for stage in tree.get("training", {}).get("stages", ()):
            crop = stage.get("crop") or crop
        return None if crop is None else max(TypeAdapter(fields.Size).validate_python(crop))
    except (AttributeError, ValueError) as error:
        raise ConfigError(f"{config}: data.crop is not a size such as 256x256.") from error


def has_color_artifacts(image: np.ndarray, restored: np.ndarray) -> bool:
    """Returns whether a restored image has discolored blocks.

    With small windows, activations can leave the range seen in training, and parts of the result
    turn into a mosaic of bright colors. Removing blur hardly changes the mean color of a block.

    Args:
        image: The blurred image, float32 [H, W, 3] in [0, 1].
        restored: The restored image, same shape and range.
    """
    rows, columns = (size // _BLOCK for size in image.shape[:2])
    if not rows * columns:
        return False  # no window is smaller than such an image
    change = (restored - image)[: rows * _BLOCK, : columns * _BLOCK]
    blocks = change.reshape(rows, _BLOCK, columns, _BLOCK, 3).mean(axis=(1, 3))
    # Red and blue relative to green, so that a change of brightness does not count.
    cast = np.abs(blocks[..., ::2] - blocks[..., 1:2])
    return bool(cast.max() > _MAX_COLOR_CAST)
