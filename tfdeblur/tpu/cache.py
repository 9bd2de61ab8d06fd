"""Cache of the compiler's replies."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tfdeblur.io import files

COMPILED = "compiled"


class Cache:
    """A folder of the compiler's replies.

    Args:
        folder: The folder, which is created by the first write.
    """

    def __init__(self, folder: str) -> None:
        self._folder = files.join(folder, COMPILED)

    def key(self, fingerprint: str, chip: str, versions: Mapping[str, str]) -> str:
        """Returns the key of a reply.

        Args:
            fingerprint: Fingerprint of the HLO.
            chip: Name of the TPU generation.
            versions: Versions of the compiler's packages, by name.
        """
        parts = [fingerprint, chip, *(f"{name} {versions[name]}" for name in sorted(versions))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def get(self, key: str) -> dict[str, Any] | None:
        """Returns a reply, or None if it is missing or damaged."""
        path = self._path(key)
        if not files.exists(path):
            return None
        try:
            reply = json.loads(files.read_bytes(path))
        except (ValueError, RecursionError):
            return None
        return reply if isinstance(reply, dict) else None

    def put(self, key: str, reply: Mapping[str, Any]) -> None:
        """Stores a reply."""
        files.make_dirs(self._folder)
        files.write_json(self._path(key), dict(reply))

    def _path(self, key: str) -> str:
        return files.join(self._folder, f"{key}.json")
