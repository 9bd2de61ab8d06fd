"""What the commands that draw one figure share: its format, its file and its result."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FigureFormat = Annotated[Literal["png", "pdf", "svg"], Field(description="format of the figure")]


@dataclasses.dataclass(frozen=True)
class FigureResult:
    """A figure and its file.

    Attributes:
        figure: The figure, for notebooks.
        path: Path of its file.
    """

    figure: "Figure"
    path: str


class FigureFile:
    """The file of a figure, reserved before any work.

    Args:
        folder: Output folder.
        name: Name of the file without its suffix.
        suffix: Format of the figure.

    Raises:
        UserError: The file is not one of an earlier call, or the folder cannot be created.
    """

    def __init__(self, folder: str, name: str, suffix: FigureFormat) -> None:
        self._name, self._suffix = f"{name}.{suffix}", suffix
        self._folder = OutputFolder.reserve(folder, self._name)

    def write(self, figure: "Figure") -> FigureResult:
        """Writes the figure."""
        from tfdeblur.reports import figures

        self._folder.write_bytes(self._name, figures.encoded(figure, self._suffix))
        return FigureResult(figure, files.join(self._folder.path, self._name))
