"""Results of an examination, as text for a terminal and as plain values for JSON."""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Container
from typing import Any

import numpy as np

from data_prep.checks.findings import CODES, EXIT_CODES, Finding, Severity
from data_prep.checks.pairs import Measure, Outcome
from data_prep.plan import thin
from tfdeblur.cli.printable import printable

# Version of the JSON: 2 renamed `cure` to `remedy` and merged codes with the same remedy.
FORMAT = 2
# Maximum number of findings per code on the terminal and the page; JSON contains all.
SHOWN = 20
# Maximum number of scenes per split on the terminal.
_SCENES = 6

Halves = tuple[np.ndarray | None, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Twin:
    """Two identical or nearly identical sharp images in two splits.

    Attributes:
        first: Split and key of the first image.
        second: Split and key of the second.
        bits: Hamming distance of their hashes; 0 for identical images.
    """

    first: str
    second: str
    bits: int


@dataclasses.dataclass
class Report:
    """Findings and measurements of one data set.

    Attributes:
        path: The examined folder or file.
        kind: `raw` or `built`.
        source: Name of the source; empty if unknown.
        layout: Description of the layout.
        splits: Number of pairs by split and scene.
        files: Number of files by kind.
        pairs: Number of pairs.
        examined: Number of decoded pairs.
        found: All findings, in any order, with whole paths.
        measures: Measurements of the decoded pairs.
        twins: Sharp images that are in two splits.
        notes: Notes about the data set and the limits of the examination.
        load: Returns both halves of a pair by its key, for the pictures of the page.
    """

    path: str
    kind: str
    source: str = ""
    layout: str = ""
    splits: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    files: dict[str, int] = dataclasses.field(default_factory=dict)
    pairs: int = 0
    examined: int = 0
    found: list[Finding] = dataclasses.field(default_factory=list)
    measures: list[Measure] = dataclasses.field(default_factory=list)
    twins: list[Twin] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    load: Callable[[str], Halves] | None = None

    def add(self, outcome: Outcome) -> None:
        """Adds the result of a task."""
        self.found += outcome.findings
        if outcome.measure is not None:
            self.measures.append(outcome.measure)

    @functools.cached_property
    def findings(self) -> list[Finding]:
        """The findings without repetition, by severity, with paths relative to the data set.

        Read after the examination.
        """
        root = self.path.rstrip("/")
        unique = {
            Finding(
                f.code,
                "." if f.file.rstrip("/") == root else _text(f.file.removeprefix(f"{root}/")),
                _text(f.detail).replace(f"{root}/", ""),
            )
            for f in self.found
        }
        return sorted(unique, key=lambda f: (-f.severity, f.code, f.file, f.detail))

    @functools.cached_property
    def psnr(self) -> dict[str, Any]:
        """Statistics and a histogram of the finite PSNR between halves, in dB."""
        return psnr_summary(self.measures)

    @property
    def severity(self) -> Severity:
        """The highest severity of all findings."""
        return max((finding.severity for finding in self.findings), default=Severity.INFO)

    @property
    def exit_code(self) -> int:
        """0 without warnings and errors, 3 with warnings, 4 with errors."""
        return EXIT_CODES[self.severity]

    @property
    def by_severity(self) -> dict[Severity, int]:
        """Number of findings by severity, highest first."""
        counts = Counter(finding.severity for finding in self.findings)
        return {severity: counts[severity] for severity in sorted(Severity, reverse=True)}

    @property
    def groups(self) -> dict[str, list[Finding]]:
        """Findings by code, highest severity first."""
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.code, []).append(finding)
        return found

    @property
    def verdict(self) -> str:
        """The number of errors, warnings and infos, in words."""
        counts = ", ".join(
            f"{count} {severity.name.lower()}{'' if count == 1 else 's'}"
            for severity, count in self.by_severity.items()
            if count
        )
        return f"{counts or 'nothing'} found"

    def worst(self, count: int) -> list[Measure]:
        """Returns the pairs to inspect first: those with findings, then the strongest blur."""
        paired = [(m.psnr, m) for m in self.measures if m.psnr is not None]
        paired.sort(key=lambda pair: (-_priority(pair[1]), pair[0], pair[1].key))
        return [measure for _, measure in paired[:count]]

    def to_json(self) -> dict[str, Any]:
        """Returns everything except images as plain values."""
        shifts = [math.hypot(*m.shift) if m.shift else None for m in self.measures]
        return {
            "format": FORMAT,
            "path": self.path,
            "kind": self.kind,
            "source": self.source,
            "layout": self.layout,
            "files": self.files,
            "splits": {
                name: {"pairs": sum(scenes.values()), "scenes": scenes}
                for name, scenes in self.splits.items()
            },
            "pairs": self.pairs,
            "examined": self.examined,
            "notes": self.notes,
            "severity": self.severity.name.lower() if self.findings else "none",
            "exit_code": self.exit_code,
            "counts": {code: len(group) for code, group in self.groups.items()},
            "findings": [
                {
                    "severity": finding.severity.name.lower(),
                    **dataclasses.asdict(finding),
                    "meaning": CODES[finding.code].meaning,
                    "remedy": CODES[finding.code].remedy,
                }
                for finding in self.findings
            ],
            "psnr": self.psnr,
            "shift": _spread(shifts),
            "softening": _spread([m.softening for m in self.measures]),
            "brightness": _spread([m.brightness for m in self.measures]),
            "tone": _spread([m.tone for m in self.measures]),
        }

    def to_text(self) -> str:
        """Returns the report for a terminal; unprintable characters are escaped."""
        lines = [f"{self.path}: {self.kind} data set"]
        lines += [f"Layout: {self.layout}."] if self.layout else []
        lines.append("Files: " + ", ".join(f"{n} {kind}" for kind, n in self.files.items()) + ".")
        for name, scenes in self.splits.items():
            listed = ", ".join(
                f"{scene} {count}" for scene, count in list(scenes.items())[:_SCENES]
            )
            more = f", and {len(scenes) - _SCENES} more" if len(scenes) > _SCENES else ""
            lines.append(
                f"  {name:5} {sum(scenes.values()):7,} in {len(scenes):,} scenes: {listed}{more}"
            )
        lines += [f"Note: {note}" for note in self.notes]
        lines += self._histogram()
        for code, group in self.groups.items():
            kind = CODES[code]
            lines += ["", f"{kind.severity.name.lower()} [{code}] {kind.meaning}"]
            for finding in group[:SHOWN]:
                lines.append(f"    {finding.file}" + (finding.detail and f": {finding.detail}"))
            if len(group) > SHOWN:
                lines.append(f"    and {len(group) - SHOWN} more (--json lists all)")
            lines += [f"    Remedy: {kind.remedy}"] if kind.remedy else []
        lines += ["", f"{self.path}: {self.verdict}."]
        return "\n".join(map(printable, lines))

    def _histogram(self) -> list[str]:
        values = self.psnr
        if not values:
            return []
        lines = [
            f"PSNR of the blurred halves, {values['pairs']:,} pairs: {values['mean']:.2f} dB on "
            f"average, {values['min']:.2f} to {values['max']:.2f}, standard deviation "
            f"{values['std']:.2f}."
        ]
        edges, counts = values["histogram"]["edges"], values["histogram"]["counts"]
        for first, last, count in zip(edges, edges[1:], counts, strict=False):
            bar = "#" * -(-40 * count // max(counts))
            lines.append(f"  {first:3} to {last:3} dB {count:7,} {bar}".rstrip())
        return lines


def _text(name: str) -> str:
    # JSON and HTML cannot represent names that are not UTF-8.
    return name.encode("utf-8", "backslashreplace").decode()


def _priority(measure: Measure) -> int:
    return max((CODES[code].severity + 1 for code in measure.codes), default=0)


def _spread(values: list[float | None]) -> dict[str, float]:
    """Returns minimum, median, maximum and count of the values that are not None."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return {}
    return {
        "min": ordered[0],
        "median": ordered[len(ordered) // 2],
        "max": ordered[-1],
        "count": len(ordered),
    }


def psnr_summary(found: list[Measure]) -> dict[str, Any]:
    """Returns statistics and a histogram of the finite PSNR between halves, in dB."""
    values = [m.psnr for m in found if m.psnr is not None and not math.isinf(m.psnr)]
    if not values:
        return {}
    first, last = math.floor(min(values)), math.floor(max(values)) + 1
    # At most about 30 bins.
    step = -(-(last - first) // 30)
    edges = list(range(first, last + step, step))
    counts, _ = np.histogram(values, edges)
    return {
        "pairs": len(values),
        "mean": float(np.mean(values)),
        "min": min(values),
        "max": max(values),
        "std": float(np.std(values)),
        "histogram": {"edges": edges, "counts": [int(count) for count in counts]},
    }


def sampled(total: int, sample: int | None) -> Container[int]:
    """Returns `sample` of `total` indices, evenly spaced; all of them if `sample` is None."""
    return range(total) if sample is None else set(thin(range(total), sample))
