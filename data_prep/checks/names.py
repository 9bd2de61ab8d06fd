"""Names and links below a folder: what will not travel, what leads in a circle."""

import dataclasses
import os
import unicodedata

from data_prep import images
from data_prep.checks.findings import Finding
from tfdeblur.errors import UserError


@dataclasses.dataclass(frozen=True)
class Tree:
    """What lies below a folder.

    Attributes:
        pictures: Paths of all files with the name of a picture, sorted.
        others: How many other files there are, hidden ones left out.
        findings: What is wrong with names and links.
    """

    pictures: tuple[str, ...]
    others: int
    findings: tuple[Finding, ...]


def survey(root: str) -> Tree:
    """Walks through all folders below `root`, following links to folders but not upward.

    Object stores have neither links nor capital letters that clash, so there only the names of
    files are looked at.

    Raises:
        UserError: A folder cannot be listed.
    """
    if "://" in root:
        from tfdeblur.io import files

        names = files.walk_files(root)
        found = [f for name in names for f in _check_name(files.join(root, name))]
        kept = [files.join(root, name) for name in names if images.is_picture(name)]
        return Tree(tuple(kept), len(names) - len(kept), tuple(found))
    pictures: list[str] = []
    findings: list[Finding] = []
    others = 0
    waiting: list[tuple[str, tuple[str, ...]]] = [(root, (os.path.realpath(root),))]
    while waiting:
        folder, way = waiting.pop()
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise UserError(f"{folder} cannot be listed: {error.strerror}.") from error
        visible = [name for name in names if not name.startswith(".")]
        findings += _clashes(folder, visible)
        for name in visible:
            path = os.path.join(folder, name)
            findings += _check_name(path)
            if os.path.isdir(path):
                target = os.path.realpath(path)
                if target in way:
                    findings.append(Finding("link-loop", path, f"It leads to {target}."))
                else:
                    waiting.append((path, (*way, target)))
                if not images.is_picture(name):
                    continue
            if images.is_picture(name):
                pictures.append(path)
            else:
                others += 1
    return Tree(tuple(sorted(pictures)), others, tuple(findings))


def _check_name(path: str) -> list[Finding]:
    name = path.rsplit("/", 1)[-1]
    if name.isascii():
        return []
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "backslashreplace").decode()
        folder = path.rsplit("/", 1)[0]
        return [Finding("name-not-utf8", f"{folder}/{shown}")]
    return [Finding("name-not-ascii", path)]


def _clashes(folder: str, names: list[str]) -> list[Finding]:
    """Finds names of one folder that other file systems hold to be the same."""
    first: dict[str, str] = {}
    found = []
    for name in names:
        plain = unicodedata.normalize("NFC", name).casefold()
        other = first.setdefault(plain, name)
        if other != name:
            path = os.path.join(folder, name)
            found.append(Finding("case-clash", path, f"It clashes with {other}."))
    return found
