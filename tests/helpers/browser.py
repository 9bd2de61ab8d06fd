"""A headless browser for tests of pages, where the machine has one."""

import pathlib
import re
import shutil
import subprocess

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def dom_after(page: str, script: str, folder: pathlib.Path) -> str:
    """Opens a page from its file, runs a script in it, and returns the page as it is then.

    Args:
        page: Path of the HTML file.
        script: JavaScript that is run after the page's own.
        folder: For the copy of the page and the browser's profile.
    """
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(_NAMES)} is on the path")
    copy = folder / "page.html"
    text = pathlib.Path(page).read_text(encoding="utf-8")
    # A function for the replacement, as a script may hold backslashes.
    tail = f"<script>{script}</script></body>"
    copy.write_text(re.sub("</body>", lambda _: tail, text), encoding="utf-8")
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=4000",
            "--dump-dom",
            copy.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout
