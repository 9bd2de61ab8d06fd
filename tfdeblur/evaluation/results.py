"""Reads the scores that evaluations have written, to set them side by side."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfdeblur.config import CONFIG_FILE, recipes, settings
from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.scores import BLURRED, CONVERTED, FULL_FILES, QUICK_FILES, RESTORED
from tfdeblur.io import files
from tfdeblur.metrics import METRICS
from tfdeblur.registry import did_you_mean

CARDS = (FULL_FILES.json, QUICK_FILES.json)
FRAME_CARDS = (f"{FULL_FILES.frames}.json", f"{QUICK_FILES.frames}.json")
EVALUATIONS = "evaluation"


def find_evaluation(path: str, name: str = "", cards: Sequence[str] = CARDS) -> str:
    """Finds the folder of an evaluation.

    Args:
        path: A work directory, a folder of an evaluation, or one of its JSON files.
        name: Folder inside `evaluation` of the work directory, such as `gopro-test`; required if
            there are several.
        cards: Names of the JSON files, one of which the folder must hold.

    Raises:
        UserError: There is none, or there are several.
    """
    path = path.rstrip("/")
    if files.base_name(path) in cards:
        path = files.parent(path) or "."

    def complete(folder: str) -> bool:
        return any(files.exists(files.join(folder, card)) for card in cards)

    if complete(path):
        return path
    root = files.join(path, EVALUATIONS)
    inside = files.list_dir(root) if files.is_dir(root) else []
    found = [part for part in inside if complete(files.join(root, part))]
    chosen = [part for part in found if part == name] if name else found
    if len(chosen) == 1:
        return files.join(root, chosen[0])
    full = list(cards) == [FULL_FILES.json]
    if not chosen:
        have = f" It was evaluated on {', '.join(found)}." if found else ""
        raise UserError(
            f"{path} holds no {'full score card' if full else 'evaluation'}"
            f"{f' of {name}' if name else ''}.{have} Run "
            f"`python -m tfdeblur.evaluate{' --full' if full else ''}` first."
        )
    raise UserError(
        f"{path} was evaluated on {', '.join(chosen)}. Choose one with --data and --split, or name "
        "its folder."
    )


def evaluations_of(path: str) -> dict[str, str]:
    """Returns the folders of all evaluations of a run by name, such as `gopro-test`.

    Args:
        path: A work directory, or a folder with folders of evaluations.

    Raises:
        UserError: There is none.
    """
    inner = files.join(path, EVALUATIONS)
    root = inner if files.is_dir(inner) else path
    found = {
        name: files.join(root, name)
        for name in (files.list_dir(root) if files.is_dir(root) else [])
        if any(files.exists(files.join(root, name, card)) for card in CARDS)
    }
    if not found:
        raise UserError(f"{path} holds no evaluation. Run `python -m tfdeblur.evaluate` first.")
    return found


def check_metrics(names: Sequence[str]) -> None:
    """Raises a UserError that names the nearest known metric of an unknown one."""
    for name in names:
        if name not in METRICS:
            raise UserError(f"metrics: unknown metric {name!r}.{did_you_mean(name, METRICS)}")


def unique_labels(names: Sequence[str], labels: Sequence[str] = ()) -> list[str]:
    """Returns a unique name for each run: as given, else numbered if several have the same.

    Raises:
        UserError: Their number is not that of the runs.
    """
    if labels and len(labels) != len(names):
        raise UserError(f"labels: {len(labels)} names for {len(names)} runs. Give one for each.")
    names = list(labels or names)
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


@dataclasses.dataclass(frozen=True)
class Result:
    """Means of one network on one split, as an evaluation wrote them.

    Attributes:
        path: The JSON file.
        rows: Means by state and metric; NaN for undefined ones.
        about: Everything else in the file, such as `data`, `split` and `images`.
    """

    path: str
    rows: Mapping[str, Mapping[str, float]]
    about: Mapping[str, Any]

    @classmethod
    def load(cls, folder: str, names: Sequence[str] = CARDS) -> "Result":
        """Reads the first of some JSON files that a folder of an evaluation holds.

        Raises:
            UserError: It cannot be read.
            DataError: It is not a result of this library.
        """
        paths = [files.join(folder, name) for name in names]
        path = next((path for path in paths if files.exists(path)), paths[0])
        stored = files.read_json(path)
        try:
            rows = {
                state: {key: math.nan if v is None else float(v) for key, v in row.items()}
                for state, row in stored["rows"].items()
            }
            about = {"images": int(stored["images"]), "differing": int(stored["differing"])}
            about |= {key: value for key, value in stored.items() if key not in about}
            if RESTORED not in rows or BLURRED not in rows:
                raise ValueError("rows")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path} is not a result of tfdeblur.evaluate. Evaluate the run again."
            ) from error
        return cls(path, rows, about)

    @property
    def network(self) -> str:
        """Name of the run, or of the file of the network."""
        return files.base_name(str(self.about.get("from", "")).rstrip("/")) or "network"

    @property
    def states(self) -> list[str]:
        """The states of the network that were measured."""
        return [state for state in (RESTORED, CONVERTED) if state in self.rows]

    def same_images(self) -> tuple[Any, ...]:
        """Returns what is equal for results of the same images."""
        about = self.about
        fingerprint = about.get("data_fingerprint") or about.get("data")
        return (fingerprint, about.get("split"), about["images"], about["differing"])

    def recipe(self) -> recipes.Recipe | None:
        """Returns the recipe of the run if this version has it."""
        name = self.about.get("recipe")
        config = files.join(str(self.about.get("from", "")).rstrip("/") or ".", CONFIG_FILE)
        if name is None and files.exists(config):  # earlier versions did not record it
            name = settings.parse_yaml(files.read_text(config), config).get("recipe")
        return recipes.load(name) if name in recipes.names() else None
