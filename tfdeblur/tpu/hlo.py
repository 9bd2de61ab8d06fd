"""Parses HLO text into computations and instructions."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_SHAPE = re.compile(r"([a-z]+[0-9]*(?:e\d+m\d+\w*)?)\[([^\]]*)\]")
_NAME = re.compile(r"%?([A-Za-z_][\w.\-]*)$")
_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_CALLED = re.compile(r"[\w.\-]+")
_CALLING = (
    *("to_apply", "calls", "body", "condition", "scatter", "select"),
    *("branch_computations", "true_computation", "false_computation"),
)
_ATTRIBUTE = re.compile(r'\b(\w+)=("(?:[^"\\]|\\.)*"|\{[^{}]*\}|[^\s,{}"]+)')


@dataclasses.dataclass(frozen=True)
class Shape:
    """Type and size of an array.

    Attributes:
        dtype: HLO's name of the type, such as ``bf16``.
        dimensions: Sizes as written; ``<=8`` is a size known only at run time, with its bound.
    """

    dtype: str
    dimensions: tuple[str, ...]

    @property
    def is_static(self) -> bool:
        """Whether all sizes are known at compile time."""
        return all(size.isdigit() for size in self.dimensions)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes, or the bounds of sizes known only at run time."""
        return tuple(int(re.sub(r"\D", "", size) or 0) for size in self.dimensions)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.sizes)

    @property
    def size(self) -> int:
        """Bytes, without padding."""
        bits = re.search(r"\d+", self.dtype)
        return self.elements * (int(bits[0]) if bits else 8) // 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction of a computation.

    Attributes:
        name: Name in the computation.
        opcode: Name of the operation.
        shapes: Shape of the result, or those of a tuple's elements.
        operands: Names of the operands.
        attributes: Attributes after the operands, such as ``to_apply``.
        op_name: Path of TensorFlow's operation that it comes from; may be empty.
        literal: Value of a constant, as written; empty for other operations.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    attributes: Mapping[str, str]
    op_name: str
    literal: str = ""

    @property
    def calls(self) -> tuple[str, ...]:
        """Names of the computations that it calls."""
        called = [self.attributes[key] for key in _CALLING if key in self.attributes]
        return tuple(_CALLED.findall(" ".join(called)))

    @property
    def shape(self) -> Shape:
        """Shape of the result, or of a tuple's first element."""
        return self.shapes[0]

    @property
    def where(self) -> str:
        """Short name for messages: the end of TensorFlow's path, or its own name."""
        parts = [part for part in self.op_name.split("/") if part]
        return "/".join(parts[-3:]) if parts else self.name


@dataclasses.dataclass(frozen=True)
class Computation:
    """A function of a program, with its instructions by name, in order."""

    name: str
    instructions: Mapping[str, Instruction]

    @property
    def root(self) -> Instruction:
        """The last instruction, whose result is the computation's."""
        return list(self.instructions.values())[-1]


@dataclasses.dataclass(frozen=True)
class Program:
    """An HLO module.

    Attributes:
        computations: The computations by name.
        entry: Name of the entry computation.
    """

    computations: Mapping[str, Computation]
    entry: str

    def __iter__(self) -> Iterator[tuple[Computation, Instruction]]:
        """Yields every instruction with its computation."""
        for computation in self.computations.values():
            for instruction in computation.instructions.values():
                yield computation, instruction

    def repeats(self) -> dict[str, int]:
        """Returns how often each computation runs; all branches count as taken.

        A loop runs as often as the constant that its condition compares with, which is correct for
        loops that count from 0. Other loops count once.
        """
        counts = dict.fromkeys(self.computations, 0)
        counts[self.entry] = 1
        # A computation is defined before its callers.
        for name in reversed(list(self.computations)):
            for instruction in self.computations[name].instructions.values():
                times = self._trip_count(instruction) if instruction.opcode == "while" else 1
                for called in instruction.calls:
                    if called in counts:
                        counts[called] += times * counts[name]
        return counts

    def _trip_count(self, loop: Instruction) -> int:
        waiting, bounds = [loop.attributes.get("condition", "")], []
        while waiting:
            computation = self.computations.get(waiting.pop())
            if computation is None:
                continue
            for instruction in computation.instructions.values():
                waiting += instruction.calls
                if instruction.attributes.get("direction") == "LT":
                    factors = [computation.instructions.get(name) for name in instruction.operands]
                    bounds += [part.literal for part in factors if part and part.literal.isdigit()]
        return int(bounds[0]) if len(bounds) == 1 else 1


def parse(text: str) -> Program:
    """Parses the text of an HLO module.

    Args:
        text: The module as printed by `as_hlo_text`, with or without operand types.

    Raises:
        ValueError: The text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    current: dict[str, Instruction] | None = None
    name = entry = ""
    for line in text.splitlines():
        stripped = line.strip()
        if current is None:
            header = _HEADER.match(stripped)
            if header is not None and not stripped.startswith("HloModule"):
                name, current = header[2], {}
                entry = name if header[1] else entry
        elif stripped == "}":
            computations[name], current = Computation(name, current), None
        elif " = " in stripped:
            instruction = _instruction(stripped)
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("The HLO text has no ENTRY computation.")
    return Program(computations, entry)


def _instruction(line: str) -> Instruction:
    left, right = line.removeprefix("ROOT ").split(" = ", 1)
    end = _end_of_shape(right)
    shape_text, rest = right[:end], right[end:].strip()
    opcode, rest = rest.split("(", 1)
    inside = _matching(rest)
    attributes = {key: value.strip('"%') for key, value in _ATTRIBUTE.findall(rest[inside + 1 :])}
    op_name = _OP_NAME.search(rest, inside)
    return Instruction(
        name=left.strip().lstrip("%"),
        opcode=opcode.strip(),
        shapes=tuple(_shapes(shape_text)) or (Shape("token", ()),),
        operands=tuple(_operands(rest[:inside])),
        attributes=attributes,
        op_name=op_name[1] if op_name else "",
        literal=rest[:inside].strip() if opcode.strip() == "constant" else "",
    )


def _end_of_shape(text: str) -> int:
    """Returns the end of the result's type, which may be a tuple in parentheses."""
    if text.startswith("("):
        return _matching(text[1:]) + 2
    return text.index(" ")


def _matching(text: str) -> int:
    """Returns the index of the parenthesis that closes one opened before `text`."""
    depth = 1
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return index
    raise ValueError(f"Unclosed parenthesis in: {text[:80]}")


def _shapes(text: str) -> list[Shape]:
    return [
        Shape(dtype, tuple(size.strip() for size in sizes.split(",") if size.strip()))
        for dtype, sizes in _SHAPE.findall(text)
    ]


def _operands(text: str) -> list[str]:
    """Returns the names in an operation's parentheses; constants have none."""
    names, depth, word = [], 0, ""
    for character in [*text, ","]:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            match = _NAME.search(word.strip())
            if match:
                names.append(match[1])
            word = ""
        else:
            word += character
    return names
