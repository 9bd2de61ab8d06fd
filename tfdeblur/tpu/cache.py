"""Cache of the compiler's replies."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from tfdeblur.io import files

COMPILED = "compiled"


def cached_reply(
    folder: str,
    program: str,
    topology: str,
    versions: Mapping[str, str],
    compile_program: Callable[[], Mapping[str, Any]],
) -> dict[str, Any]:
    """Returns the stored reply for a program, or compiles it and stores the reply.

    Args:
        folder: Folder of the replies, in its subfolder `COMPILED`.
        program: Text of the program, without places in source files.
        topology: Such as ``v5e:2x4``.
        versions: Versions of the compiler's packages, by name.
        compile_program: Returns the reply as JSON values.
    """
    parts = [topology, *(f"{name} {versions[name]}" for name in sorted(versions)), program]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    path = files.join(folder, COMPILED, f"{key}.json")
    reply = _read(path)
    if reply is None:
        reply = dict(compile_program())
        if _is_kept(reply):
            files.make_dirs(files.parent(path))
            files.write_json(path, reply)
    return reply


def _read(path: str) -> dict[str, Any] | None:
    """Returns a reply, or None if it is missing or damaged."""
    if not files.exists(path):
        return None
    try:
        reply = json.loads(files.read_bytes(path))
    except (ValueError, RecursionError):
        return None
    return reply if isinstance(reply, dict) and _is_kept(reply) else None


def _is_kept(reply: Mapping[str, Any]) -> bool:
    """Returns whether a reply is about the program: other refusals may be due to a full disk."""
    return "refused" not in reply or bool(reply.get("no_room"))
