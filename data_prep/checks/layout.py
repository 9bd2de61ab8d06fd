"""Recognizes the layout of a raw data set, and lists it together with all its faults."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from data_prep import images
from data_prep.checks.findings import Finding
from data_prep.layouts import faults
from data_prep.layouts.folders import contents
from data_prep.layouts.pairs import PairSource
from data_prep.sources import REGISTRY
from data_prep.sources.source import Item, Listing
from tfdeblur.config import settings
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import files

# These sources read almost any folder, so they are tried after the specific ones.
_GENERIC = ("pairs", "frames", "sharp")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The listing of a raw data set.

    Attributes:
        source: Name of the source; empty if none recognizes the layout.
        options: Options of the source.
        description: Description of the layout.
        splits: Frames by split.
        paired: Whether both halves of each pair are files.
        findings: Faults of the layout.
        suspects: Files that the source could not read and that need to be examined.
        notes: Notes of the source, and other ways to read the folder.
    """

    source: str = ""
    options: Any = None
    description: str = ""
    splits: Mapping[str, tuple[Item, ...]] = dataclasses.field(default_factory=dict)
    paired: bool = False
    findings: tuple[Finding, ...] = ()
    suspects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def items(self) -> list[tuple[str, Item]]:
        """All frames with their splits."""
        return [(split, item) for split, items in self.splits.items() for item in items]


def _recognizers() -> dict[str, Any]:
    """Returns the function `recognize` of each source that has one, specific sources first."""
    names = [*(name for name in REGISTRY.names() if name not in _GENERIC), *_GENERIC]
    found = {name: getattr(REGISTRY.load(name), "recognize", None) for name in names}
    return {name: recognize for name, recognize in found.items() if recognize is not None}


def recognize(root: str) -> list[tuple[str, dict[str, Any]]]:
    """Returns the sources that recognize a layout with the options for it, best first."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, function in _recognizers().items():
        # A generic source is tried only if no other source recognizes the folder.
        if not (found and name in _GENERIC):
            found += [(name, options) for options in function(root)]
    return found


def read(root: str, source: str | None, given: Mapping[str, Any]) -> Layout:
    """Lists a raw data set, continuing after faults.

    Args:
        root: The folder, archive or video.
        source: Name of the source; None recognizes it.
        given: Options of the source, if `source` is set.

    Raises:
        ConfigError: The options do not fit the source.
    """
    notes: list[str] = []
    if source is None:
        found = recognize(root)
        if not found:
            known = ", ".join(_recognizers())
            detail = f"It contains: {contents(root)}. Known layouts: {known}."
            return Layout(findings=(Finding("layout-unknown", root, detail),))
        source, options = found[0]
        notes = _alternatives(found)
    else:
        options = {**given, **_location(root, source, given)}
    source_options = settings.validate(REGISTRY.options(source), options)
    built = REGISTRY.load(source).build(source_options)
    findings = []
    listing = Listing({})
    with faults.collecting() as reported:
        try:
            listing = built.listing()
        except ConfigError:
            raise
        except DataError as error:
            findings.append(Finding("layout-faulty", root, str(error)))
    # An unreadable image is examined by itself, which gives a more precise finding.
    unreadable = [f for f in reported if f.kind == "unreadable" and images.is_picture(f.file)]
    findings += [Finding(f.kind, f.file, f.message) for f in reported if f not in unreadable]
    return Layout(
        source=source,
        options=source_options,
        description=listing.layout or f"source {source}",
        splits={split: items for split, items in listing.splits.items() if items},
        paired=isinstance(built, PairSource),
        findings=tuple(findings),
        suspects=tuple(f.file for f in reported if f in unreadable or f.kind == "size-differs"),
        notes=(*listing.notes, *notes),
    )


def _alternatives(found: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Returns notes about other ways to read a recognized data set."""
    source, options = found[0]
    notes = []
    for name, other in found[1:]:
        flags = [f"--{key} {value}" for key, value in other.items() if options.get(key) != value]
        notes.append(f"Can also be read with {' '.join([f'--source {name}', *flags])}.")
    if source == "sharp":
        notes.append(
            "No layout of pairs was recognized: the images are treated as sharp photographs for "
            "synthetic blur (--source sharp; for clips, --source frames)."
        )
    return notes


def _location(root: str, source: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options with the location of the data set for a named source."""
    if "source" not in {field.name for field in dataclasses.fields(REGISTRY.options(source))}:
        raise ConfigError(f"--source {source} generates its images: there is nothing to examine.")
    if source != "pairs":
        return {"source": root}
    halves = {
        key: _half(root, given[key], f"--{key}") for key in ("blurred", "sharp") if given.get(key)
    }
    if halves:
        return halves
    if given.get("blurred_name") or given.get("sharp_name"):
        return {"source": root}
    common = REGISTRY.load(source).recognize(root)
    return dict(common[0]) if common else {"source": root}


def _half(root: str, name: str, flag: str) -> str:
    """Returns the folder of one half: relative to PATH, or as for a build."""
    places = (files.join(root, name), name)
    for place in places:
        if files.is_dir(place):
            return place
    raise ConfigError(
        f"{flag} {name}: neither {places[0]} nor {places[1]} is a folder. Set it to a path, or to "
        "a name below the folder that is examined."
    )
