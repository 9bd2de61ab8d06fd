"""Reads the scores that evaluations have written, to set them side by side."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfdeblur.config import CONFIG_FILE, recipes, settings
from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.scores import (
    BLURRED,
    CONVERTED,
    FULL_FILES,
    QUICK_FILES,
    RESTORED,
    ScoreCard,
)
from tfdeblur.io import files
from tfdeblur.metrics import METRICS
from tfdeblur.registry import did_you_mean

CARDS = (FULL_FILES.json, QUICK_FILES.json)
FRAME_CARDS = (f"{FULL_FILES.frames}.json", f"{QUICK_FILES.frames}.json")
EVALUATIONS = "evaluation"


def evaluations_of(path: str, cards: Sequence[str] = CARDS) -> dict[str, str]:
    """Returns the folders of all evaluations of a run by name, such as `gopro-test`.

    Args:
        path: A work directory, a folder with folders of evaluations, one of those folders, or a
            JSON file in it.
        cards: Names of the JSON files, one of which the folder of an evaluation holds.

    Raises:
        UserError: There is none.
    """
    path = _folder(path, cards)
    if _is_evaluation(path, cards):
        return {files.base_name(path): path}
    inner = files.join(path, EVALUATIONS)
    root = inner if files.is_dir(inner) else path
    inside = {name: files.join(root, name) for name in _names(root)}
    found = {name: folder for name, folder in inside.items() if _is_evaluation(folder, cards)}
    if not found:
        raise UserError(f"{path} holds no {_sought(cards)}. {_advice(cards)}")
    return found


def find_evaluation(path: str, name: str = "", cards: Sequence[str] = CARDS) -> str:
    """Finds the folder of one evaluation.

    Args:
        path: As for `evaluations_of`.
        name: Name of the evaluation; required if there are several. A path of a single evaluation
            needs none.
        cards: As for `evaluations_of`.

    Raises:
        UserError: There is none, or there are several.
    """
    found = evaluations_of(path, cards)
    own = _folder(path, cards)
    chosen = [folder for key, folder in found.items() if not name or key == name or folder == own]
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        raise UserError(
            f"{path} holds no {_sought(cards)} of {name}. It was evaluated on {', '.join(found)}. "
            f"{_advice(cards)}"
        )
    raise UserError(
        f"{path} was evaluated on {', '.join(found)}. Choose one with --data and --split, or name "
        "its folder."
    )


def _folder(path: str, cards: Sequence[str]) -> str:
    path = path.rstrip("/")
    return files.parent(path) or "." if files.base_name(path) in cards else path


def _names(folder: str) -> list[str]:
    return files.list_dir(folder) if files.is_dir(folder) else []


def _is_evaluation(folder: str, cards: Sequence[str]) -> bool:
    return any(files.exists(files.join(folder, card)) for card in cards)


def _sought(cards: Sequence[str]) -> str:
    return "full score card" if list(cards) == [FULL_FILES.json] else "evaluation"


def _advice(cards: Sequence[str]) -> str:
    full = " --full" if list(cards) == [FULL_FILES.json] else ""
    return f"Run `python -m tfdeblur.evaluate{full}` first."


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
        region: What was measured of each image: `whole`, `crops` or `center`.
    """

    path: str
    rows: Mapping[str, Mapping[str, float]]
    about: Mapping[str, Any]
    region: str = "whole"

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

    @classmethod
    def load_region(cls, folder: str, region: str) -> "Result":
        """Reads the means over a region from the full score card in a folder.

        Raises:
            UserError: The card does not have the region.
            DataError: The card is damaged.
        """
        card = ScoreCard.load(folder)
        path = files.join(folder, FULL_FILES.json)
        if region not in card.regions:
            raise UserError(
                f"region: {path} has only {', '.join(card.regions)}. Evaluate with --full and with "
                "--crops smaller than the images."
            )
        rows: dict[str, Mapping[str, float]] = {}
        for setting in card.settings(region):  # as computed before as rounded
            rows.setdefault(setting.state, card.means(setting))
        about = {**card.about, "images": card.images, "differing": card.differing}
        return cls(path, rows, about, region)

    @property
    def network(self) -> str:
        """Name of the run, or of the file of the network."""
        return files.base_name(str(self.about.get("from", "")).rstrip("/")) or "network"

    @property
    def states(self) -> list[str]:
        """The states of the network that were measured."""
        return [state for state in (RESTORED, CONVERTED) if state in self.rows]

    def same_images(self) -> tuple[Any, ...]:
        """Returns a key: results with equal keys were measured on the same images."""
        about = self.about
        fingerprint = about.get("data_fingerprint") or about.get("data")
        size = None if self.region == "whole" else about.get("crop")
        return (fingerprint, about.get("split"), about["images"], about["differing"], size)

    def config(self) -> Mapping[str, Any]:
        """Returns the configuration of the run, empty if it is not there."""
        path = files.join(str(self.about.get("from", "")).rstrip("/") or ".", CONFIG_FILE)
        return settings.parse_yaml(files.read_text(path), path) if files.exists(path) else {}

    def recipe(self) -> recipes.Recipe | None:
        """Returns the recipe of the run if this version has it."""
        # Earlier versions did not record it.
        name = self.about.get("recipe") or self.config().get("recipe")
        return recipes.load(name) if name in recipes.names() else None
