"""One thing that was looked at."""

import dataclasses
from typing import Literal

Status = Literal["ok", "warning", "wrong", "skipped"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it.

    Attributes:
        name: What was looked at.
        status: `warning`: training works, but not as it could; `wrong`: it would fail.
        text: What was found.
        advice: What to do; empty where nothing is to be done.
    """

    name: str
    status: Status
    text: str
    advice: str = ""

    def lines(self) -> list[str]:
        """Returns the finding for people."""
        mark = {"ok": "ok", "warning": "warning", "wrong": "WRONG", "skipped": "skipped"}
        lines = [f"{mark[self.status]:<8} {self.name}: {self.text}"]
        return [*lines, f"{'':<8}   -> {self.advice}"] if self.advice else lines
