"""A headless browser for tests of pages, if the machine has one."""

import pathlib
import re
import shutil
import subprocess

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def dom_after(page: str, script: str, folder: pathlib.Path) -> str:
    """Opens a page, runs a script in it, and returns its DOM as HTML.

    Skips the test if there is no browser.

    Args:
        page: Path of the HTML file.
        script: JavaScript that runs after that of the page.
        folder: Folder for a copy of the page and the browser's profile.
    """
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(_NAMES)} is on the path")
    copy = folder / "page.html"
    text = pathlib.Path(page).read_text(encoding="utf-8")
    tail = f"<script>{script}</script></body>"
    # A function, because `re.sub` would interpret backslashes in a text.
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
