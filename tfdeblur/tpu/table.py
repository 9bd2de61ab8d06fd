"""Rows of the preflight's table, as JSON, Markdown and text."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.tpu import fit
from tfdeblur.tpu.chips import CHIPS, GIB, Chip
from tfdeblur.tpu.fit import Compiled, Line
from tfdeblur.tpu.inspection import Inspection
from tfdeblur.tpu.targets import Target

TABLE_JSON, TABLE_MARKDOWN = "table.json", "table.md"
VERSIONS = ("tensorflow", "keras", "jax", "libtpu")

CAVEAT = (
    "One replica's step is compiled, without the all-reduce that sums gradients over replicas; "
    "no TPU ran it."
)


@dataclasses.dataclass(frozen=True)
class Row:
    """Result for a run on a chip; values that are unknown are None.

    Attributes:
        name: Name of the recipe, or path of the configuration.
        chip: Name of the TPU generation.
        size: Width and height of a sample, such as ``32x32``.
        wanted: Requested images of one replica per update.
        bfloat16: Whether the run computes in bfloat16 on a TPU.
        usable: Bytes of memory that the chip has for a program.
        batch: Batch size of the figures: the requested one, or a smaller one that fits.
        images: Images per step of the requested batch.
        parameters: Number of parameters of all networks that are trained.
        needed: Peak memory of the requested batch in bytes.
        memory: Bytes by kind.
        fixed: Bytes independent of the batch size.
        each: Bytes per image.
        largest: Largest batch of one replica that fits.
        predicted: Bytes of the largest batch, by the line through two batch sizes.
        found: Bytes of the largest batch, by the compiler.
        confirmed: Whether the largest batch compiles completely; None if not tried.
        memory_only: Whether the memory was only laid out. Then it is unknown whether the program
            compiles and how large it is, and `flops` are counted before fusion.
        flops: Floating-point operations of a step per image.
        least_ms: Lower bound of a step's duration in milliseconds.
        flow_ms: The same if all data that operations access were in memory, not on the chip.
        most_images: Upper bound of a device's images/s.
        compile_seconds: Duration of the compilation of the requested batch.
        share: Share of multiplications in bfloat16.
        problems: Problems found by the inspection; see `Inspection.problems`.
        error: Reason why the step cannot be compiled; empty if it can.
        versions: Versions of the packages that produced the row.
    """

    name: str
    chip: str
    size: str
    wanted: int
    bfloat16: bool
    usable: int
    batch: int | None = None
    images: int | None = None
    parameters: int | None = None
    needed: int | None = None
    memory: Mapping[str, int] = dataclasses.field(default_factory=dict)
    fixed: float | None = None
    each: float | None = None
    largest: int | None = None
    predicted: float | None = None
    found: int | None = None
    confirmed: bool | None = None
    memory_only: bool = False
    flops: float | None = None
    least_ms: float | None = None
    flow_ms: float | None = None
    most_images: float | None = None
    compile_seconds: float | None = None
    share: float | None = None
    problems: tuple[str, ...] = ()
    error: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, target: Target, chip: Chip) -> "Row":
        """Returns the row before anything is compiled."""
        return cls(
            name=target.name,
            chip=chip.name,
            size=f"{target.width}x{target.height}",
            wanted=target.batch,
            bfloat16=target.bfloat16,
            usable=chip.usable,
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Row":
        """Returns a row from the JSON values of `Table`, also of another release."""
        known = {field.name for field in dataclasses.fields(cls)}
        kept = {key: value for key, value in values.items() if key in known}
        return cls(**{**kept, "problems": tuple(kept.get("problems", ()))})

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Identifies the row: run, chip, size of samples and batch size."""
        return self.name, self.chip, self.size, self.wanted

    @property
    def fits(self) -> bool:
        """Whether the requested batch compiles and fits."""
        return not self.error and self.batch == self.wanted

    def described(self, about: Mapping[str, Any]) -> "Row":
        """Adds the replies for the requested batch."""
        inspection = Inspection.from_json(about["inspection"])
        return dataclasses.replace(
            self,
            images=about["images"],
            parameters=about["parameters"],
            compile_seconds=about["seconds"],
            share=inspection.bfloat16_share,
            problems=tuple(inspection.problems(self.bfloat16)),
            versions={name: about[name] for name in VERSIONS},
        )

    def without_room(self, compiled: Compiled) -> "Row":
        """Adds the memory of the requested batch, which does not fit."""
        return dataclasses.replace(self, needed=compiled.needed or None)

    def measured(self, compiled: Compiled, chip: Chip) -> "Row":
        """Adds the figures of a batch that fits."""
        # A step may process several batches.
        images = (self.images or 0) / self.wanted * compiled.batch
        seconds = fit.min_seconds(compiled, chip)
        flow = fit.flow_seconds(compiled, chip)
        return dataclasses.replace(
            self,
            batch=compiled.batch,
            needed=compiled.needed if compiled.batch == self.wanted else self.needed,
            memory=dict(compiled.memory),
            flops=compiled.flops / images,
            least_ms=1e3 * seconds,
            flow_ms=None if flow is None else 1e3 * flow,
            most_images=images / seconds,
        )

    def filled(self, compiled: Compiled, line: Line) -> "Row":
        """Adds the largest batch that fits."""
        return dataclasses.replace(
            self,
            fixed=line.fixed,
            each=line.each,
            largest=compiled.batch,
            predicted=line.at(compiled.batch),
            found=compiled.needed,
        )

    def lines(self) -> list[str]:
        """Returns the row as lines of text."""
        head = f"{self.name} on {self.chip}, {self.size}, {self.wanted} images per replica"
        if self.error:
            return [f"{head}: does not compile: {self.error}"]
        if not self.fits:
            wanted = f"{_gib(self.needed)} of" if self.needed else "more than"
            limit = f"at most {self.largest} fit" if self.largest else "no smaller batch fits"
            lines = [f"{head}: needs {wanted} {_gib(self.usable)}; {limit}"]
        else:
            action = "its memory is laid out" if self.memory_only else "compiles"
            lines = [f"{head}: {action} in {self.compile_seconds:.0f} s and fits"]
        if self.batch is not None:
            lines += self._figures()
        lines += [f"  problem: {problem}" for problem in self.problems]
        return lines

    def _figures(self) -> list[str]:
        kinds = ", ".join(f"{kind} {_gib(size)}" for kind, size in self.memory.items())
        about = f"  memory at batch {self.batch}: {kinds}"
        if self.each is not None:
            about += f"; {self.each / 2**20:.1f} MiB per additional image"
        known = {
            True: "compiled",
            False: "laid out, but it does not compile",
            None: "laid out",
        }
        return [
            about,
            f"  largest batch of one replica: {self.largest} ({known[self.confirmed]})",
            f"  {(self.flops or 0) / 1e9:,.1f} GFLOP per image; at least {self.least_ms:.2f} ms "
            f"per step, so at most {self.most_images:,.0f} images/s per device",
            f"  {self.share or 0:.1%} of the multiplications in bfloat16",
        ]


def _gib(size: float | None) -> str:
    return "" if size is None else f"{size / GIB:.2f} GiB"


class Table:
    """All rows in a folder, of this and earlier commands.

    Args:
        folder: The folder of `table.json` and `table.md`.

    Raises:
        UserError: The folder has a `table.md` that this command did not write.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.rows: dict[tuple[str, str, str, int], Row] = {}
        path = files.join(folder, TABLE_JSON)
        if files.exists(path):
            try:
                rows = [Row.from_json(values) for values in files.read_json(path)]
            except (UserError, AttributeError, TypeError, ValueError) as error:
                # The table can be rebuilt from the cached compilations.
                aside = f"{path}.damaged"
                files.rename(path, aside)
                tqdm.write(f"warning: {path} is damaged ({error}): renamed to {aside}.")
                return
            self.rows = {row.key: row for row in rows}
        elif files.exists(files.join(folder, TABLE_MARKDOWN)):
            raise UserError(
                f"{files.join(folder, TABLE_MARKDOWN)} would be overwritten, but there is no "
                f"{TABLE_JSON} in the same folder. Move it, or choose another --cache."
            )

    def add(self, row: Row) -> None:
        """Adds a row, or replaces an older one of the same run, and writes both files."""
        self.rows[row.key] = row
        rows = [self.rows[key] for key in sorted(self.rows)]
        files.make_dirs(self._folder)
        values = [dataclasses.asdict(row) for row in rows]
        files.write_json(files.join(self._folder, TABLE_JSON), values)
        files.write_text(files.join(self._folder, TABLE_MARKDOWN), markdown(rows))


_COLUMNS = ("recipe", "samples", "batch", "GFLOP an image")
_CHIP_COLUMNS = ("GiB", "largest batch", "ms at least")


def markdown(rows: Sequence[Row]) -> str:
    """Returns a table with one line per run and batch size, and columns per chip.

    Args:
        rows: The rows, in any order.

    Returns:
        The table, followed by its limitations and the versions that produced it.
    """
    by_run: dict[tuple[str, str, int], dict[str, Row]] = {}
    for row in rows:
        by_run.setdefault((row.name, row.size, row.wanted), {})[row.chip] = row
    chips = [name for name in CHIPS if any(row.chip == name for row in rows)]
    head = [*_COLUMNS, *(f"{chip}: {name}" for chip in chips for name in _CHIP_COLUMNS)]
    lines = [_line(head), "|" + " --- |" * len(head)]
    lines += [_line(_cells(by_run[run], chips)) for run in sorted(by_run)]
    versions = sorted({_versions(row) for row in rows if row.versions})
    return "\n".join([*lines, "", f"{CAVEAT} Made with {'; '.join(versions)}.", ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _versions(row: Row) -> str:
    names = {"tensorflow": "TensorFlow", "keras": "Keras", "jax": "JAX", "libtpu": "libtpu"}
    return ", ".join(f"{names[name]} {row.versions[name]}" for name in VERSIONS)


def _cells(on: Mapping[str, Row], chips: Sequence[str]) -> list[str]:
    """Returns the cells of a run from its rows by chip."""
    row = next(iter(on.values()))
    # Of any chip, because fusion changes the count by less than a percent.
    flops = next((other.flops for other in on.values() if other.flops is not None), None)
    head = [
        f"`{row.name}`",
        row.size,
        str(row.wanted),
        "" if flops is None else f"{flops / 1e9:,.1f}",
    ]
    return [*head, *(cell for chip in chips for cell in _chip_cells(on.get(chip)))]


def _chip_cells(row: Row | None) -> list[str]:
    if row is None:
        return [""] * len(_CHIP_COLUMNS)
    if row.error:
        return ["does not compile", "", ""]
    needed = "" if row.needed is None else f"{row.needed / GIB:.2f}"
    if not row.fits:
        needed += " (no room)"
    elif row.memory_only:
        needed += " (laid out)"
    largest = "" if row.largest is None else f"{row.largest:,}"
    if row.confirmed:
        largest += " (compiled)"
    return [needed, largest, "" if row.least_ms is None else f"{row.least_ms:.2f}"]
