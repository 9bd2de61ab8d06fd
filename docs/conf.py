"""The documentation site: guides of this folder, and pages of the sources' docstrings.

`make docs` builds it with warnings as errors. The sources are read and never imported, so neither
TensorFlow nor Keras is needed.
"""

import ast
import pathlib
import re
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "tfdeblur/_version.py").read_text("utf-8"))
assert VERSION

project = "tfdeblur"
author = "The authors of tfdeblur"
release = VERSION[1]
html_title = f"tfdeblur {release}"
html_theme = "furo"
html_copy_source = False
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.napoleon", "autoapi.extension"]
exclude_patterns = ["requirements.txt"]
# Markdown's habit in docstrings: `name` is code.
default_role = "code"
# Annotations are looked up by the end of a name, which two modules may share.
# Constants that are assigned together are not seen where another module imports them.
suppress_warnings = ["ref.python", "autoapi.python_import_resolution"]
myst_heading_anchors = 3

autoapi_dirs = [str(ROOT / "tfdeblur"), str(ROOT / "data_prep")]
autoapi_root = "reference"
autoapi_options = ["members", "show-module-summary"]
autoapi_own_page_level = "module"
autoapi_member_order = "bysource"
autoapi_add_toctree_entry = False
autoapi_keep_files = False

# Documents of the repository's root that are pages here, by the name of the page.
PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "adding.md",
}

LIMITS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}


def from_here(app: Any, parent: Any, document: str, content: list[str]) -> None:
    """Turns links of an included document, which lead from the root, into links from here."""

    def link(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if target in PAGES:
            return f"[{text}]({PAGES[target]})"
        if target.startswith("docs/"):
            return f"[{text}]({target.removeprefix('docs/')})"
        return f"`{text}`"  # a file of the repository, which is no page

    content[0] = re.sub(r"\[([^]]+)\]\((?![a-z]+:|#)([^)]+)\)", link, content[0])


def leave_out(app: Any, kind: str, name: str, member: Any, skip: bool, options: Any) -> bool:
    """Leaves out what is private; settings are described in a sentence, not by their annotation."""
    if kind == "attribute" and member.obj.get("annotation") and describe_setting(member):
        skip = False
    return skip or any(part.startswith("_") for part in name.split("."))


def describe_setting(member: Any) -> bool:
    """Takes type and description out of `Annotated[type, Field(description=...)]`, if it is one."""
    annotation = ast.parse(member.obj["annotation"], mode="eval").body
    if not (isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated"):
        return False
    assert isinstance(annotation.slice, ast.Tuple)
    plain, *notes = annotation.slice.elts
    member.annotation = ast.unparse(plain)
    for call in notes:
        if isinstance(call, ast.Call):
            found = {word.arg: word.value for word in call.keywords}
            described = found.pop("description", None)
            text = words(described)
            limits = [f"{LIMITS[name]} {words(found[name])}" for name in LIMITS if name in found]
            in_brackets = f" ({', '.join(limits)})" if limits else ""
            member.docstring = re.sub(r"([*`|_])", r"\\\1", text + in_brackets)
    return True


def words(node: ast.expr | None) -> str:
    """Returns the text of a description as it is written in the source."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part) for part in node.values)
    return ast.unparse(node.value if isinstance(node, ast.FormattedValue) else node) if node else ""


def escape(app: Any, kind: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Keeps |x| and [*size, 3] of docstrings from being taken for markup."""
    for place, line in enumerate(lines):
        parts = re.split("(`[^`]*`)", line)
        parts[::2] = [re.sub(r"(\||(?<![\w*])\*(?=\w)(?![^*]*\*))", r"\\\1", x) for x in parts[::2]]
        lines[place] = "".join(parts)


def setup(app: Any) -> None:
    """Tells Sphinx of the functions above."""
    app.connect("include-read", from_here)
    app.connect("autoapi-skip-member", leave_out)
    app.connect("autodoc-process-docstring", escape, priority=400)  # ahead of napoleon
