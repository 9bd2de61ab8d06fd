"""Video files: the names and the containers that are read, wherever a file comes from."""

_CONTAINERS = {
    "avi": ".avi",
    "matroska,webm": ".mkv .webm",
    "mov,mp4,m4a,3gp,3g2,mj2": ".mp4 .m4v .mov .3gp",
    "mpeg,mpegvideo": ".mpg .mpeg .vob",
    "mpegts": ".ts .mts .m2ts",
    "flv": ".flv",
    "asf": ".wmv .asf",
    "ogg": ".ogv",
}
"""FFmpeg's names of each container that is opened, and its usual suffixes.

All hold their streams themselves. FFmpeg also opens playlists and scripts, whatever their suffix,
and these open other files and hosts.
"""

FORMATS = ",".join(_CONTAINERS)
"""FFmpeg's names of the containers that are opened, whatever the suffix of a file."""

SUFFIXES = tuple(" ".join(_CONTAINERS.values()).split())
"""Suffixes by which a file is a video, given by name or found in a folder."""

MAX_PIXELS = 1 << 26
"""Pixels of a frame, at most: twice those of 8K. A decoder allocates what a header claims."""


def is_video(path: str) -> bool:
    """Returns whether a file is a video, by its name."""
    return path.lower().endswith(SUFFIXES)
