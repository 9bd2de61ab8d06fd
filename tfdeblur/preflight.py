"""Command: compiles a recipe's training step for TPUs on a machine without one.

::

    python -m tfdeblur.preflight --recipe rednet30wgan_cifar10 --tpu v5e v6e
    python -m tfdeblur.preflight --all --tpu v5e v6e

The step is that of one replica in training: all networks and optimizers, averaged weights and
accumulated gradients. The compiler of the libtpu wheel reports the memory that the step needs; the
published figures of a chip give an upper bound of its speed.

Exit code 0 if every step compiles, fits and has no problems, 1 otherwise.
"""

import dataclasses
import importlib.util
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from tfdeblur import cli
from tfdeblur.cli.environment import require_tensorflow
from tfdeblur.config import recipes
from tfdeblur.config.fields import Size
from tfdeblur.config.settings import read_config_file
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.tpu.chips import CHIPS, ChipName

if TYPE_CHECKING:
    from tfdeblur.tpu.table import Row
    from tfdeblur.tpu.targets import Target

# A step does not compile or does not fit, or has problems.
EXIT_NOT_READY = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreflightConfig:
    """The runs to compile, and the chips."""

    recipe: Annotated[str | None, Field(description="recipe to compile")] = None
    run_config: Annotated[
        str | None,
        Field(description="configuration of a run to compile, such as WORKDIR/config.yaml"),
    ] = None
    all: Annotated[bool, Field(description="compile all recipes")] = False
    tpu: Annotated[
        tuple[ChipName, ...],
        Field(description=f"TPU generations: {', '.join(CHIPS)}", min_length=1),
    ] = ("v5e",)
    replica_batch: Annotated[
        int | None,
        Field(
            ge=1,
            description="images of one device per update; the recipe's global batch on 8 devices "
            "if unset",
        ),
    ] = None
    image_size: Annotated[
        Size | None,
        Field(description="size of a sample, WIDTHxHEIGHT; that of the recipe if unset"),
    ] = None
    confirm: Annotated[
        bool,
        Field(description="compile the largest batch completely, too"),
    ] = False
    memory_only: Annotated[
        bool,
        Field(
            description="stop when the compiler has laid out the memory: minutes faster, but "
            "without checking that the step compiles completely"
        ),
    ] = False
    cache: Annotated[str, Field(description="folder of the table and of cached compilations")] = (
        "preflight"
    )
    time_limit: Annotated[
        float, Field(gt=0, description="timeout of one compilation in minutes")
    ] = 60.0


def run(config: PreflightConfig) -> "list[Row]":
    """Compiles, and adds the rows to the table in `config.cache`.

    Args:
        config: The runs and chips.

    Returns:
        One row per run and TPU generation, also for steps that do not compile.

    Raises:
        UserError: JAX or libtpu is missing.
        ConfigError: Unknown recipe, inconsistent settings, or samples of unknown size.
    """
    # First the checks that do not import anything large.
    if config.confirm and config.memory_only:
        raise ConfigError("--confirm compiles completely, --memory-only does not: set only one.")
    if sum([config.recipe is not None, config.run_config is not None, config.all]) != 1:
        raise ConfigError("Set exactly one of --recipe NAME, --run-config FILE and --all.")
    if config.recipe is not None:
        recipes.load(config.recipe)
    if config.run_config is not None:
        read_config_file(config.run_config, "--run-config")
    require_compiler()
    require_tensorflow()
    from tqdm import tqdm

    from tfdeblur.tpu.cache import Cache
    from tfdeblur.tpu.survey import Surveyor
    from tfdeblur.tpu.table import Table

    targets = _targets(config)
    table = Table(config.cache)
    rows = []
    with (
        tqdm(total=len(targets) * len(config.tpu), unit="row", disable=None) as bar,
        Surveyor(
            Cache(config.cache),
            seconds=60 * config.time_limit,
            progress=bar.set_postfix_str,
        ) as surveyor,
    ):
        for target in targets:
            for name in config.tpu:
                row = surveyor.row(
                    target, CHIPS[name], confirm=config.confirm, memory_only=config.memory_only
                )
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

    options: dict[str, Any] = {
        "replica_batch": preflight.replica_batch,
        "image_size": preflight.image_size,
    }
    if preflight.run_config is not None:
        return [file_target(preflight.run_config, **options)]
    names = recipes.names() if preflight.recipe is None else [preflight.recipe]
    return [recipe_target(name, **options) for name in names]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        PreflightConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.preflight",
        description=(
            "Compiles the training step of recipes with the TPU compiler on a machine without a "
            "TPU, and reports whether it compiles, the memory it needs, the largest batch that "
            "fits, and an upper bound of the speed. The step of one replica is compiled, without "
            "the all-reduce over replicas."
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
