"""The test-time local converter: a trained network with its pooling cut to a window."""

from tfdeblur.models.generator import Generator

OPTION = "pool_window"
WINDOW_TO_PATCH = 1.5
"""How much larger than the training patch its authors take the window."""


def can_convert(generator: Generator) -> bool:
    """Tells whether the network pools over the whole image, or over a window in its place."""
    return OPTION in generator.options


def with_window(generator: Generator, window: int | None) -> Generator:
    """Builds the network once more with another pooling window, and its weights.

    Args:
        generator: A generator made by `tfdeblur.models.create`, with the option `pool_window`.
        window: Side of the window in image pixels; None pools over the whole image.

    Returns:
        A generator with copies of the weights: training the one does not train the other.

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
    """Returns the side of the window for a side of training patches, both in pixels."""
    return round(patch_side * WINDOW_TO_PATCH)
