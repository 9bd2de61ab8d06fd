"""Lists folders, and describes folders that do not have the expected layout."""

from collections.abc import Callable, Iterable

from data_prep import images
from data_prep.faults import Fault, report
from tfdeblur.errors import DataError
from tfdeblur.io import files


def list_names(path: str) -> list[str]:
    """Returns the names of the entries of a folder, sorted.

    Raises:
        DataError: A name is not UTF-8, which records cannot store.
    """
    return _checked(files.list_dir, path)


def walk_files(path: str) -> list[str]:
    """Returns all files below a folder as relative paths, sorted, without those in hidden folders.

    Raises:
        DataError: See `list_names`.
    """
    found = _checked(files.walk_files, path)
    return [name for name in found if not files.is_hidden(files.parent(name))]


def _checked(list_folder: Callable[[str], list[str]], path: str) -> list[str]:
    # TensorFlow raises on such a name; Python passes it on with surrogates.
    try:
        names = list_folder(path)
        for name in names:
            name.encode()
    except UnicodeError as error:
        raw = getattr(error, "object", b"")
        whole = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogateescape")
        raise DataError(
            f"{path} contains a file whose name is not UTF-8, "
            f"{whole.decode('utf-8', 'backslashreplace')}. Rename it, because records store names."
        ) from error
    return names


def sub_folders(path: str) -> list[str]:
    """Returns the names of the folders in a folder, sorted, without hidden ones."""
    return [
        name
        for name in list_names(path)
        if not name.startswith(".") and files.is_dir(files.join(path, name))
    ]


def pictures(path: str) -> list[str]:
    """Returns the names of the images in a folder, sorted, without hidden files."""
    return [name for name in list_names(path) if images.is_picture(name)]


def stem(name: str) -> str:
    """Returns the name of an image without its extension."""
    return name.rsplit(".", 1)[0] if images.is_picture(name) else name


def by_stem(folder: str, names: Iterable[str]) -> dict[str, str]:
    """Returns the images of a folder by their names without extension.

    Raises:
        DataError: Two images differ only in their extension.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(stem(name), name)
        if other != name:
            path = files.join(folder, name)
            message = (
                f"{files.join(folder, other)} and {path} differ only in their extension. Rename "
                "one, or remove it if both are the same photograph."
            )
            report(Fault("bad-name", path, message))
    return found


def contents(path: str) -> str:
    """Returns a summary of the entries of a folder, for messages."""
    names = list_names(path) if files.is_dir(path) else []
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) or "nothing") + more


def skipped(folders: Iterable[str]) -> list[str]:
    """Returns a note that lists folders a source does not read; none if there are none."""
    names = sorted(folders)
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return [f"Folders that were not read: {', '.join(names[:8])}{more}."] if names else []


def unrecognized(path: str, expected: str, flag: str = "source") -> DataError:
    """Returns the error for a folder that does not have the expected layout."""
    if not files.is_dir(path):
        return DataError(f"--{flag} {path} is not a folder. Expected {expected}.")
    return DataError(f"{path} has an unknown layout. Expected {expected}; found {contents(path)}.")
