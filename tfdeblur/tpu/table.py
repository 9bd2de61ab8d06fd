"""Rows of the preflight's table: JSON for programs, Markdown and a few lines for people."""

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
    """What is known of a run on a chip; what is None was not found out.

    Attributes:
        name: The recipe's or the file's.
        chip: Name of the TPU generation.
        size: Width and height of a sample, ``32x32``.
        wanted: Images of one replica in one update, as asked for.
        bfloat16: Whether the recipe computes in bfloat16 there.
        batch: The batch that the figures are of: the wanted one, or a smaller one that fits.
        images: Images that a step of the wanted batch takes.
        parameters: Numbers in all networks that learn.
        needed: Bytes at once.
        usable: Bytes that the chip has for a program.
        memory: Bytes by kind.
        fixed: Bytes that do not depend on the batch.
        each: Bytes for each image.
        largest: Largest batch of one replica that fits.
        predicted: Bytes that the line through two batch sizes gives the largest batch.
        found: Bytes that it needs, as the compiler laid them out.
        confirmed: Whether the largest was compiled to the end, too; None if not tried.
        memory_only: Nothing was compiled to the end: whether the chip's program can be made is not
            known, nor how large it is, and operations are counted before they are fused.
        flops: Floating-point operations for each image of a step.
        least_ms: No step can take fewer milliseconds.
        flow_ms: The same if all that operations read and write goes through the memory.
        most_images: Images a second that one device cannot exceed.
        compile_seconds: Of the wanted batch.
        share: Share of multiplications in bfloat16.
        problems: Sentences about what a TPU would refuse or compute too coarsely.
        error: Why it cannot be compiled; empty where it can.
        versions: Of what made the row.
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
        """Begins a row before anything is compiled."""
        return cls(
            name=target.name,
            chip=chip.name,
            size=f"{target.width}x{target.height}",
            wanted=target.batch,
            bfloat16=target.run_config.runtime.precision != "float32",
            usable=chip.usable,
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Row":
        """Reads what `Table` wrote, of another release as well."""
        known = {field.name for field in dataclasses.fields(cls)}
        kept = {key: value for key, value in values.items() if key in known}
        return cls(**{**kept, "problems": tuple(kept.get("problems", ()))})

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells it from other rows: a run at another batch size is another one."""
        return self.name, self.chip, self.size, self.wanted

    @property
    def fits(self) -> bool:
        """Whether the wanted batch was compiled and has room."""
        return not self.error and self.batch == self.wanted

    def described(self, about: Mapping[str, Any]) -> "Row":
        """Adds what both programs said of the wanted batch."""
        seen = Inspection.from_json(about["inspection"])
        return dataclasses.replace(
            self,
            images=about["images"],
            parameters=about["parameters"],
            compile_seconds=about["seconds"],
            share=seen.bfloat16_share,
            problems=tuple(seen.problems(self.bfloat16)),
            versions={name: about[name] for name in VERSIONS},
        )

    def without_room(self, compiled: Compiled) -> "Row":
        """Adds what the wanted batch would need."""
        return dataclasses.replace(self, needed=compiled.needed or None)

    def measured(self, compiled: Compiled, chip: Chip) -> "Row":
        """Adds the figures of a batch that fits."""
        # A step may take several batches.
        images = (self.images or 0) / self.wanted * compiled.batch
        least = fit.least_seconds(compiled, chip)
        flow = fit.flow_seconds(compiled, chip)
        return dataclasses.replace(
            self,
            batch=compiled.batch,
            needed=compiled.needed if compiled.batch == self.wanted else self.needed,
            memory=dict(compiled.memory),
            flops=compiled.flops / images,
            least_ms=1e3 * least,
            flow_ms=None if flow is None else 1e3 * flow,
            most_images=images / least,
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
        """Returns the row for people."""
        head = f"{self.name} on {self.chip}, {self.size}, {self.wanted} images a replica"
        if self.error:
            return [f"{head}: does not compile: {self.error}"]
        if not self.fits:
            wanted = f"{_gib(self.needed)} of" if self.needed else "more than"
            most = f"at most {self.largest} fit" if self.largest else "no batch was found that fits"
            lines = [f"{head}: needs {wanted} {_gib(self.usable)}; {most}"]
        else:
            done = "its memory is laid out" if self.memory_only else "compiles"
            lines = [f"{head}: {done} in {self.compile_seconds:.0f} s and fits"]
        if self.batch is not None:
            lines += self._figures()
        lines += [f"  look at this: {problem}" for problem in self.problems]
        return lines

    def _figures(self) -> list[str]:
        kinds = ", ".join(f"{kind} {_gib(size)}" for kind, size in self.memory.items())
        about = f"  memory at batch {self.batch}: {kinds}"
        if self.each is not None:
            about += f"; {self.each / 2**20:.1f} MiB for each image more"
        known = {
            True: "compiled as well",
            False: "laid out, but it does not compile",
            None: "laid out",
        }
        return [
            about,
            f"  largest batch of one replica: {self.largest} ({known[self.confirmed]})",
            f"  {(self.flops or 0) / 1e9:,.1f} GFLOP an image; a step takes no less than "
            f"{self.least_ms:.2f} ms, so {self.most_images:,.0f} images/s a device at most",
            f"  {self.share or 0:.1%} of the multiplications in bfloat16",
        ]


def _gib(size: float | None) -> str:
    return "" if size is None else f"{size / GIB:.2f} GiB"


class Table:
    """All rows of a folder, kept from run to run.

    Args:
        folder: Where `table.json` and `table.md` are.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.rows: dict[tuple[str, str, str, int], Row] = {}
        path = files.join(folder, TABLE_JSON)
        if files.exists(path):
            try:
                rows = [Row.from_json(values) for values in files.read_json(path)]
            except (UserError, AttributeError, TypeError, ValueError) as error:
                # Nothing is lost: the compilations are kept beside it, one file each.
                aside = f"{path}.damaged"
                files.rename(path, aside)
                tqdm.write(f"warning: {path} is damaged ({error}): renamed to {aside}.")
                return
            self.rows = {row.key: row for row in rows}
        elif files.exists(files.join(folder, TABLE_MARKDOWN)):
            raise UserError(
                f"{files.join(folder, TABLE_MARKDOWN)} would be overwritten, but there is no "
                f"{TABLE_JSON} beside it. Move it away, or choose another --cache."
            )

    def add(self, row: Row) -> None:
        """Puts a row in the place of an older one of the same run, and writes both files."""
        self.rows[row.key] = row
        rows = [self.rows[key] for key in sorted(self.rows)]
        files.make_dirs(self._folder)
        values = [dataclasses.asdict(row) for row in rows]
        files.write_json(files.join(self._folder, TABLE_JSON), values)
        files.write_text(files.join(self._folder, TABLE_MARKDOWN), markdown(rows))


_COLUMNS = ("recipe", "samples", "batch", "GFLOP an image")
_COLUMNS_OF_A_CHIP = ("GiB", "largest batch", "ms at least")


def markdown(rows: Sequence[Row]) -> str:
    """Returns a line for each run, chips side by side, and what made it and what it does not say.

    Args:
        rows: In any order; a run at two batch sizes has two lines.
    """
    by_run: dict[tuple[str, str, int], dict[str, Row]] = {}
    for row in rows:
        by_run.setdefault((row.name, row.size, row.wanted), {})[row.chip] = row
    chips = [name for name in CHIPS if any(row.chip == name for row in rows)]
    head = [*_COLUMNS, *(f"{chip}: {words}" for chip in chips for words in _COLUMNS_OF_A_CHIP)]
    lines = [_line(head), "|" + " --- |" * len(head)]
    lines += [_line(_cells(by_run[run], chips)) for run in sorted(by_run)]
    made = sorted({_made_by(row) for row in rows if row.versions})
    return "\n".join([*lines, "", f"{CAVEAT} Made with {'; '.join(made)}.", ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _made_by(row: Row) -> str:
    names = {"tensorflow": "TensorFlow", "keras": "Keras", "jax": "JAX", "libtpu": "libtpu"}
    return ", ".join(f"{names[name]} {row.versions[name]}" for name in VERSIONS)


def _cells(on: Mapping[str, Row], chips: Sequence[str]) -> list[str]:
    """Returns a run's line; fusing changes a chip's count of operations by parts of a percent."""
    row = next(iter(on.values()))
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
        return [""] * len(_COLUMNS_OF_A_CHIP)
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
