"""Command: object detection on blurred, restored and sharp images.

::

    python -m tfdeblur.detect --workdir WORKDIR --data DATA --detector yolox.onnx --names coco.names

Detections in the sharp images are the reference; see `tfdeblur.evaluation.detection`. `run` does
the same for a notebook.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tfdeblur import cli
from tfdeblur.cli.environment import require_keras
from tfdeblur.errors import UserError
from tfdeblur.evaluation.config import (
    EvaluationInputs,
    EvaluationResult,
    about_run,
    batch_size_for,
    default_folder,
    network_path,
    open_data,
)
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder

if TYPE_CHECKING:
    from tfdeblur.evaluation.detection import DetectionCard, Picture
    from tfdeblur.evaluation.evaluator import Triplet
    from tfdeblur.evaluation.results import Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectConfig(EvaluationInputs):
    """Settings of `tfdeblur.detect`."""

    detector: str = ""
    """ONNX file of a YOLOX network with raw head"""
    names: str = ""
    """text file with one class name per line"""
    detector_size: Annotated[int, Field(ge=32, multiple_of=32)] = 416
    """side of the detector's input in pixels"""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.3
    """minimum score of a detection"""
    nms_iou: Annotated[float, Field(ge=0, le=1)] = 0.45
    """IoU above which only the higher score is kept"""
    tlc_window: int | Literal["auto"] | None = "auto"
    """side in pixels of the pooling window of the test-time local converter, for networks that
    pool; auto: 1.5 training patches; none: no converter"""
    pictures: Annotated[int, Field(ge=0)] = 8
    """pictures with boxes on the page, spread over the split"""


def run(config: DetectConfig) -> "EvaluationResult[DetectionCard]":
    """Runs a detector on the input, the restored image and the target of a whole split.

    Args:
        config: The network, the data and the detector.

    Returns:
        The detections and their files.

    Raises:
        UserError: The network, the detector or OpenCV is missing or unusable.
        DataError: The data cannot be read.
    """
    require_keras()
    from tfdeblur.data.dataset import read_errors
    from tfdeblur.evaluation.detection import (
        DETECTION_CSV,
        DETECTION_JSON,
        PAGE,
        DetectionCard,
        detect,
        write_page,
    )
    from tfdeblur.evaluation.detector import Detector
    from tfdeblur.evaluation.evaluator import SplitEvaluator
    from tfdeblur.evaluation.networks import open_network
    from tfdeblur.evaluation.pictures import spread
    from tfdeblur.evaluation.scores import CONVERTED, RESTORED

    if not config.detector:
        raise UserError("detector is required: give --detector, an ONNX file of a YOLOX network.")
    data = open_data(config.data, config.split, config.limit)
    detector = Detector(
        config.detector,
        size=config.detector_size,
        names=config.names,
        min_score=config.min_score,
        nms_iou=config.nms_iou,
    )
    network = open_network(network_path(config), config.checkpoint, config.tlc_window)
    folder = config.out or default_folder(config)
    OutputFolder.reserve(folder, DETECTION_JSON, DETECTION_CSV, PAGE)

    found: list[Picture] = []
    shown: list[tuple[Triplet, Picture]] = []
    wanted = set(spread(data.records, config.pictures))
    state = CONVERTED if CONVERTED in network.states else RESTORED
    batch_size = batch_size_for(data, config.batch_size)
    evaluator = SplitEvaluator(network.states, data, batch_size=batch_size)
    with read_errors([config.data], config.split):
        for triplet in evaluator.triplets(state):
            found.append(detect(triplet, detector))
            if triplet.index in wanted:
                shown.append((triplet, found[-1]))
    about = {
        **about_run(config, network.restorer, data.manifest),
        **network.identity,
        "data_fingerprint": data.manifest.fingerprint,
        "tlc_window": network.tlc_window,
        "detector": config.detector,
        "detector_sha256": detector.sha256,
        "detector_size": config.detector_size,
        "min_score": config.min_score,
        "nms_iou": config.nms_iou,
    }
    card = DetectionCard(found, about)
    card.write(folder, detector.name)
    report = write_page(
        card,
        shown,
        folder,
        detector.name,
        title=f"Detection: {network.restorer.name} on {files.own_name(config.data)}, "
        f"{config.split}",
        subtitle=network_path(config),
        scores=_scores_of(folder, about),
    )
    return EvaluationResult(card, folder, report)


def _scores_of(folder: str, about: Mapping[str, Any]) -> "Result | None":
    """Returns the scores of the same weights and images that an evaluation has written."""
    from tfdeblur.evaluation.results import CARDS, Result

    if not any(files.exists(files.join(folder, name)) for name in CARDS):
        return None
    found = Result.load(folder)
    keys = ("weights_sha256", "data_fingerprint", "split", "limit")
    same = all(found.about.get(key) == about[key] for key in keys)
    return found if same else None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        DetectConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.detect",
        description=(
            "Runs a COCO detector on the blurred, restored and sharp images of a split. Detections "
            "in the sharp ones are the reference; the table compares the others with it, and a "
            "page shows pictures with boxes."
        ),
    )


def _run_and_report(config: DetectConfig) -> int:
    result = run(config)
    print(result.card.table())
    print(f"\nPictures with boxes: {result.report}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
