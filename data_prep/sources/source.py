"""Base class of sources: lists frames, and loads the pixels of one."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_prep.blur import Blur


@dataclasses.dataclass(frozen=True)
class Item:
    """One frame of a source.

    Attributes:
        scene: Name of its scene; a scene is never in two splits.
        frame: Name of the frame, unique within its scene.
        height: Rows of the frame before any resizing.
        width: Columns of the frame before any resizing.
        sharp: Location of the sharp half, for `Source.load`: a path, or any other text.
        blurred: Location of the blurred half; empty if the source has none.
    """

    scene: str
    frame: str
    height: int
    width: int
    sharp: str = ""
    blurred: str = ""

    @property
    def key(self) -> str:
        """Unique name of the frame; seeds its random draws."""
        return f"{self.scene}/{self.frame}"


@dataclasses.dataclass(frozen=True)
class Listing:
    """All frames of a source.

    Attributes:
        splits: Frames by split (`train`, `val`, `test`), each in a fixed, sorted order.
        notes: Sentences for users of the data set; printed, and stored in the manifest.
        layout: The layout that was recognized; empty if the source supports only one.
    """

    splits: Mapping[str, tuple[Item, ...]]
    notes: tuple[str, ...] = ()
    layout: str = ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """The layout and the notes, as printed and stored in the manifest."""
        return (f"Layout: {self.layout}.", *self.notes) if self.layout else self.notes


class Source(abc.ABC):
    """A data set in its original form.

    The constructor must be cheap and read no files, because every worker process constructs its
    own source from the options. `listing` is called once, in the main process.

    Attributes:
        blur: Blur applied to the sharp half; None if the source has blurred halves.
    """

    blur: Blur | None = None

    @abc.abstractmethod
    def listing(self) -> Listing:
        """Lists all frames, sorted, in their splits.

        Raises:
            DataError: The layout is unknown, or a half is missing or unreadable.
        """

    @abc.abstractmethod
    def load(self, item: Item) -> tuple[np.ndarray | None, np.ndarray]:
        """Returns the blurred half (None if the source has none) and the sharp half.

        Both are uint8 [height, width, 3] RGB arrays of the item's size.
        """

    def describe_blur(self) -> dict[str, Any]:
        """Returns the `kind` and the parameters of the blur for the manifest."""
        assert self.blur is not None, "sources with blurred halves override this method"
        return self.blur.describe()
