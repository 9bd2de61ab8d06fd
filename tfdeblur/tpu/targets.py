"""Steps to compile: the settings of a run for one replica, and the size of its samples."""

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

# Devices of a host of v5e and v6e, and of a v2-8 and a v3-8; the default number of replicas.
USUAL_REPLICAS = 8

# Sizes (height, width) of records whose build command has no flag for the size.
_KNOWN_SIZES = {"cifar10": (32, 32)}


@dataclasses.dataclass(frozen=True)
class Target:
    """A run on one replica.

    Attributes:
        name: Name of the recipe, or path of the configuration.
        run_config: The settings.
        height: Height of a sample in pixels.
        width: Width of a sample in pixels.
        batch: Images of one replica per update.
        micro_batches: Number of parts of a batch; the same for all batch sizes tried.
    """

    name: str
    run_config: TrainConfig
    height: int
    width: int
    batch: int
    micro_batches: int

    @property
    def bfloat16(self) -> bool:
        """Whether the run computes in bfloat16 on a TPU."""
        return self.run_config.runtime.precision != "float32"

    def request(self, batch: int) -> dict[str, Any]:
        """Returns the request to `lowering` for a batch size, a multiple of `micro_batches`."""
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
    """Returns the target for a run.

    Args:
        name: Name in the table.
        run_config: The settings.
        about: The recipe's `about` section, whose build command contains the size of the records.
        replica_batch: Images of one replica per update; the global batch on 8 devices if unset.
        image_size: Height and width of a sample; the size that the recipe trains on if unset.

    Raises:
        ConfigError: The size of the samples is unknown.
    """
    size = image_size or run_config.data.crop or _built_size(about)
    if size is None:
        raise ConfigError(
            f"{name} trains on whole records of unknown size. Set --image-size WIDTHxHEIGHT."
        )
    share = replica_batch or max(1, run_config.training.global_batch // USUAL_REPLICAS)
    micro = split_batch(share, 1, run_config.training.replica_batch)
    return Target(name, run_config, size[0], size[1], share, micro)


def _built_size(about: Mapping[str, Any]) -> tuple[int, int] | None:
    """Returns the height and width of records from the command that builds the data."""
    arguments = shlex.split(str(about.get("data", "")))
    for flag in ("--tile", "--resize"):
        if flag in arguments[:-1]:
            text = arguments[arguments.index(flag) + 1]
            size: tuple[int, int] = pydantic.TypeAdapter(Size).validate_python(text)
            return size
    return next((_KNOWN_SIZES[name] for name in arguments if name in _KNOWN_SIZES), None)


def recipe_target(name: str, **options: Any) -> Target:
    """Returns the target for a recipe; `options` are those of `target_of`."""
    recipe = recipes.load(name)
    run_config = config.resolve({"recipe": name, "workdir": "preflight"})
    return target_of(name, run_config, recipe.about, **options)


def file_target(path: str, **options: Any) -> Target:
    """Returns the target for a configuration file; `options` are those of `target_of`."""
    tree = {"workdir": "preflight", **settings.read_config_file(path, "--run-config")}
    run_config = config.resolve(tree)
    about = recipes.load(run_config.recipe).about if run_config.recipe else {}
    return target_of(path, run_config, about, **options)
