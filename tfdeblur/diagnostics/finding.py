"""Result of a check."""

import dataclasses
from typing import Literal

Status = Literal["ok", "warning", "wrong", "skipped"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """Result of a check, with a remedy.

    Attributes:
        name: What was checked.
        status: `warning`: training works, but not optimally; `wrong`: training would fail.
        text: The result.
        advice: What to do; empty if nothing is required.
    """

    name: str
    status: Status
    text: str
    advice: str = ""

    def lines(self) -> list[str]:
        """Returns the finding as lines of text."""
        mark = "WRONG" if self.status == "wrong" else self.status
        lines = [f"{mark:<8} {self.name}: {self.text}"]
        return [*lines, f"{'':<8}   -> {self.advice}"] if self.advice else lines
