"""Restored frames on disk until their video is complete, so that a killed command resumes.

They are stored without loss in a hidden folder beside the video, and go to the encoder as if they
had just been restored: the video is the same as without the interruption.
"""

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tqdm

from tfdeblur.errors import UserError
from tfdeblur.io import files

MAX_BYTES = 20 * 2**30
"""Frames beyond this size in total are not kept."""

_IDENTITY = "identity.json"


class KeptFrames:
    """The restored frames of one video.

    Args:
        out: Path of the video.
        identity: What the frames depend on, such as the digest of the source and the network;
            frames of another identity are removed. JSON values.
        max_bytes: See `MAX_BYTES`.

    Raises:
        UserError: The folder cannot be written, or holds files that this class did not write.
    """

    def __init__(self, out: str, identity: Mapping[str, Any], max_bytes: int = MAX_BYTES) -> None:
        self.folder = files.join(files.parent(out), f".{files.base_name(out)}.frames")
        self._room: float = max_bytes
        given = json.dumps(identity, sort_keys=True).encode()
        path = files.join(self.folder, _IDENTITY)
        known = files.read_bytes(path) if files.exists(path) else None
        if known is None and files.is_dir(self.folder):
            # Numbered frames without their identity are what a kill during `remove` leaves.
            others = [name for name in files.walk_files(self.folder) if not _is_number(name)]
            if others:
                raise UserError(
                    f"Restored frames are kept in {self.folder} until the video is complete, but "
                    f"there are other files in it, such as {others[0]}. Move or delete that "
                    "folder, or choose another output."
                )
        if known != given:
            files.remove_tree(self.folder)
            files.make_dirs(self.folder)
            files.write_bytes(path, given)

    def read(self, first: int, like: np.ndarray) -> np.ndarray | None:
        """Returns kept frames.

        Args:
            first: Number of the first frame.
            like: The frames before restoration, [B, H, W, 3].

        Returns:
            Frames of that shape and dtype, or None if they were not kept or are damaged.
        """
        path = self._path(first)
        if not files.exists(path):
            return None
        try:
            content = zlib.decompress(files.read_bytes(path))
        except zlib.error:
            return None
        if len(content) != like.nbytes:
            return None
        self._room -= files.size(path)
        differences = np.frombuffer(content, like.dtype).reshape(like.shape)
        return np.cumsum(differences, axis=2, dtype=like.dtype)

    def keep(self, first: int, frames: np.ndarray) -> None:
        """Stores frames [B, H, W, 3] if there is room; a full disk only ends the keeping."""
        if self._room <= 0:
            return
        # Neighbors are similar; integers wrap around in both directions.
        differences = np.diff(frames, axis=2, prepend=frames.dtype.type(0))
        content = zlib.compress(differences.tobytes(), 1)
        self._room -= len(content)
        if self._room > 0:
            try:
                files.write_bytes(self._path(first), content)
            except UserError as error:
                self._room = -math.inf
                tqdm.tqdm.write(f"warning: frames are no longer kept for a resume: {error}")

    def remove(self) -> None:
        """Removes all frames."""
        files.remove_tree(self.folder)

    def _path(self, first: int) -> str:
        return files.join(self.folder, f"{first:012d}")


def _is_number(name: str) -> bool:
    # A frame that was being written has a hidden name.
    return name.isdecimal() or files.is_hidden(name)
