"""Command: compiles a recipe's training step for TPUs, on a machine without one.

::

    python -m tfdeblur.preflight --recipe rednet30wgan_cifar10 --tpu v5e v6e
    python -m tfdeblur.preflight --all --tpu v5e v6e

The step is the library's own, as one replica runs it: all players, their optimizers, averaged
weights, accumulated gradients. The compiler is the real one, from the libtpu wheel; it tells what
memory the step needs, and its published figures tell how fast a chip could be at most.
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

# Something does not compile or has no room.
EXIT_NOT_READY = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreflightConfig:
    """What is compiled, and for what."""

    recipe: Annotated[str | None, Field(description="published recipe to compile")] = None
    run_config: Annotated[
        str | None,
        Field(description="settings of a run instead, such as WORKDIR/config.yaml"),
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
            description="images of one device in one update; the recipe's global batch on 8 "
            "devices where not given",
        ),
    ] = None
    image_size: Annotated[
        Size | None,
        Field(description="sample, WIDTHxHEIGHT; what the recipe trains on where not given"),
    ] = None
    confirm: Annotated[
        bool,
        Field(description="compile the largest batch to the end, too"),
    ] = False
    memory_only: Annotated[
        bool,
        Field(
            description="stop where the compiler has laid out the memory: sooner by minutes, "
            "but no word on whether it can make the program"
        ),
    ] = False
    cache: Annotated[
        str, Field(description="folder of the table and of compilations that need no repeating")
    ] = "preflight"
    time_limit: Annotated[
        float, Field(gt=0, description="minutes that one compilation may take")
    ] = 60.0


def run(config: PreflightConfig) -> "list[Row]":
    """Compiles, and adds the rows to the table in `config.cache`.

    Args:
        config: What is compiled.

    Returns:
        One row for each recipe and TPU generation. A step that does not compile is a row, too.

    Raises:
        UserError: JAX or libtpu is missing.
        ConfigError: Unknown recipe, contradicting settings, or samples of unknown size.
    """
    # First what can be told without importing anything large.
    if config.confirm and config.memory_only:
        raise ConfigError("--confirm compiles to the end, and --memory-only does not: give one.")
    if sum([config.recipe is not None, config.run_config is not None, config.all]) != 1:
        raise ConfigError("Give one of --recipe NAME, --run-config FILE and --all.")
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
        UserError: It is not; the message says what to install.
    """
    missing = [name for name in ("jax", "libtpu") if importlib.util.find_spec(name) is None]
    if missing:
        where = "" if platform.system() == "Linux" else " on a Linux machine (libtpu has no other)"
        raise UserError(
            f"The TPU compiler needs {' and '.join(missing)}: pip install "
            f'"tfdeblur[preflight]"{where}.'
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
            "Compiles the training step of recipes with the real TPU compiler on a machine "
            "without a TPU: whether it compiles, the memory it needs, the largest batch that "
            "fits, and how fast a chip could be at most. One replica's step is compiled, without "
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
