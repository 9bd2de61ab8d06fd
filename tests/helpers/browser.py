"""A headless browser for tests of pages, if the machine has one."""

import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import time
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 300.0


def require_browser() -> str:
    """Returns the path of a browser; skips the test if there is none."""
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(_NAMES)} is on the path")
    return browser


def dom_after(page: str, script: str, folder: pathlib.Path) -> str:
    """Opens a page, runs a script in it, and returns its DOM as HTML.

    Skips the test if there is no browser.

    Args:
        page: Path of the HTML file, or an address that begins with ``http://``.
        script: JavaScript that runs after that of the page. In a file it has four seconds, in which
            timers do not wait; at an address, the promise that is its value is awaited.
        folder: Folder for a copy of the file and the browser's profile.
    """
    command = [
        require_browser(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        # Nothing is asked of other machines, which may not be in reach.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={folder / 'profile'}",
    ]
    if page.startswith("http://"):
        return _dom_at(page, script, command, folder)
    copy = folder / "page.html"
    text = pathlib.Path(page).read_text(encoding="utf-8")
    tail = f"<script>{script}</script></body>"
    # A function, because `re.sub` would interpret backslashes in a text.
    copy.write_text(re.sub("</body>", lambda _: tail, text), encoding="utf-8")
    done = subprocess.run(
        [*command, "--virtual-time-budget=4000", "--dump-dom", copy.as_uri()],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    return done.stdout


def _dom_at(address: str, script: str, command: list[str], folder: pathlib.Path) -> str:
    """Opens an address, whose page cannot be copied, and runs a script in it."""
    # The browser reads its commands from descriptor 3 and answers on 4. Not every shell takes
    # larger numbers, such as those of new pipes.
    shell = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null'
    words = ["sh", "-c", shell, "sh", *command, "--remote-debugging-pipe", "about:blank"]
    with (
        (folder / "browser.log").open("wb") as log,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
        ) as process,
    ):
        browser = _Browser(process)
        try:
            browser.open(address)
            browser.evaluate(script)
            return str(browser.evaluate("document.documentElement.outerHTML"))
        finally:
            process.kill()


class _Refused(Exception):
    """A call that the browser answers with an error."""


class _Browser:
    """Calls of the Chrome DevTools Protocol, over the pipes of a browser.

    Args:
        process: A browser that reads calls from its input and writes answers to its output.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._session: dict[str, str] = {}
        self._calls = 0
        self._received = b""
        self._end = time.monotonic() + _SECONDS

    def open(self, address: str) -> None:
        """Opens a tab and waits until its page is complete."""
        target = self._call("Target.createTarget", url=address)["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        loaded = f"document.readyState === 'complete' && location.href === {json.dumps(address)}"
        while not self._is_true(loaded):
            time.sleep(0.05)

    def evaluate(self, script: str) -> Any:
        """Runs JavaScript and returns its value, that of a promise once it is settled."""
        options = {"awaitPromise": True, "returnByValue": True}
        answer = self._call("Runtime.evaluate", expression=script, **options)
        if "exceptionDetails" in answer:
            raise AssertionError(f"the script fails: {json.dumps(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    def _is_true(self, expression: str) -> bool:
        # There is nothing to ask while the tab changes from one page to another.
        with contextlib.suppress(_Refused):
            return self.evaluate(expression) is True
        return False

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        if time.monotonic() > self._end:
            raise TimeoutError(f"the browser takes over {_SECONDS:.0f} s")
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params, **self._session}
        self._send(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._calls:
            pass  # an event
        if "error" in answer:
            raise _Refused(f"{method}: {answer['error']}")
        found: dict[str, Any] = answer["result"]
        return found

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        while data:
            data = data[self._process.stdin.write(data) or 0 :]

    def _next(self) -> dict[str, Any]:
        """Returns the next message of the browser."""
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        while b"\0" not in self._received:
            left = max(self._end - time.monotonic(), 0.0)
            if not select.select([output], [], [], left)[0]:
                raise TimeoutError(f"the browser takes over {_SECONDS:.0f} s")
            part = os.read(output, 2**16)
            if not part:
                raise AssertionError("the browser has ended; see browser.log")
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found
