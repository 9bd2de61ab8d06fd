"""Command: compiles a recipe's training step for TPUs on a machine without one.

::

    python -m tfdeblur.preflight --recipe rednet30wgan_cifar10 --tpu v5e-8 v6e-8
    python -m tfdeblur.preflight --recipe nafnet32_gopro --tpu v5e-8 --largest
    python -m tfdeblur.preflight --all --tpu v5e-8

The step is that of training with the JAX engine on all chips of a slice: all networks and
optimizers, averaged weights, accumulated gradients, and the exchange between chips. The compiler of
the libtpu wheel reports the memory that it needs; the published figures of a chip give an upper
bound of its speed. ``--engine tensorflow`` compiles TensorFlow's step of one replica instead.

Exit code 0 if every step compiles, fits and has no problems, 1 otherwise.
"""

import dataclasses
import importlib.util
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tfdeblur import cli
from tfdeblur.cli.environment import require_keras
from tfdeblur.config import recipes
from tfdeblur.config.fields import Size
from tfdeblur.config.settings import read_config_file
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.tpu import chips

if TYPE_CHECKING:
    from tfdeblur.tpu.table import Row
    from tfdeblur.tpu.targets import Target

# A step does not compile or does not fit, or has problems.
EXIT_NOT_READY = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreflightConfig:
    """The runs to compile, and the slices."""

    recipe: str | None = None
    """recipe to compile"""
    run_config: str | None = None
    """configuration of a run to compile, such as WORKDIR/config.yaml"""
    all: bool = False
    """compile all recipes"""
    tpu: Annotated[
        tuple[str, ...],
        Field(
            description="slices, by Google's names (v5e and v6e count chips; v4 and v5p count "
            f"cores, two per chip) or topologies such as v5e:2x4, of {', '.join(chips.CHIPS)}",
            min_length=1,
        ),
    ] = ("v5e-8",)
    engine: Literal["jax", "tensorflow"] = "jax"
    """jax: the step of all chips; tensorflow: the step of one replica, with its share of the
    batch"""
    global_batch: Annotated[int | None, Field(ge=1)] = None
    """images per update on all chips; if unset, those of the recipe, in each of its stages"""
    largest: bool = False
    """search the largest global batch that fits, which compiles more batches"""
    image_size: Size | None = None
    """size of a sample, WIDTHxHEIGHT; if unset, that of the recipe, in each of its stages"""
    cache: str = "preflight"
    """folder of the table and of cached compilations"""
    time_limit: Annotated[float, Field(gt=0)] = 60.0
    """timeout of one compilation in minutes"""


def run(config: PreflightConfig) -> "list[Row]":
    """Compiles, and adds the rows to the table in `config.cache`.

    Args:
        config: The runs and slices.

    Returns:
        One row per stage of a run and slice, also for steps that do not compile.

    Raises:
        UserError: JAX or libtpu is missing.
        ConfigError: Unknown recipe or slice, inconsistent settings, or samples of unknown size.
    """
    # First the checks that do not import anything large.
    if sum([config.recipe is not None, config.run_config is not None, config.all]) != 1:
        raise ConfigError("Set exactly one of --recipe NAME, --run-config FILE and --all.")
    slices = [chips.parse(name) for name in config.tpu]
    if config.recipe is not None:
        recipes.load(config.recipe)
    if config.run_config is not None:
        read_config_file(config.run_config, "--run-config")
    require_compiler()
    require_keras()
    from tqdm import tqdm

    from tfdeblur.tpu.survey import Surveyor
    from tfdeblur.tpu.table import Table

    targets = _targets(config)
    table = Table(config.cache)
    rows = []
    with tqdm(total=len(targets) * len(slices), unit="row", disable=None) as bar:
        surveyor = Surveyor(
            config.cache,
            engine=config.engine,
            seconds=60 * config.time_limit,
            progress=bar.set_postfix_str,
        )
        for target in targets:
            for tpu in slices:
                row = surveyor.row(target, tpu, largest=config.largest)
                table.add(row)
                rows.append(row)
                tqdm.write("\n".join(row.lines()))
                bar.update()
    return rows


def require_compiler() -> None:
    """Checks that the TPU compiler is installed.

    Raises:
        UserError: It is missing; the message names the packages to install.
    """
    missing = [name for name in ("jax", "libtpu") if importlib.util.find_spec(name) is None]
    if missing:
        system = "" if platform.system() == "Linux" else " on Linux, which libtpu requires"
        raise UserError(
            f"The TPU compiler requires {' and '.join(missing)}: pip install "
            f'"tfdeblur[preflight]"{system}.'
        )


def _targets(preflight: PreflightConfig) -> "list[Target]":
    from tfdeblur.tpu.targets import file_target, recipe_target

    batch, size = preflight.global_batch, preflight.image_size
    if preflight.run_config is not None:
        found = [file_target(preflight.run_config, global_batch=batch, image_size=size)]
    else:
        names = recipes.names() if preflight.recipe is None else [preflight.recipe]
        found = [recipe_target(name, global_batch=batch, image_size=size) for name in names]
    if batch is not None or size is not None:
        return found
    return [stage for target in found for stage in target.stages()]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        PreflightConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.preflight",
        description=(
            "Compiles the training step of recipes with the TPU compiler on a machine without a "
            "TPU, for all chips of a slice, and reports whether it compiles, the memory it needs, "
            "the bytes that chips exchange, and an upper bound of the speed."
        ),
    )


def _run_and_report(preflight: PreflightConfig) -> int:
    rows = run(preflight)

    from tfdeblur.io import files
    from tfdeblur.tpu.table import CAVEAT, TABLE_MARKDOWN

    print(f"{CAVEAT}\nTable: {files.join(preflight.cache, TABLE_MARKDOWN)}")
    return 0 if all(row.fits and not row.problems for row in rows) else EXIT_NOT_READY


if __name__ == "__main__":
    raise SystemExit(main())
