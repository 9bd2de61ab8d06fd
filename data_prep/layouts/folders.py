"""Looking into folders: what is in them, and what to say where it is not what was expected."""

from collections.abc import Callable, Iterable

from data_prep import images
from data_prep.layouts import faults
from tfdeblur.errors import DataError


def list_names(path: str) -> list[str]:
    """Returns the names of what lies in a folder, sorted.

    Raises:
        DataError: A name is no UTF-8 text, which records cannot hold.
    """
    from tfdeblur.io import files

    return _checked(files.list_dir, path)


def walk_files(path: str) -> list[str]:
    """Returns all files below a folder as paths relative to it, sorted; see `list_names`."""
    from tfdeblur.io import files

    return _checked(files.walk_files, path)


def _checked(look: Callable[[str], list[str]], path: str) -> list[str]:
    # TensorFlow's lists fail at such a name; Python's carry it along.
    try:
        names = look(path)
        for name in names:
            name.encode()
    except UnicodeError as error:
        raw = getattr(error, "object", b"")
        whole = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogateescape")
        raise DataError(
            f"{path} holds a file whose name is no UTF-8 text, "
            f"{whole.decode('utf-8', 'backslashreplace')}: rename it, for names are stored in the "
            "records."
        ) from error
    return names


def sub_folders(path: str) -> list[str]:
    """Returns the names of the folders in a folder, sorted."""
    from tfdeblur.io import files

    return [name for name in list_names(path) if files.is_dir(files.join(path, name))]


def pictures(path: str) -> list[str]:
    """Returns the names of the pictures in a folder, sorted; hidden files are left out."""
    return [name for name in list_names(path) if images.is_picture(name)]


def stem(name: str) -> str:
    """Returns the name of a picture without its ending."""
    return name.rsplit(".", 1)[0] if images.is_picture(name) else name


def by_stem(folder: str, names: Iterable[str]) -> dict[str, str]:
    """Returns the pictures of a folder by their names without ending.

    Raises:
        DataError: Two pictures differ in their ending only.
    """
    from tfdeblur.io import files

    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(stem(name), name)
        if other != name:
            said = (
                f"{files.join(folder, other)} and {files.join(folder, name)} have the same name "
                "but for the ending. Rename one, or remove it if they are the same photograph."
            )
            faults.report(faults.Fault("same-name", files.join(folder, name), said))
    return found


def seen(path: str) -> str:
    """Returns what a folder holds, in words, for messages."""
    from tfdeblur.io import files

    names = list_names(path) if files.is_dir(path) else []
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) or "nothing") + more


def unrecognized(path: str, expected: str, flag: str = "source") -> DataError:
    """Returns the error for a folder that is not laid out as it should be."""
    from tfdeblur.io import files

    if not files.is_dir(path):
        return DataError(f"--{flag} {path} is not a folder. Expected {expected}.")
    return DataError(f"{path} is not laid out as expected. Expected {expected}; saw {seen(path)}.")
