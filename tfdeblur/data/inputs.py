"""The inputs of a training run: its data sets, and how a global batch is divided over devices."""

import math

from tqdm import tqdm

from tfdeblur.config import OutputConfig, TrainConfig, recipes
from tfdeblur.data.dataset import check_one_size, set_to_validate
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.errors import ConfigError
from tfdeblur.models.generator import Generator
from tfdeblur.registry import did_you_mean

# Sources that read a user's own files, which may be of any data set.
_GENERAL_SOURCES = ("frames", "pairs", "photos", "scenes", "sharp")


def open_training_data(run_config: TrainConfig) -> TrainingData:
    """Opens the data sets of a run; see `TrainingData` for the errors."""
    return TrainingData(run_config.data, seed=run_config.seed, synthesis=run_config.synthesis)


def warn_of_other_source(run_config: TrainConfig, data: TrainingData) -> None:
    """Prints a warning if no data set of a run is of the source that its recipe is for.

    Args:
        run_config: The run, with or without a recipe.
        data: Its data sets.
    """
    if run_config.recipe is None:
        return
    wanted = recipes.load(run_config.recipe).source
    found = list(dict.fromkeys(manifest.source for manifest in data.manifests))
    if wanted is None or {wanted, *found} & set(_GENERAL_SOURCES) or wanted in found:
        return
    tqdm.write(
        f"warning: the recipe {run_config.recipe} is for data of {wanted}, and these are of "
        f"{' and '.join(found)}: its settings and scores are for other images."
    )


def split_batch(global_batch: int, replicas: int, largest: int | None) -> int:
    """Divides the images of one device in one update into micro-batches.

    Args:
        global_batch: Images in one update.
        replicas: Devices that share it.
        largest: Maximum number of images that one device processes at once; unlimited if None.

    Returns:
        The number of micro-batches.

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
    return micro


def open_validation_data(run_config: TrainConfig, data: TrainingData) -> EvaluationData | None:
    """Opens the split that a run validates on; warns and returns None if no data set has it.

    Prints which data set is used if there are several; see `set_to_validate`.

    Raises:
        ConfigError: A split other than the default is named that no data set has.
        DataError: Its images differ in size, or it cannot be read; see `EvaluationData`.
    """
    output = run_config.output
    _check_split(output.validation_split, data)
    chosen = set_to_validate(data.manifests, output.validation_split)
    if chosen is None:
        found = any(output.validation_split in manifest.splits for manifest in data.manifests)
        lacks = "has degraded images in" if found else "has"
        tqdm.write(
            f"No data set {lacks} a split {output.validation_split!r}: nothing is validated, "
            "the newest weights count as the best, and pictures show training samples."
        )
        return None
    path = data.paths[chosen]
    if len(data.paths) > 1:
        tqdm.write(
            f"Validating on the split {output.validation_split!r} of {path}, the first data set "
            "that has one with degraded images."
        )
    opened = EvaluationData(path, output.validation_split, limit=output.validation_images)
    check_one_size(path, output.validation_split, len(opened.sizes))
    return opened


def _check_split(name: str, data: TrainingData) -> None:
    splits = {split for manifest in data.manifests for split in manifest.splits}
    # Without the default split, training runs without validation; any other name is a mistake.
    if name not in splits and name != OutputConfig().validation_split:
        raise ConfigError(
            f"output.validation_split: no data set has a split {name!r}."
            f"{did_you_mean(name, splits)}"
        )


def advise_on_reading(data: TrainingData, host: int, hosts: int) -> None:
    """Prints what a host caches, and on the first one a hint if each would read all data.

    Args:
        data: The data of the run.
        host: Index of this host.
        hosts: Hosts that read the data.
    """
    if data.cached_bytes:
        share = hosts if data.divides_files(hosts) else 1
        where = f"in the memory of host {host}" if hosts > 1 else "in memory"
        tqdm.write(
            f"{data.records // share:,} records ({data.cached_bytes / share / 2**20:,.1f} MiB) are "
            f"kept {where}; --data.cache off reads them again in each epoch."
        )
    if host == 0 and hosts > 1 and data.remote and not data.divides_files(hosts):
        tqdm.write(
            f"Each of {hosts} hosts reads all of {', '.join(data.paths)} and drops the samples of "
            f"the others. Set --data.parts {hosts}, or a multiple, to read only its own files."
        )


def check_crop(height: int, width: int, generator: Generator) -> None:
    """Raises a ConfigError if a network cannot process samples of this size."""
    if height % generator.multiple or width % generator.multiple:
        raise ConfigError(
            f"data.crop: {generator.name} needs sizes that are multiples of "
            f"{generator.multiple}, but samples are {width}x{height}."
        )
