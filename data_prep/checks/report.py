"""What an examination tells: text for a terminal, plain values for JSON."""

import math
from collections import Counter
from typing import Any

from data_prep.checks import sets
from data_prep.checks.examination import Examination
from data_prep.checks.findings import CODES, EXIT_CODES, Finding, Severity, in_order
from data_prep.checks.pairs import Measure

# Findings of one kind that a terminal and a page show; JSON has all of them.
SHOWN = 20
# Scenes that a terminal lists for a split.
_SCENES = 6


class Report:
    """The findings of an examination in order, with paths below the folder that was examined.

    Args:
        path: What was examined.
        examination: What was found.
    """

    def __init__(self, path: str, examination: Examination) -> None:
        self.path = path
        self.examination = examination
        self.decibels = sets.decibels(examination.measures)
        self.findings = in_order(
            Finding(
                f.code, self._short(f.file), _plain(f.detail).replace(f"{path.rstrip('/')}/", "")
            )
            for f in examination.findings
        )

    def _short(self, path: str) -> str:
        root = self.path.rstrip("/")
        return "." if path.rstrip("/") == root else _plain(path.removeprefix(f"{root}/"))

    @property
    def severity(self) -> Severity:
        """The gravest severity of all findings."""
        return max((finding.severity for finding in self.findings), default=Severity.INFO)

    @property
    def exit_code(self) -> int:
        """0 without warnings and errors, 3 with warnings, 4 with errors."""
        return EXIT_CODES[self.severity]

    @property
    def by_severity(self) -> dict[Severity, int]:
        """How many findings there are of each severity, the gravest first."""
        counts = Counter(finding.severity for finding in self.findings)
        return {severity: counts[severity] for severity in sorted(Severity, reverse=True)}

    @property
    def groups(self) -> dict[str, list[Finding]]:
        """The findings by code, the gravest codes first."""
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.code, []).append(finding)
        return found

    @property
    def verdict(self) -> str:
        """One sentence: how many errors, warnings and remarks there are."""
        many = ", ".join(
            f"{count} {severity.name.lower()}{'' if count == 1 else 's'}"
            for severity, count in self.by_severity.items()
            if count
        )
        return f"{many or 'nothing'} found"

    def worst(self, count: int) -> list[Measure]:
        """Returns the pairs to look at first: those with findings, then the strongest blur."""
        paired = [(m.psnr, m) for m in self.examination.measures if m.psnr is not None]
        paired.sort(key=lambda pair: (-_gravity(pair[1]), pair[0], pair[1].key))
        return [measure for _, measure in paired[:count]]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values: everything but pictures."""
        found = self.examination
        return {
            "format": 1,
            "path": self.path,
            "kind": found.kind,
            "source": found.source,
            "layout": found.layout,
            "files": found.files,
            "splits": {
                name: {"pairs": sum(scenes.values()), "scenes": scenes}
                for name, scenes in found.splits.items()
            },
            "pairs": found.pairs,
            "examined": found.examined,
            "notes": found.notes,
            "severity": self.severity.name.lower() if self.findings else "none",
            "exit_code": self.exit_code,
            "counts": {code: len(group) for code, group in self.groups.items()},
            "findings": [
                {
                    "severity": finding.severity.name.lower(),
                    "code": finding.code,
                    "file": finding.file,
                    "detail": finding.detail,
                    "meaning": CODES[finding.code].meaning,
                    "cure": CODES[finding.code].cure,
                }
                for finding in self.findings
            ],
            "psnr": self.decibels,
            "shift": _spread([math.hypot(*m.shift) for m in found.measures if m.shift]),
            "softening": _spread([m.softening for m in found.measures if m.softening is not None]),
            "brightness": _spread(
                [m.brightness for m in found.measures if m.brightness is not None]
            ),
            "tone": _spread([m.tone for m in found.measures if m.tone is not None]),
        }

    def to_text(self) -> str:
        """Returns what is printed."""
        found = self.examination
        lines = [f"{self.path}: {found.kind} data set"]
        lines += [f"Layout: {found.layout}."] if found.layout else []
        lines.append("Files: " + ", ".join(f"{n} {kind}" for kind, n in found.files.items()) + ".")
        for name, scenes in found.splits.items():
            listed = ", ".join(
                f"{scene} {count}" for scene, count in list(scenes.items())[:_SCENES]
            )
            more = f", and {len(scenes) - _SCENES} more" if len(scenes) > _SCENES else ""
            lines.append(
                f"  {name:5} {sum(scenes.values()):7,} in {len(scenes):,} scenes: {listed}{more}"
            )
        lines += [f"Note: {note}" for note in found.notes]
        lines += self._blur()
        for code, group in self.groups.items():
            kind = CODES[code]
            lines += ["", f"{kind.severity.name.lower()} [{code}] {kind.meaning}"]
            for finding in group[:SHOWN]:
                lines.append(
                    f"    {finding.file}" + (f": {finding.detail}" if finding.detail else "")
                )
            if len(group) > SHOWN:
                lines.append(f"    and {len(group) - SHOWN} more (--json lists all)")
            lines += [f"    What to do: {kind.cure}"] if kind.cure else []
        lines += ["", f"{self.path}: {self.verdict}."]
        return "\n".join(lines)

    def _blur(self) -> list[str]:
        values = self.decibels
        if not values:
            return []
        lines = [
            f"Blurred halves against sharp ones, {values['pairs']:,} pairs: PSNR "
            f"{values['mean']:.2f} dB on average, {values['min']:.2f} to {values['max']:.2f}, "
            f"deviation {values['std']:.2f}."
        ]
        edges, counts = values["histogram"]["edges"], values["histogram"]["counts"]
        most = max(counts)
        for first, last, count in zip(edges, edges[1:], counts, strict=False):
            bar = "#" * -(-40 * count // most)
            lines.append(f"  {first:3} to {last:3} dB {count:7,} {bar}".rstrip())
        return lines


def _plain(text: str) -> str:
    # A name that is no UTF-8 holds what can neither be printed nor written.
    return text.encode("utf-8", "backslashreplace").decode()


def _gravity(measure: Measure) -> int:
    return max((CODES[code].severity + 1 for code in measure.codes), default=0)


def _spread(values: list[float]) -> dict[str, float]:
    """Returns least, middle and most of some numbers."""
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "min": ordered[0],
        "median": ordered[len(ordered) // 2],
        "max": ordered[-1],
        "count": len(ordered),
    }
