"""Video files: the names and the containers that are read, wherever a file comes from."""

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts")
"""Suffixes searched for in folders."""

FORMATS = "avi,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo"
"""FFmpeg's names of the containers that are opened.

All hold their streams themselves. FFmpeg also opens playlists and scripts, whatever their suffix,
and these open other files and hosts.
"""

MAX_PIXELS = 1 << 26
"""Pixels of a frame, at most: twice those of 8K. A decoder allocates what a header claims."""


def is_video(path: str) -> bool:
    """Returns whether a file is a video, by its name."""
    return path.lower().endswith(SUFFIXES)
