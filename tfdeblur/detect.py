"""Command: what a detector finds in blurred, restored and true pictures.

::

    python -m tfdeblur.detect --workdir WORKDIR --data DATA --detector yolox.onnx --names coco.names

The detections in the sharp pictures are the reference; see `tfdeblur.evaluation.detection`. `run`
does the same for a notebook.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tfdeblur import cli
from tfdeblur.cli.environment import require_tensorflow
from tfdeblur.errors import UserError
from tfdeblur.evaluation.config import (
    JudgedConfig,
    about_run,
    batch_size_for,
    data_name,
    default_folder,
    network_path,
    open_data,
)

if TYPE_CHECKING:
    from tfdeblur.evaluation.detection import DetectionCard, Picture
    from tfdeblur.evaluation.evaluator import Triple


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectConfig(JudgedConfig):
    """Which network is judged, on what, and by which detector."""

    detector: Annotated[str, Field(description="ONNX file of a YOLOX network, its head raw")] = ""
    names: Annotated[str, Field(description="text file, the name of a class a line")] = ""
    detector_size: Annotated[
        int, Field(description="side of the detector's input in pixels", ge=32, multiple_of=32)
    ] = 416
    min_score: Annotated[
        float, Field(description="detections less sure are left out", ge=0, le=1)
    ] = 0.3
    nms_iou: Annotated[
        float, Field(description="of two that overlap by more, the surer one stays", ge=0, le=1)
    ] = 0.45
    tlc_window: Annotated[
        int | Literal["auto"] | None,
        Field(
            description="side in pixels of the pooling window of the test-time local converter, "
            "for networks that pool; auto: 1.5 training patches; none: left out"
        ),
    ] = "auto"
    pictures: Annotated[
        int, Field(description="pictures with boxes on the page, spread over the split", ge=0)
    ] = 8


@dataclasses.dataclass(frozen=True)
class DetectResult:
    """What was found, and where it was written.

    Attributes:
        card: All detections and how they agree.
        folder: Holds `detection.json`, `detection.csv` and the page.
        report: Path of the page.
    """

    card: "DetectionCard"
    folder: str
    report: str


def run(config: DetectConfig) -> DetectResult:
    """Runs a detector over a split in its three states.

    Args:
        config: The network, the data and the detector.

    Returns:
        The detections and where they lie.

    Raises:
        UserError: The network, the detector or OpenCV is missing or cannot be used.
        DataError: The data cannot be read.
    """
    require_tensorflow()
    from tfdeblur.data.dataset import READ_ERRORS, explain_read_error
    from tfdeblur.evaluation import SplitEvaluator
    from tfdeblur.evaluation.detection import (
        DETECTION_CSV,
        DETECTION_JSON,
        PAGE,
        DetectionCard,
        detect,
        write_page,
    )
    from tfdeblur.evaluation.detector import Detector
    from tfdeblur.evaluation.full_card import CONVERTED, RESTORED
    from tfdeblur.evaluation.networks import open_network
    from tfdeblur.evaluation.pictures import spread
    from tfdeblur.io.outputs import OutputFolder

    if not config.detector:
        raise UserError("detector: give --detector, the ONNX file of a YOLOX network.")
    data = open_data(config)
    detector = Detector(
        config.detector,
        size=config.detector_size,
        names=config.names,
        min_score=config.min_score,
        nms_iou=config.nms_iou,
    )
    judged = open_network(network_path(config), config.checkpoint, config.tlc_window)
    folder = config.out or default_folder(config)
    OutputFolder.reserve(folder, DETECTION_JSON, DETECTION_CSV, PAGE)

    found: list[Picture] = []
    shown: list[tuple[Triple, Picture]] = []
    wanted = set(spread(data.records, config.pictures))

    def on_images(triples: Sequence["Triple"]) -> None:
        for triple in triples:
            found.append(detect(triple, detector))
            if triple.index in wanted:
                shown.append((triple, found[-1]))

    state = CONVERTED if CONVERTED in judged.states else RESTORED
    evaluator = SplitEvaluator(
        judged.states[state], data, batch_size=batch_size_for(config, data), measures=("mse",)
    )
    try:
        evaluator.run(on_images=on_images, baseline=False)
    except READ_ERRORS as error:
        raise explain_read_error(error, [config.data], config.split) or error from error
    about = {
        **about_run(config, judged.restorer, data.manifest),
        **judged.identity,
        "tlc_window": judged.tlc_window,
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
        title=f"Detection: {judged.restorer.name} on {data_name(config.data)}, {config.split}",
        subtitle=network_path(config),
    )
    return DetectResult(card, folder, report)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        DetectConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.detect",
        description=(
            "Runs a COCO detector on blurred, restored and sharp pictures of a split. What it "
            "finds in the sharp ones is the reference; the table tells how much of it is found in "
            "the others, and a page shows pictures with boxes."
        ),
    )


def _run_and_report(config: DetectConfig) -> int:
    result = run(config)
    print(result.card.table())
    print(f"\nPictures with boxes: {result.report}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
