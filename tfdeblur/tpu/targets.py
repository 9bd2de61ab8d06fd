"""What is compiled: a run's settings as one replica has them, and the size of its samples."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

import pydantic
import yaml

from tfdeblur import config
from tfdeblur.config import TrainConfig, recipes, settings
from tfdeblur.config.fields import Size
from tfdeblur.data.inputs import split_batch
from tfdeblur.errors import ConfigError

# Devices of one host of v5e and v6e, and of a v2-8 and a v3-8: what a global batch is divided by
# where nobody says otherwise.
USUAL_REPLICAS = 8

# Sizes of records that no flag of the build command tells.
_KNOWN_SIZES = {"cifar10": (32, 32)}


@dataclasses.dataclass(frozen=True)
class Target:
    """A run as one replica sees it.

    Attributes:
        name: The recipe's, or the file's.
        run_config: Its settings.
        height: Rows of a sample.
        width: Columns of a sample.
        batch: Images of one replica in one update.
        micro_batches: Parts that these are cut into; the same for all batch sizes tried.
    """

    name: str
    run_config: TrainConfig
    height: int
    width: int
    batch: int
    micro_batches: int

    def request(self, batch: int) -> dict[str, Any]:
        """Returns what `lowering` is asked for a batch size, a multiple of `micro_batches`."""
        training = dataclasses.replace(
            self.run_config.training,
            global_batch=batch,
            replica_batch=batch // self.micro_batches,
        )
        own = dataclasses.replace(self.run_config, training=training)
        tree = yaml.safe_load(config.to_yaml(own))
        return {"config": tree, "height": self.height, "width": self.width}


def target_of(
    name: str,
    run_config: TrainConfig,
    about: Mapping[str, Any],
    *,
    replica_batch: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Target:
    """Returns what is compiled for a run.

    Args:
        name: For the table.
        run_config: Its settings.
        about: The recipe's `about` section, whose build command tells the size of the records.
        replica_batch: Images of one replica; a global batch on 8 devices where not given.
        image_size: Height and width of a sample; what the recipe trains on where not given.

    Raises:
        ConfigError: The size of the samples cannot be known.
    """
    size = image_size or run_config.data.crop or _built_size(about)
    if size is None:
        raise ConfigError(
            f"{name} trains on whole records, and their size is not written in it. Give "
            "--image-size WIDTHxHEIGHT."
        )
    share = replica_batch or max(1, run_config.training.global_batch // USUAL_REPLICAS)
    _, micro = split_batch(share, 1, run_config.training.replica_batch)
    return Target(name, run_config, size[0], size[1], share, micro)


def _built_size(about: Mapping[str, Any]) -> tuple[int, int] | None:
    """Reads the size of whole records off the command that builds the data."""
    words = shlex.split(str(about.get("data", "")))
    for flag in ("--tile", "--resize"):
        if flag in words[:-1]:
            word = words[words.index(flag) + 1]
            size: tuple[int, int] = pydantic.TypeAdapter(Size).validate_python(word)
            return size
    return next((_KNOWN_SIZES[word] for word in words if word in _KNOWN_SIZES), None)


def recipe_target(name: str, **options: Any) -> Target:
    """Returns what is compiled for a recipe; `options` are those of `target_of`."""
    recipe = recipes.load(name)
    run_config = config.resolve({"recipe": name, "workdir": "preflight"})
    return target_of(name, run_config, recipe.about, **options)


def file_target(path: str, **options: Any) -> Target:
    """Returns what is compiled for a run's settings in a file; `options` as in `target_of`."""
    tree = {"workdir": "preflight", **settings.read_config_file(path, "--run-config")}
    run_config = config.resolve(tree)
    about = recipes.load(run_config.recipe).about if run_config.recipe else {}
    return target_of(path, run_config, about, **options)
