"""Which source's layout a folder has, and everything in it that the source stumbles over."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from data_prep.checks.findings import Finding
from data_prep.layouts import faults
from data_prep.layouts.pairs import PairSource
from data_prep.sources import REGISTRY
from data_prep.sources.source import Item, Listing
from tfdeblur.config import settings
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import files

# These read almost any folder, so they are asked after those that know one data set.
_LAST = ("pairs", "frames", "sharp")


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is known of a raw set before its pixels are looked at.

    Attributes:
        source: Name of the source that reads it; empty where none does.
        options: The options it is read with.
        words: The layout in words.
        splits: The frames of each split.
        paired: Whether the halves of pairs are both files.
        findings: What is wrong with the layout.
        suspects: Files that a listing could not read, which are to be looked at.
        notes: What the source says besides, and what else the folder may be.
    """

    source: str = ""
    options: Any = None
    words: str = ""
    splits: Mapping[str, tuple[Item, ...]] = dataclasses.field(default_factory=dict)
    paired: bool = False
    findings: tuple[Finding, ...] = ()
    suspects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def items(self) -> list[tuple[str, Item]]:
        """All frames with their splits."""
        return [(split, item) for split, items in self.splits.items() for item in items]


def recognize(root: str) -> list[tuple[str, dict[str, Any]]]:
    """Returns the sources that recognize a layout, best first, with the options for it.

    A source takes part if its module has a function `recognize`.
    """
    names = REGISTRY.names()
    first = [name for name in names if name not in _LAST]
    found: list[tuple[str, dict[str, Any]]] = []
    for name in (*first, *(name for name in _LAST if name in names)):
        ask = getattr(REGISTRY.load(name), "recognize", None)
        # Once something specific has answered, what reads anything need not be asked.
        if ask is not None and not (found and name in _LAST):
            found += [(name, options) for options in ask(root)]
    return found


def read(root: str, source: str | None, given: Mapping[str, Any]) -> Layout:
    """Lists what lies in a folder, going on after what is wrong.

    Args:
        root: The folder, archive or video.
        source: Name of the source; None finds it.
        given: Options of a source that is named; one that is found is read by what it recognizes.

    Raises:
        ConfigError: The options do not fit the source.
    """
    found = recognize(root)
    notes: list[str] = []
    if source is None:
        if not found:
            known = ", ".join(
                name for name in REGISTRY.names() if hasattr(REGISTRY.load(name), "recognize")
            )
            said = f"It holds: {_seen(root)}. Layouts that are recognized: {known}."
            return Layout(findings=(Finding("layout-unknown", root, said),))
        source, options = found[0]
        for name, other in found[1:]:
            more = " ".join(
                f"--{key} {value}" for key, value in other.items() if options.get(key) != value
            )
            notes.append(f"Besides, this is a set for --source {name} {more}".rstrip() + ".")
        if source == "sharp":
            notes.append(
                "No layout of pairs was recognized: the pictures are taken for sharp photographs "
                "whose blur is yet to be made (--source sharp; or, for clips, frames)."
            )
    else:
        options = {**given, **_place(root, source, given)}
    options_class = REGISTRY.options(source)
    made = settings.validate(options_class, options)
    built = REGISTRY.load(source).build(made)
    findings = []
    listing = Listing({})
    with faults.collecting() as reported:
        try:
            listing = built.listing()
        except ConfigError:
            raise
        except DataError as error:
            findings.append(Finding("layout-faulty", root, str(error)))
    findings += [Finding(f.kind, f.file, f.message) for f in reported if f.kind != "unreadable"]
    return Layout(
        source=source,
        options=made,
        words=listing.layout or f"source {source}",
        splits={split: items for split, items in listing.splits.items() if items},
        paired=isinstance(built, PairSource),
        findings=tuple(findings),
        suspects=tuple(f.file for f in reported if f.kind in ("unreadable", "size-differs")),
        notes=(*listing.notes, *notes),
    )


def _place(root: str, source: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that say where a source that was named finds the set."""
    if "source" not in {field.name for field in dataclasses.fields(REGISTRY.options(source))}:
        raise ConfigError(f"--source {source} makes its own pictures: there is nothing to examine.")
    if source != "pairs":
        return {"source": root}
    halves = {
        key: _half(root, given[key], f"--{key}") for key in ("blurred", "sharp") if given.get(key)
    }
    if halves:
        return halves
    if given.get("blurred_name") or given.get("sharp_name"):
        return {"source": root}
    usual = REGISTRY.load(source).recognize(root)
    return dict(usual[0]) if usual else {"source": root}


def _half(root: str, name: str, flag: str) -> str:
    """Returns a folder of one half: below PATH, or as the build takes it."""
    places = (files.join(root, name), name)
    for place in places:
        if files.is_dir(place):
            return place
    raise ConfigError(
        f"{flag} {name}: there is no such folder, nor {places[0]}. Give it as a path, or as it is "
        "called below the folder that is examined."
    )


def _seen(root: str) -> str:
    from data_prep.layouts.folders import seen

    return seen(root)
