"""What goes into a training run: its data sets, and how many images each device takes of them."""

import math

from tqdm import tqdm

from tfdeblur.config import OutputConfig, TrainConfig
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.errors import ConfigError
from tfdeblur.models.generator import Generator
from tfdeblur.registry import did_you_mean


def open_training_data(run_config: TrainConfig) -> TrainingData:
    """Opens the data sets that a configuration names.

    Raises:
        ConfigError: It names none, or the crop does not fit.
        DataError: One is missing, damaged, or too small for the crop.
    """
    options = run_config.data
    if not options.paths:
        raise ConfigError("data.paths: name a folder made by data_prep.build with --data FOLDER.")
    return TrainingData(
        options.paths,
        weights=options.weights,
        split=options.split,
        crop=options.crop,
        horizontal_flips=options.horizontal_flips,
        vertical_flips=options.vertical_flips,
        quarter_turns=options.quarter_turns,
        seed=run_config.seed,
        shuffle_block=options.shuffle_block,
        parts=options.parts,
        cache=options.cache,
        train_on_test=options.train_on_test,
        synthesis=run_config.synthesis,
    )


def split_batch(global_batch: int, replicas: int, largest: int | None) -> tuple[int, int]:
    """Divides a global batch over replicas and micro-batches.

    Args:
        global_batch: Images in one update.
        replicas: Devices that share it.
        largest: Most images that one device takes at once, or None.

    Returns:
        Images of one replica in one update, and the number of micro-batches they are cut into.

    Raises:
        ConfigError: The replicas cannot share the batch equally.
    """
    if global_batch % replicas:
        near = math.ceil(global_batch / replicas) * replicas
        raise ConfigError(
            f"training.global_batch: {global_batch} images cannot be shared equally by {replicas} "
            f"devices. Use {near}, for example."
        )
    share = global_batch // replicas
    micro = math.ceil(share / min(largest or share, share))
    while share % micro:
        micro += 1
    return share, micro


def open_validation_data(run_config: TrainConfig, data: TrainingData) -> EvaluationData | None:
    """Opens the split that a run validates on; says so and returns None where there is none.

    Raises:
        ConfigError: A split was named that no data set has.
    """
    output = run_config.output
    _refuse_unknown_split(output.validation_split, data)
    manifests = zip(data.paths, data.manifests, strict=True)
    having = {p: m for p, m in manifests if output.validation_split in m.splits}
    # Where blur is only made on the fly, both halves that are stored are the sharp one.
    path = next((p for p, m in having.items() if m.blur.get("kind") != "none"), None)
    if path is None:
        fault = "has blurred images in" if having else "has"
        tqdm.write(
            f"No data set {fault} a split {output.validation_split!r}: nothing is validated, "
            "the newest weights are the ones to use, and pictures are of training samples."
        )
        return None
    return EvaluationData(path, output.validation_split, limit=output.validation_images)


def _refuse_unknown_split(name: str, data: TrainingData) -> None:
    splits = {split for manifest in data.manifests for split in manifest.splits}
    # A set without the usual one is trained on without validation; another name was meant.
    if name not in splits and name != OutputConfig().validation_split:
        raise ConfigError(
            f"output.validation_split: no data set has a split {name!r}."
            f"{did_you_mean(name, splits)}"
        )


def advise_on_reading(data: TrainingData, hosts: int) -> None:
    """Says so where several hosts will each fetch all of the data through a network."""
    if hosts > 1 and data.remote and not data.divides_files(hosts):
        tqdm.write(
            f"Each of {hosts} hosts reads all of {', '.join(data.paths)} and drops what the others "
            f"take. With --data.parts {hosts}, or a multiple, a host reads only its own files."
        )


def check_crop(data: TrainingData, generator: Generator) -> None:
    """Raises a ConfigError where a network cannot take samples of this size."""
    if data.height % generator.multiple or data.width % generator.multiple:
        raise ConfigError(
            f"data.crop: {generator.name} needs sizes that are multiples of {generator.multiple}, "
            f"but samples are {data.width}x{data.height}. Choose a crop that is."
        )
