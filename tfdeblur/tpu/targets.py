"""Steps to compile: the settings of a run, and the size of its samples."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

import pydantic
import yaml

from tfdeblur import config
from tfdeblur.config import TrainConfig, recipes, settings
from tfdeblur.config.fields import Size
from tfdeblur.config.stages import shared_batch, stage_configs
from tfdeblur.data.inputs import split_batch
from tfdeblur.errors import ConfigError

# Sizes (height, width) of records whose build command has no flag for the size.
_KNOWN_SIZES = {"cifar10": (32, 32)}


@dataclasses.dataclass(frozen=True)
class Target:
    """A run to compile.

    Attributes:
        name: Name of the recipe, or path of the configuration.
        run_config: The settings.
        height: Height of a sample in pixels.
        width: Width of a sample in pixels.
        shared: Devices share the batches of all stages, so their number divides this one.
    """

    name: str
    run_config: TrainConfig
    height: int
    width: int
    shared: int

    @property
    def size(self) -> str:
        """Width and height of a sample, such as ``32x32``."""
        return f"{self.width}x{self.height}"

    @property
    def batch(self) -> int:
        """Images per update on all devices."""
        return self.run_config.training.global_batch

    @property
    def bfloat16(self) -> bool:
        """Whether the run computes in bfloat16 on a TPU."""
        return self.run_config.runtime.precision != "float32"

    def stages(self) -> list["Target"]:
        """Returns a target for each stage of a progressive training, this one first."""
        found = [self]
        for own in stage_configs(self.run_config)[1:]:
            # Later stages crop, or keep the crops of the first.
            height, width = own.data.crop or (self.height, self.width)
            found.append(dataclasses.replace(self, run_config=own, height=height, width=width))
        return found

    def micro_batches(self, devices: int) -> int:
        """Returns the number of parts in which a device processes its share of the batch."""
        return split_batch(self.batch, devices, self.run_config.training.replica_batch)

    def request(self, batch: int, replica_batch: int | None) -> dict[str, Any]:
        """Returns the run as JSON values, for a batch and the images processed at once."""
        training = dataclasses.replace(
            self.run_config.training, global_batch=batch, replica_batch=replica_batch
        )
        own = dataclasses.replace(self.run_config, training=training)
        tree = yaml.safe_load(config.to_yaml(own))
        return {"config": tree, "height": self.height, "width": self.width}


def target_of(
    name: str,
    run_config: TrainConfig,
    about: Mapping[str, Any],
    *,
    global_batch: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Target:
    """Returns the target for a run.

    Args:
        name: Name in the table.
        run_config: The settings.
        about: The recipe's `about` section, whose build command contains the size of the records.
        global_batch: Images per update on all devices; the run's own number if unset.
        image_size: Height and width of a sample; the size that the recipe trains on if unset.

    Raises:
        ConfigError: The size of the samples is unknown.
    """
    size = image_size or run_config.data.crop or _built_size(about)
    if size is None:
        raise ConfigError(
            f"{name} trains on whole records of unknown size. Set --image-size WIDTHxHEIGHT."
        )
    if global_batch is not None:
        training = dataclasses.replace(run_config.training, global_batch=global_batch)
        run_config = dataclasses.replace(run_config, training=training)
    return Target(name, run_config, size[0], size[1], shared_batch(run_config))


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
