"""Silences TensorFlow's start-up notices.

TensorFlow 2.20 and newer log some of them before they read ``TF_CPP_MIN_LOG_LEVEL``, while their
libraries are loaded, so those lines are filtered out of the stderr of the import.
"""

import contextlib
import importlib.abc
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Information and warnings, as with level 2, and the line that announces such early messages.
_NOTICES = "^(WARNING: All log messages before absl::InitializeLog|[IW][0-9]{4} )"
_WAIT_SECONDS = 5.0


def silence_tensorflow() -> None:
    """Hides information and warnings of TensorFlow's C++ code, unless the user's level has them."""
    if os.environ.setdefault(_LEVEL, "2") not in ("0", "1"):
        sys.meta_path.insert(0, _QuietImport())


class _QuietImport(importlib.abc.MetaPathFinder):
    """Filters stderr during the import of TensorFlow."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        spec = PathFinder.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_quietly(module: ModuleType) -> None:
                with _filtered_stderr():
                    execute(module)

            # The loader of this one import, not its class.
            spec.loader.exec_module = execute_quietly  # type: ignore[method-assign] # on purpose
        return spec


@contextlib.contextmanager
def _filtered_stderr() -> Iterator[None]:
    """Sends stderr through grep, which still prints the rest if this process crashes."""
    stderr = os.dup(2)
    try:
        grep = subprocess.Popen(["grep", "-Ev", _NOTICES], stdin=subprocess.PIPE, stdout=stderr)
    except OSError:
        os.close(stderr)
        yield
        return
    assert grep.stdin is not None
    os.dup2(grep.stdin.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        grep.stdin.close()
        # A child of TensorFlow may still hold the pipe.
        with contextlib.suppress(subprocess.TimeoutExpired):
            grep.wait(_WAIT_SECONDS)
