"""What a TPU would refuse or compute too coarsely, read off the HLO of a training step."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tfdeblur.tpu.hlo import Computation, Instruction, Program

# To be raised with every change of what is found: answers of the compiler are kept with it.
EDITION = 3

LOW = ("bf16", "f16")
WIDE = ("f64", "c128")

# Sizes that are found while the program runs, and the host's part in it: a TPU's program has
# neither.
_DYNAMIC = ("set-dimension-size", "get-dimension-size", "dynamic-reshape")
_HOST = ("infeed", "outfeed", "send", "send-done", "recv", "recv-done")

# Markers that every XLA compiler knows; other custom calls name functions of one device.
_KNOWN_CALLS = ("Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "AllocateBuffer")

# Where a result of 8 bits of mantissa spoils a norm or a loss; sums apart.
_DELICATE = ("sqrt", "rsqrt", "cbrt", "log", "log-plus-one", "power", "divide")


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found; every list holds names, or is empty where all is well.

    Attributes:
        dynamic: Operations whose shape is not known when the program is compiled.
        refused: Operations that no TPU has, with the reason.
        wide: Operations in float64, which a TPU imitates slowly.
        low_sums: Sums and products of many numbers that are added up in 16 bits.
        low_norms: Roots, logarithms, quotients and squares in 16 bits whose result is summed
            or is a norm.
        low_results: Outputs of the step with fewer than 32 bits: losses, norms, updated weights.
        multiplications: Multiplications in convolutions and matrix products, by type; those of a
            loop as often as it runs.
        once: All of them, with those of a loop as though it ran once, which is how XLA counts.
        widest: The largest convolutions and products in float32, largest first, with their
            share of all multiplications.
        features: Bytes of all results of convolutions and products; not all of them are needed at
            once, so that they are more than a step's temporaries.
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
        """What XLA's count of a step's operations is to be multiplied by, for its loops."""
        return sum(self.multiplications.values()) / self.once if self.once else 1.0

    @property
    def bfloat16_share(self) -> float:
        """Share of the multiplications that take bfloat16, 0 to 1; 0 where there are none."""
        total = sum(self.multiplications.values())
        return self.multiplications.get("bf16", 0) / total if total else 0.0

    def problems(self, bfloat16: bool) -> list[str]:
        """Returns one sentence for each thing that is wrong.

        Args:
            bfloat16: The recipe computes in bfloat16.
        """
        found = []
        for names, sentence in (
            (self.dynamic, "sizes are not known when it is compiled"),
            (self.refused, "a TPU has no such operation"),
            (self.wide, "computed in float64, which a TPU imitates slowly"),
            (self.low_sums, "summed in bfloat16, where float32 is needed"),
            (self.low_norms, "a norm or loss in bfloat16, where float32 is needed"),
            (self.low_results, "results in bfloat16, where float32 is needed"),
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
        """Returns plain values."""
        return {**dataclasses.asdict(self), "bfloat16_share": self.bfloat16_share}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Inspection":
        """Reads `to_json` back."""
        plain: dict[str, Any] = {
            field.name: tuple(values[field.name])
            if isinstance(values[field.name], list)
            else values[field.name]
            for field in dataclasses.fields(cls)
        }
        return cls(**plain)


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def inspect(program: Program) -> Inspection:
    """Goes over all operations of a step once.

    Args:
        program: The step before the TPU compiler has seen it.
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
            work = _work(computation, instruction)
            once += work
            work *= repeats[computation.name]
            multiplications[kind] += work
            features += instruction.shape.size
            if kind == "f32":
                float32[instruction.where] += work
        if dtype in LOW and computation.name not in reducers:
            if _adds_up(program, instruction):
                found["low_sums"][f"{opcode} ({instruction.where})"] += 1
            if _feeds_a_sum(program, computation, instruction):
                found["low_norms"][f"{opcode} ({instruction.where})"] += 1
    total = sum(multiplications.values()) or 1
    names: dict[str, Any] = {key: tuple(counted) for key, counted in found.items()}
    return Inspection(
        **names,
        low_results=_low_results(program),
        multiplications=dict(multiplications),
        widest=tuple(f"{name} {work / total:.1%}" for name, work in float32.most_common(8) if work),
        features=features,
        once=once,
    )


def _reducers(program: Program) -> set[str]:
    """Returns the names of the two-number functions of sums and the like."""
    keys = ("to_apply", "scatter", "select")
    return {
        instruction.attributes[key]
        for _, instruction in program
        for key in keys
        if key in instruction.attributes and instruction.opcode != "call"
    }


def _refusal(instruction: Instruction) -> str:
    if instruction.opcode in _HOST:
        return f"{instruction.opcode}, which talks to the host ({instruction.where})"
    if instruction.opcode == "custom-call":
        target = instruction.attributes.get("custom_call_target", "")
        if target not in _KNOWN_CALLS:
            return f"the custom call {target!r} ({instruction.where})"
    return ""


def _adds_up(program: Program, instruction: Instruction) -> bool:
    """Whether many numbers are summed or multiplied; the largest of many is exact in 16 bits."""
    if instruction.opcode not in ("reduce", "reduce-window", "all-reduce", "reduce-scatter"):
        return False
    reducer = program.computations.get(instruction.attributes.get("to_apply", ""))
    if reducer is None:
        return True
    return any(part.opcode in ("add", "multiply") for part in reducer.instructions.values())


def _feeds_a_sum(program: Program, computation: Computation, instruction: Instruction) -> bool:
    """Whether a delicate result in 16 bits, or a square, goes into a sum.

    A quotient or root inside a network is an activation like others; one whose sum is taken is
    part of a norm, of a statistic or of a loss.
    """
    square = instruction.opcode == "multiply" and len(set(instruction.operands)) == 1
    if not square and instruction.opcode not in _DELICATE:
        return False
    wanted = {instruction.name}
    for other in computation.instructions.values():
        if not wanted & set(other.operands):
            continue
        if other.opcode in ("convert", "reshape", "bitcast", "negate", "copy"):
            wanted.add(other.name)
        elif _adds_up(program, other):
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
    """Returns the wider type of both factors."""
    types = [
        computation.instructions[name].shape.dtype
        for name in instruction.operands
        if name in computation.instructions
    ]
    return next((t for t in types if t not in LOW), types[0] if types else "unknown")


def _work(computation: Computation, instruction: Instruction) -> int:
    """Returns how many multiplications a convolution or a matrix product makes, borders counted."""
    operands = [computation.instructions.get(name) for name in instruction.operands]
    if len(operands) < 2 or operands[0] is None or operands[1] is None:
        return 0
    left, right = operands[0].shape, operands[1].shape
    if instruction.opcode == "dot":
        places = instruction.attributes.get("lhs_contracting_dims", "{}").strip("{}")
        summed = [left.sizes[int(place)] for place in places.split(",") if place.strip()]
    else:
        labels = instruction.attributes.get("dim_labels", "").split("->")[0].partition("_")[2]
        sizes = zip(labels, right.sizes, strict=False)
        summed = [size for label, size in sizes if label != "o"]
    work = instruction.shape.elements
    for size in summed:
        work *= size
    return work
