"""Compilations that were made before, kept by what was compiled, for what, and by whom."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tfdeblur.io import files

COMPILED = "compiled"


class Cache:
    """A folder of answers of the compiler.

    Args:
        folder: Where they are kept; made when the first is written.
    """

    def __init__(self, folder: str) -> None:
        self._folder = files.join(folder, COMPILED)

    def key(self, fingerprint: str, chip: str, versions: Mapping[str, str]) -> str:
        """Returns the name of an answer.

        Args:
            fingerprint: Of the HLO.
            chip: Name of the TPU generation.
            versions: Of the compiler's parts, by name.
        """
        parts = [fingerprint, chip, *(f"{name} {versions[name]}" for name in sorted(versions))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def get(self, key: str) -> dict[str, Any] | None:
        """Returns an answer; None where there is none, or one that is damaged."""
        path = self._path(key)
        if not files.exists(path):
            return None
        try:
            answer = json.loads(files.read_bytes(path))
        except ValueError:
            return None
        return answer if isinstance(answer, dict) else None

    def put(self, key: str, answer: Mapping[str, Any]) -> None:
        """Keeps an answer."""
        files.make_dirs(self._folder)
        files.write_json(self._path(key), dict(answer))

    def _path(self, key: str) -> str:
        return files.join(self._folder, f"{key}.json")
