"""Rows of the preflight's table, as JSON, Markdown and text."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.tpu.chips import GIB, MIB, Slice
from tfdeblur.tpu.counting import Counted
from tfdeblur.tpu.targets import Target

TABLE_JSON, TABLE_MARKDOWN = "table.json", "table.md"
PACKAGES = {
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "jax": "JAX",
    "jaxlib": "jaxlib",
    "libtpu": "libtpu",
}

CAVEAT = "Compiled ahead of time; no TPU ran it."


@dataclasses.dataclass(frozen=True)
class Row:
    """Result for a run on a slice; values that are unknown are None.

    Attributes:
        name: Name of the recipe, or path of the configuration.
        slice: Name of the slice.
        engine: The engine whose step was compiled: the step of all devices under JAX, of one of
            them under TensorFlow.
        size: Width and height of a sample, such as ``32x32``.
        batch: Images per update on all devices.
        usable: Bytes of memory that a device has for a program.
        attached: Number of devices of the slice.
        devices: Number of devices that share the batch; the others stay idle.
        images: Images per step; more than `batch` if critics have batches of their own.
        parameters: Number of parameters of all networks that are trained.
        needed: Peak memory of a device in bytes.
        memory: Bytes of a device by kind: arguments, outputs, aliased (part of both), temporaries,
            code.
        largest: Largest batch on all devices that fits; 0 if none does.
        flops: Floating-point operations of a step per image, with the repetitions of loops.
        sent: Bytes that a device sends to others in a step, by operation and dtype.
        least_ms: Lower bounds of a step's duration in milliseconds, by what takes the time:
            ``compute``, ``memory`` (each argument is read and each output written once), ``links``.
        flow_ms: The time to move all data that operations access, if none of it stays on the chip.
        most_images: Upper bound of the images/s of all devices.
        compile_seconds: Duration of the compilation.
        share: Share of multiplications in bfloat16.
        problems: Sums over chips in bfloat16, and those of `counting.Counted.problems`.
        error: Reason why the step cannot be compiled; empty if it can.
        versions: Versions of the packages that produced the row.
    """

    name: str
    slice: str
    engine: str
    size: str
    batch: int
    usable: int
    attached: int
    devices: int | None = None
    images: int | None = None
    parameters: int | None = None
    needed: int | None = None
    memory: Mapping[str, int] = dataclasses.field(default_factory=dict)
    largest: int | None = None
    flops: float | None = None
    sent: Mapping[str, float] | None = None
    least_ms: Mapping[str, float] = dataclasses.field(default_factory=dict)
    flow_ms: float | None = None
    most_images: float | None = None
    compile_seconds: float | None = None
    share: float | None = None
    problems: tuple[str, ...] = ()
    error: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, target: Target, tpu: Slice, engine: str) -> "Row":
        """Returns the row before anything is compiled."""
        return cls(
            name=target.name,
            slice=tpu.name,
            engine=engine,
            size=target.size,
            batch=target.batch,
            usable=tpu.chip.usable,
            attached=tpu.devices,
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Row":
        """Returns a row from the JSON values of `Table`, also of another release."""
        known = {field.name for field in dataclasses.fields(cls)}
        kept = {key: value for key, value in values.items() if key in known}
        return cls(**{**kept, "problems": tuple(kept.get("problems", ()))})

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """Identifies the row: run, slice, engine, size of samples and batch size."""
        return self.name, self.slice, self.engine, self.size, self.batch

    @property
    def fits(self) -> bool:
        """Whether the step compiles and fits."""
        return not self.error and bool(self.memory)

    @property
    def least(self) -> tuple[str, float]:
        """What takes a step's time at least, and how many milliseconds."""
        return max(self.least_ms.items(), key=lambda item: item[1])

    def filled(self, reply: Mapping[str, Any], target: Target, tpu: Slice) -> "Row":
        """Adds the reply of `program` or `compiling`."""
        row = dataclasses.replace(
            self,
            devices=reply["devices"],
            images=reply["images"],
            parameters=reply["parameters"],
            compile_seconds=reply["seconds"],
            versions={name: reply[name] for name in PACKAGES if name in reply},
        )
        repetition = 1.0
        if "counted" in reply:
            counted = Counted(**reply["counted"])
            repetition = counted.repetition
            problems = tuple(counted.problems(target.bfloat16))
            row = dataclasses.replace(row, share=counted.bfloat16_share, problems=problems)
        if reply.get("no_room"):
            return dataclasses.replace(row, needed=reply.get("needed"))
        if "refused" in reply:
            return dataclasses.replace(row, error=f"the compiler failed: {reply['refused']}")
        memory, chip = reply["memory"], tpu.chip
        flops = reply["flops"] * repetition
        least = {
            "compute": flops / chip.peak,
            "memory": (memory["arguments"] + memory["outputs"]) / chip.bandwidth,
        }
        if "sent" in reply:
            least["links"] = sum(reply["sent"].values()) / chip.links
            row = row._with_low_sums(reply["sent"].get("all-reduce bf16", 0))
        return dataclasses.replace(
            row,
            needed=memory["arguments"]
            + memory["outputs"]
            - memory["aliased"]
            + memory["temporaries"]
            + memory["code"],
            memory=dict(memory),
            flops=flops * reply["devices"] / reply["images"],
            sent=reply.get("sent"),
            least_ms={kind: 1e3 * seconds for kind, seconds in least.items()},
            flow_ms=1e3 * reply["bytes_accessed"] * repetition / chip.bandwidth,
            most_images=reply["images"] / max(least.values()),
        )

    def _with_low_sums(self, size: float) -> "Row":
        """Adds the problem that bytes in bfloat16 are summed over chips."""
        if not size:
            return self
        problem = f"summed over chips in bfloat16: {size / MIB:,.1f} MiB per chip and step"
        return dataclasses.replace(self, problems=(*self.problems, problem))

    def lines(self) -> list[str]:
        """Returns the row as lines of text."""
        head = f"{self.name} on {self.slice}, {self.size}, {self.batch} images per update"
        made = f" ({versions_of(self)})" if self.versions else ""
        if self.error:
            return [f"{head}: does not compile: {self.error}{made}"]
        if not self.fits:
            needed = f"{_size(self.needed)} of" if self.needed else "more than"
            lines = [f"{head}: does not fit: needs {needed} {_size(self.usable)} per chip"]
        else:
            lines = [f"{head}: compiles in {self.compile_seconds:.0f} s and fits", *self._figures()]
        if self.largest is not None:
            lines.append(f"  largest batch: {self.largest:,} images per update")
        return lines + [f"  problem: {problem}" for problem in self.problems]

    def _figures(self) -> list[str]:
        kinds = ", ".join(f"{kind} {_size(size)}" for kind, size in self.memory.items())
        kind, least = self.least
        lines = [
            f"  memory per chip: {_size(self.needed or 0)} of {_size(self.usable)} ({kinds})",
            f"  {(self.flops or 0) / 1e9:,.1f} GFLOP per image; at least {least:.3f} ms per step "
            f"({kind}), so at most {self.most_images:,.0f} images/s",
        ]
        if self.share is not None:
            lines.append(f"  {self.share:.1%} of the multiplications in bfloat16")
        if self.sent:
            kinds = ", ".join(f"{kind} {size / MIB:,.1f}" for kind, size in self.sent.items())
            lines.append(f"  MiB that each chip sends per step: {kinds}")
        return lines


def _size(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"


def versions_of(row: Row) -> str:
    """Returns the versions that produced a row, as text."""
    used = row.versions
    return ", ".join(f"{text} {used[name]}" for name, text in PACKAGES.items() if name in used)


class Table:
    """All rows in a folder, of this and earlier commands.

    Args:
        folder: The folder of `table.json` and `table.md`.

    Raises:
        UserError: The folder has a `table.md` that this command did not write.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.rows: dict[tuple[str, str, str, str, int], Row] = {}
        path = files.join(folder, TABLE_JSON)
        if files.exists(path):
            try:
                rows = [Row.from_json(values) for values in files.read_json(path)]
            except (UserError, AttributeError, TypeError, ValueError) as error:
                # The table can be rebuilt from the cached compilations.
                aside = files.set_aside(path)
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


_COLUMNS = (
    *("recipe", "samples", "slice", "chips", "images per update", "GiB per chip"),
    *("largest batch", "GFLOP an image", "MiB sent", "ms at least", "images/s at most"),
)


def markdown(rows: Sequence[Row]) -> str:
    """Returns a table with one line per row.

    Args:
        rows: The rows, sorted.

    Returns:
        The table, followed by its limitations and the versions that produced it.
    """
    lines = [_line(_COLUMNS), "|" + " --- |" * len(_COLUMNS)]
    lines += [_line(_cells(row)) for row in rows]
    versions = sorted({versions_of(row) for row in rows if row.versions})
    return "\n".join([*lines, "", f"{CAVEAT} Made with {'; '.join(versions)}.", ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> list[str]:
    name = f"`{row.name}`" + ("" if row.engine == "jax" else f" ({PACKAGES[row.engine]})")
    devices = "" if row.devices is None else str(row.devices)
    head = [name, row.size, row.slice, devices, f"{row.batch:,}"]
    if row.error:
        return [*head, "does not compile", *[""] * 5]
    memory = "" if row.needed is None else f"{row.needed / GIB:.2f} of {row.usable / GIB:.2f}"
    largest = "" if row.largest is None else f"{row.largest:,}"
    if not row.fits:
        return [*head, f"{memory} (no room)".strip(), largest, *[""] * 4]
    kind, least = row.least
    return [
        *head,
        memory,
        largest,
        f"{(row.flops or 0) / 1e9:,.1f}",
        "" if row.sent is None else f"{sum(row.sent.values()) / MIB:,.1f}",
        f"{least:.3f} ({kind})",
        f"{row.most_images:,.0f}",
    ]
