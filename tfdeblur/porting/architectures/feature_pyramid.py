"""What DeblurGAN-v2's generators share: the arrays of the pyramid, with its authors' names.

That code tests the network in training mode: the backbone's batch norm uses the statistics of the
single image, as `tfdeblur` does with instance norm. With batch norm in the pyramid, too, the moving
averages are used.
"""

from collections.abc import Sequence
from typing import Any

from tfdeblur.porting.mapping import Arrays, Layout, Place, channels, convolution, norm

REPOSITORY = "https://github.com/VITA-Group/DeblurGANv2"
MARKS = ("fpn.lateral0.weight", "head1.block0.weight")


def options(arrays: Arrays) -> dict[str, Any]:
    """Returns the options of the pyramid that follow from the weights: width and norm."""
    return {
        "width": channels(arrays, "smooth.0.weight"),
        # Instance norm has no weights there.
        "norm": "batch" if "smooth.1.weight" in arrays else "instance",
    }


def layout(backbone: Sequence[Place], *, batch: bool, unused: str) -> Layout:
    """Returns the place of each array of a network.

    Args:
        backbone: Those of the backbone.
        batch: Whether the norm is batch norm.
        unused: Pattern of names in the backbone that are omitted.
    """
    places = list(backbone)
    for level in range(5):
        places += convolution(f"fpn.lateral{level}", f"lateral{level}", bias=False)
    for level in range(1, 5):
        for step in (0, 1):
            name = f"head{level}.block{step}"
            places += convolution(name, f"head{level}_conv{step + 1}", bias=False)
    smooth = {"smooth": "smooth1", "smooth2": "smooth2"}
    # That code numbers the steps of the pyramid from the smallest map.
    smooth |= {f"fpn.td{step}": f"pyramid{4 - step}" for step in (1, 2, 3)}
    for theirs, ours in smooth.items():
        places += convolution(f"{theirs}.0", f"{ours}_conv")
        if batch:
            places += norm(f"{theirs}.1", f"{ours}_norm", moving=True)
    places += convolution("final", "correction")
    omitted = {
        unused: "the same arrays of the backbone again, and blocks that are not used",
        r".*\.num_batches_tracked": "counters of batches",
    }
    if not batch:
        omitted[r".*\.running_(mean|var)"] = (
            "moving averages of norms, which normalize each image separately"
        )
    return Layout(places, omitted)
