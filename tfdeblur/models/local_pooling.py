"""The test-time local converter (TLC): a trained network with pooling over windows."""

from tfdeblur.models.generator import Generator

OPTION = "pool_window"
WINDOW_TO_PATCH = 1.5
"""Ratio of the window to the training patch in the paper."""


def can_convert(generator: Generator) -> bool:
    """Returns whether the network pools over the image, so that a window can replace it."""
    return OPTION in generator.options


def with_window(generator: Generator, window: int | None) -> Generator:
    """Builds a copy of the network with another pooling window.

    Args:
        generator: A generator built by `tfdeblur.models.create`, with the option `pool_window`.
        window: Side of the window in image pixels; None pools over the whole image.

    Returns:
        A generator with copies of the weights: training one does not train the other.

    Raises:
        ValueError: The network has no such option.

    Reference:
        Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation",
        ECCV 2022, section 3.3.
    """
    from tfdeblur.models import create

    if not can_convert(generator):
        raise ValueError(f"`{generator.name}` has no option `{OPTION}`.")
    other = create(generator.name, {**generator.options, OPTION: window})
    other.network.set_weights(generator.network.get_weights())
    return other


def window_for(patch_side: int) -> int:
    """Returns the side of the window for the side of the training patches, both in pixels.

    Example:
        >>> window_for(256)
        384
    """
    return round(patch_side * WINDOW_TO_PATCH)
