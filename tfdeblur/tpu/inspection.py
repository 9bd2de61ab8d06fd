"""Finds operations in a step's HLO that a TPU lacks or computes with too little precision."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tfdeblur.tpu.hlo import Computation, Instruction, Program

# Part of the cache key: increment it if the same step gives another inspection.
EDITION = 3

LOW = ("bf16", "f16")
WIDE = ("f64", "c128")

# Operations on sizes known only at run time, and transfers to and from the host.
_DYNAMIC = ("set-dimension-size", "get-dimension-size", "dynamic-reshape")
_HOST = ("infeed", "outfeed", "send", "send-done", "recv", "recv-done")

# Custom calls that every XLA compiler supports; others name functions of one device.
_KNOWN_CALLS = ("Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "AllocateBuffer")

# Operations besides sums for which 8 bits of mantissa are too few in a norm or a loss.
_DELICATE = ("sqrt", "rsqrt", "cbrt", "log", "log-plus-one", "power", "divide")


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Result of an inspection; the lists hold names of operations.

    Attributes:
        dynamic: Operations whose shape is not known at compile time.
        refused: Operations that no TPU supports, with the reason.
        wide: Operations in float64, which a TPU emulates slowly.
        low_sums: Sums and products of many numbers that are accumulated in 16 bits.
        low_norms: Roots, logarithms, quotients and squares in 16 bits whose results are summed, as
            in a norm or a loss.
        low_results: Outputs of the step with fewer than 32 bits: losses, norms, updated weights.
        multiplications: Multiplications in convolutions and matrix products, by dtype, including
            the repetitions of loops.
        widest: The largest convolutions and matrix products in float32, largest first, with their
            share of all multiplications.
        features: Bytes of the results of all convolutions and matrix products; more than the
            temporaries of a step, because they are not all alive at once.
        once: All multiplications, without the repetitions of loops, as XLA counts them.
    """

    dynamic: tuple[str, ...]
    refused: tuple[str, ...]
    wide: tuple[str, ...]
    low_sums: tuple[str, ...]
    low_norms: tuple[str, ...]
    low_results: tuple[str, ...]
    multiplications: Mapping[str, int]
    widest: tuple[str, ...]
    features: int = 0
    once: int = 0

    @property
    def repetition(self) -> float:
        """Factor by which the loops increase XLA's count of the operations."""
        return sum(self.multiplications.values()) / self.once if self.once else 1.0

    @property
    def bfloat16_share(self) -> float:
        """Share of the multiplications in bfloat16, 0 to 1; 0 if there are none."""
        total = sum(self.multiplications.values())
        return self.multiplications.get("bf16", 0) / total if total else 0.0

    def problems(self, bfloat16: bool) -> list[str]:
        """Returns one sentence per problem.

        Args:
            bfloat16: Whether the recipe computes in bfloat16.
        """
        found = []
        for names, sentence in (
            (self.dynamic, "sizes unknown at compile time"),
            (self.refused, "not supported by TPUs"),
            (self.wide, "float64, which a TPU emulates slowly"),
            (self.low_sums, "summed in bfloat16, but float32 is required"),
            (self.low_norms, "norm or loss in bfloat16, but float32 is required"),
            (self.low_results, "result in bfloat16, but float32 is required"),
        ):
            if names:
                found.append(f"{sentence}: {_some(names)}")
        if bfloat16 and self.multiplications and self.bfloat16_share < 0.5:
            found.append(
                f"only {self.bfloat16_share:.0%} of the multiplications are in bfloat16; in "
                f"float32: {_some(self.widest)}"
            )
        if not bfloat16 and self.bfloat16_share:
            found.append(f"{self.bfloat16_share:.0%} of the multiplications are in bfloat16")
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return {**dataclasses.asdict(self), "bfloat16_share": self.bfloat16_share}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Inspection":
        """Returns the inspection from the values of `to_json`."""
        plain: dict[str, Any] = {
            field.name: tuple(values[field.name])
            if isinstance(values[field.name], list)
            else values[field.name]
            for field in dataclasses.fields(cls)
        }
        return cls(**plain)


def _some(names: Sequence[str], max_names: int = 4) -> str:
    more = f" and {len(names) - max_names} more" if len(names) > max_names else ""
    return ", ".join(names[:max_names]) + more


def inspect(program: Program) -> Inspection:
    """Inspects all operations of a step.

    Args:
        program: The step before it is compiled.
    """
    found: dict[str, Counter[str]] = {
        key: Counter() for key in ("dynamic", "refused", "wide", "low_sums", "low_norms")
    }
    multiplications: Counter[str] = Counter()
    float32: Counter[str] = Counter()
    features = once = 0
    repeats = program.repeats()
    reducers = _reducers(program)
    for computation, instruction in program:
        opcode, dtype = instruction.opcode, instruction.shape.dtype
        if opcode in _DYNAMIC or not all(shape.is_static for shape in instruction.shapes):
            found["dynamic"][f"{opcode} ({instruction.where})"] += 1
        if reason := _refusal(instruction):
            found["refused"][reason] += 1
        if dtype in WIDE and opcode not in ("parameter", "constant"):
            found["wide"][f"{opcode} ({instruction.where})"] += 1
        if opcode in ("convolution", "dot"):
            kind = _operand_type(computation, instruction)
            count = _multiplications(computation, instruction)
            once += count
            count *= repeats[computation.name]
            multiplications[kind] += count
            features += instruction.shape.size
            if kind == "f32":
                float32[instruction.where] += count
        if dtype in LOW and computation.name not in reducers:
            if _is_sum(program, instruction):
                found["low_sums"][f"{opcode} ({instruction.where})"] += 1
            if _is_part_of_norm(program, computation, instruction):
                found["low_norms"][f"{opcode} ({instruction.where})"] += 1
    total = sum(multiplications.values()) or 1
    names: dict[str, Any] = {key: tuple(counted) for key, counted in found.items()}
    return Inspection(
        **names,
        low_results=_low_results(program),
        multiplications=dict(multiplications),
        widest=tuple(f"{name} {n / total:.1%}" for name, n in float32.most_common(8) if n),
        features=features,
        once=once,
    )


def _reducers(program: Program) -> set[str]:
    """Returns the names of the binary functions of reductions."""
    keys = ("to_apply", "scatter", "select")
    return {
        instruction.attributes[key]
        for _, instruction in program
        for key in keys
        if key in instruction.attributes and instruction.opcode != "call"
    }


def _refusal(instruction: Instruction) -> str:
    if instruction.opcode in _HOST:
        return f"{instruction.opcode}, a transfer to or from the host ({instruction.where})"
    if instruction.opcode == "custom-call":
        target = instruction.attributes.get("custom_call_target", "")
        if target not in _KNOWN_CALLS:
            return f"custom call {target!r} ({instruction.where})"
    return ""


def _is_sum(program: Program, instruction: Instruction) -> bool:
    """Returns whether many numbers are summed or multiplied; a maximum is exact in 16 bits."""
    if instruction.opcode not in ("reduce", "reduce-window", "all-reduce", "reduce-scatter"):
        return False
    reducer = program.computations.get(instruction.attributes.get("to_apply", ""))
    if reducer is None:
        return True
    return any(part.opcode in ("add", "multiply") for part in reducer.instructions.values())


def _is_part_of_norm(program: Program, computation: Computation, instruction: Instruction) -> bool:
    """Returns whether the result of a delicate operation or a square is summed.

    If it is not summed, it is an activation; if it is, it is part of a norm, a statistic or a loss.
    """
    square = instruction.opcode == "multiply" and len(set(instruction.operands)) == 1
    if not square and instruction.opcode not in _DELICATE:
        return False
    names = {instruction.name}
    for other in computation.instructions.values():
        if not names & set(other.operands):
            continue
        if other.opcode in ("convert", "reshape", "bitcast", "negate", "copy"):
            names.add(other.name)
        elif _is_sum(program, other):
            return True
    return False


def _low_results(program: Program) -> tuple[str, ...]:
    entry = program.computations[program.entry]
    root = entry.root
    names = root.operands if root.opcode == "tuple" else (root.name,)
    low = []
    for number, name in enumerate(names):
        result = entry.instructions.get(name, root)
        if result.shape.dtype in LOW:
            low.append(f"output {number} ({result.where})")
    return tuple(low)


def _operand_type(computation: Computation, instruction: Instruction) -> str:
    """Returns the wider type of both operands."""
    types = [
        computation.instructions[name].shape.dtype
        for name in instruction.operands
        if name in computation.instructions
    ]
    return next((t for t in types if t not in LOW), types[0] if types else "unknown")


def _multiplications(computation: Computation, instruction: Instruction) -> int:
    """Returns the multiplications of a convolution, including padding, or a matrix product."""
    operands = [computation.instructions.get(name) for name in instruction.operands]
    if len(operands) < 2 or operands[0] is None or operands[1] is None:
        return 0
    left, right = operands[0].shape, operands[1].shape
    if instruction.opcode == "dot":
        axes = instruction.attributes.get("lhs_contracting_dims", "{}").strip("{}")
        summed = [left.sizes[int(axis)] for axis in axes.split(",") if axis.strip()]
    else:
        labels = instruction.attributes.get("dim_labels", "").split("->")[0].partition("_")[2]
        sizes = zip(labels, right.sizes, strict=False)
        summed = [size for label, size in sizes if label != "o"]
    return instruction.shape.elements * math.prod(summed)
