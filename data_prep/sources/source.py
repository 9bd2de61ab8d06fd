"""What every source offers: a listing of its frames, and the pixels of one of them."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_prep.blur import Blur


@dataclasses.dataclass(frozen=True)
class Item:
    """One frame of a source: what it is called, how large it is, where its pixels are.

    Attributes:
        scene: Name of its scene. Scenes never straddle two splits.
        frame: Name of the frame; scene and frame together are unique within a source.
        height: Rows of the frame as it is stored.
        width: Columns of the frame as it is stored.
        sharp: Where `Source.load` finds the sharp half: a path, or any text of the source's own.
        blurred: Where it finds the blurred half; empty where the source has none.
    """

    scene: str
    frame: str
    height: int
    width: int
    sharp: str = ""
    blurred: str = ""

    @property
    def key(self) -> str:
        """What this frame is called throughout a build; random draws for it are seeded by it."""
        return f"{self.scene}/{self.frame}"


@dataclasses.dataclass(frozen=True)
class Listing:
    """All frames of a source.

    Attributes:
        splits: Frames by split (`train`, `val`, `test`), each in a fixed, sorted order.
        notes: Sentences that whoever uses the data should know; printed and kept.
        layout: Which of the layouts that the source knows was found; empty where it knows one.
    """

    splits: Mapping[str, tuple[Item, ...]]
    notes: tuple[str, ...] = ()
    layout: str = ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Everything that is printed and kept in the manifest: the layout, then the notes."""
        return (f"Layout: {self.layout}.", *self.notes) if self.layout else self.notes


class Source(abc.ABC):
    """A data set in the form in which it comes.

    Building one is cheap and reads nothing, for every worker process builds its own from the
    options; `listing` looks at the files, once, in the main process.

    Attributes:
        blur: What blurs the sharp half, for sources that have no blurred half; else None.
    """

    blur: Blur | None = None

    @abc.abstractmethod
    def listing(self) -> Listing:
        """Lists all frames, sorted, in their splits.

        Raises:
            DataError: The layout is not the expected one, or a half is missing or unreadable.
        """

    @abc.abstractmethod
    def load(self, item: Item) -> tuple[np.ndarray | None, np.ndarray]:
        """Returns the blurred half (None where the source has none) and the sharp half.

        Both are uint8 [height, width, 3] RGB arrays of the item's size.
        """

    def describe_blur(self) -> dict[str, Any]:
        """Returns what the manifest says about the blur: `kind` and its parameters."""
        assert self.blur is not None, "a source with a blurred half describes its blur itself"
        return self.blur.describe()
