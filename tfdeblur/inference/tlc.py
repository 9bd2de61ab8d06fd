"""The local converter of a trained network: which pooling window it gets, and when it fails.

Networks that pool over the whole image were trained on patches, and restore whole images worse.
With the test-time local converter their pooling is cut to a window of about a patch, which
changes no weight.

Reference: Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation",
ECCV 2022, section 3.3.
"""

from typing import Literal

import numpy as np
from pydantic import TypeAdapter

from tfdeblur.checkpoints.weights import BEST, CHECKPOINTS
from tfdeblur.config import CONFIG_FILE, fields, settings
from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.models import local_pooling
from tfdeblur.models.generator import Generator

Choice = int | Literal["auto", "off"] | None

# Sides of the blocks whose colors are compared, in pixels, and by how much they may differ.
_BLOCK = 32
_COLOR_CAST = 0.2


def convert(generator: Generator, choice: Choice, folder: str) -> Generator:
    """Gives a generator the pooling window that it should restore whole images with.

    Args:
        generator: A trained generator.
        choice: `auto`: the network's own window, or one and a half of its run's training crops,
            or, where neither is known, none; `off`: it pools over the whole image; else the
            window's side in image pixels. None leaves the network as it was trained.
        folder: The checkpoint; its run's `config.yaml` tells the size of the crops.

    Returns:
        The same generator where nothing changes, else one with copies of its weights.

    Raises:
        UserError: A window is given and the network does not pool.
    """
    if choice is None:
        return generator
    if not local_pooling.can_convert(generator):
        if isinstance(choice, int):
            raise UserError(
                f"tlc: {generator.name} has no pooling whose window could be set. Leave --tlc out."
            )
        return generator
    own: int | None = generator.options[local_pooling.OPTION]
    window: int | None
    if choice == "auto":
        window = own_window(generator, config_of(folder))
    else:
        window = None if choice == "off" else choice
    return generator if window == own else local_pooling.with_window(generator, window)


def own_window(generator: Generator, config: str | None) -> int | None:
    """Returns the window that a network has, or that its run's training crops ask for."""
    own: int | None = generator.options[local_pooling.OPTION]
    patch = patch_side(config)
    return own or (None if patch is None else local_pooling.window_for(patch))


def config_of(folder: str) -> str | None:
    """Returns the `config.yaml` of a checkpoint's run, or of the run that the folder is itself."""
    places = [folder]
    if files.base_name(files.parent(folder)) in (BEST, CHECKPOINTS):
        places.append(files.parent(files.parent(folder)))
    for place in places:
        found = files.join(place, CONFIG_FILE)
        if files.exists(found):
            return found
    return None


def patch_side(config: str | None) -> int | None:
    """Returns the larger side of a run's training crops; None where it is not known."""
    if config is None:
        return None
    crop = settings.parse_yaml(files.read_text(config), config).get("data", {}).get("crop")
    return None if crop is None else max(TypeAdapter(fields.Size).validate_python(crop))


def has_mosaic(image: np.ndarray, restored: np.ndarray) -> bool:
    """Tells whether a restored image has blocks of strange color.

    Small windows can drive a network to where it never was, and parts of the result turn into a
    mosaic of bright colors. Removing blur leaves the mean color of a block nearly as it is.

    Args:
        image: What was restored, float32 [H, W, 3] in [0, 1].
        restored: The result, likewise.
    """
    rows, columns = (size // _BLOCK for size in image.shape[:2])
    if not rows * columns:
        return False  # No window is smaller than such an image.
    change = (restored - image)[: rows * _BLOCK, : columns * _BLOCK]
    blocks = change.reshape(rows, _BLOCK, columns, _BLOCK, 3).mean(axis=(1, 3))
    # Against green, so that what is only brighter or darker does not count.
    cast = np.abs(blocks[..., ::2] - blocks[..., 1:2])
    return bool(cast.max() > _COLOR_CAST)
