"""Counts the multiplications of a traced step, and finds sums with too little precision.

A jaxpr states the length of each loop over critic updates and micro-batches, which XLA's own count
of a program runs once.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LOW = ("bfloat16", "float16")

_SUMS = ("reduce_sum", "reduce_prod", "cumsum", "cumprod", "reduce_window_sum")

# A pooling window of up to this many values loses about as much as any activation in 16 bits.
_SMALL_WINDOW = 16

# Operations for which 8 bits of mantissa are too few if their results are summed, as in a norm or a
# loss. Otherwise they are activations.
_DELICATE = ("sqrt", "rsqrt", "cbrt", "log", "log1p", "pow", "div", "square", "integer_pow")

# Operations that pass their operand's values on.
_PASSING = ("convert_element_type", "reshape", "squeeze", "neg", "transpose", "copy", "expand_dims")

# Maximum number of operations that a message lists.
_MAX_NAMES = 2


@dataclasses.dataclass(frozen=True)
class Counted:
    """What a step computes on all devices together.

    Attributes:
        multiplications: Multiplications of convolutions and matrix products, by dtype, with the
            repetitions of loops.
        once: All of them, with each loop run once.
        sums: Sums of many numbers in 16 bits, with the places where they are.
        norms: Roots, quotients, logarithms and squares in 16 bits whose results are summed.
        results: Outputs of the step in 16 bits: losses, norms, weights.
    """

    multiplications: Mapping[str, int]
    once: int
    sums: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    @property
    def repetition(self) -> float:
        """Factor by which loops increase the count of a program that runs each of them once."""
        return sum(self.multiplications.values()) / self.once if self.once else 1.0

    @property
    def bfloat16_share(self) -> float:
        """Share of the multiplications in bfloat16, 0 to 1; 0 if there are none."""
        total = sum(self.multiplications.values())
        return self.multiplications.get("bfloat16", 0) / total if total else 0.0

    def problems(self, bfloat16: bool) -> list[str]:
        """Returns one sentence per problem.

        Args:
            bfloat16: Whether the run computes in bfloat16.
        """
        found = [
            f"{sentence}: {_some(names)}"
            for names, sentence in (
                (self.sums, "summed in bfloat16, but float32 is required"),
                (self.norms, "norm or loss in bfloat16, but float32 is required"),
                (self.results, "result in bfloat16, but float32 is required"),
            )
            if names
        ]
        share = self.bfloat16_share
        if bfloat16 and self.multiplications and share < 0.5:
            found.append(f"only {share:.0%} of the multiplications are in bfloat16")
        if not bfloat16 and share:
            found.append(f"{share:.0%} of the multiplications are in bfloat16")
        return found


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def count(jaxpr: Any) -> Counted:
    """Counts a step.

    Args:
        jaxpr: The closed jaxpr of the step.
    """
    walk = _Walk()
    walk.visit(jaxpr.jaxpr, {}, 1)
    results = tuple(
        f"output {index} {_shape(variable)}"
        for index, variable in enumerate(jaxpr.jaxpr.outvars)
        if _dtype(variable) in LOW
    )
    return Counted(
        dict(walk.multiplications), walk.once, tuple(walk.sums), tuple(walk.norms), results
    )


class _Walk:
    """Visits all equations, those of loops as often as they run."""

    def __init__(self) -> None:
        self.multiplications: Counter[str] = Counter()
        self.once = 0
        # Without repetitions, in the order found.
        self.sums: dict[str, None] = {}
        self.norms: dict[str, None] = {}

    def visit(self, jaxpr: Any, marks: dict[Any, str], times: int) -> list[str]:
        """Visits a jaxpr.

        Args:
            jaxpr: An open jaxpr.
            marks: Its variables that hold the results of delicate operations, with their places.
            times: How often it runs.

        Returns:
            The mark of each output; empty if it has none.
        """

        def mark_of(atom: Any) -> str:
            return "" if hasattr(atom, "val") else marks.get(atom, "")

        for equation in jaxpr.eqns:
            found: Sequence[str] = ()
            inner = list(_inner(equation))
            if inner:
                repeats = times * int(equation.params.get("length") or 1)
                for part in inner:
                    # Operands that only choose a branch or count come first.
                    given = equation.invars[len(equation.invars) - len(part.invars) :]
                    passed = {v: mark_of(a) for v, a in zip(part.invars, given, strict=False)}
                    found = self.visit(part, passed, repeats)
            else:
                found = self._operation(equation, [mark_of(atom) for atom in equation.invars])
                product = _multiplications(equation)
                self.once += product
                if product:
                    kinds = {_dtype(atom) for atom in equation.invars[:2]}
                    wide = sorted(kinds - set(LOW)) or sorted(kinds)
                    self.multiplications[wide[0]] += times * product
            if len(found) == len(equation.outvars):
                marks.update(
                    (variable, mark)
                    for variable, mark in zip(equation.outvars, found, strict=True)
                    if mark
                )
        return [mark_of(atom) for atom in jaxpr.outvars]

    def _operation(self, equation: Any, marks: Sequence[str]) -> Sequence[str]:
        """Returns the marks of an operation's outputs, and records what it sums."""
        name = equation.primitive.name
        if name in _SUMS:
            window = math.prod(equation.params.get("window_dimensions", (math.inf,)))
            if _dtype(equation.invars[0]) in LOW and window > _SMALL_WINDOW:
                self.sums[_place(equation)] = None
            if marks[0]:
                self.norms[marks[0]] = None
            return ()
        if name in _PASSING:
            return marks[:1]
        square = name == "mul" and equation.invars[0] is equation.invars[1]
        if (square or name in _DELICATE) and _dtype(equation.outvars[0]) in LOW:
            return [_place(equation)]
        return ()


def _inner(equation: Any) -> Iterator[Any]:
    """Yields the jaxprs that an equation calls: functions, loops and branches."""
    for value in equation.params.values():
        for part in value if isinstance(value, list | tuple) else (value,):
            if hasattr(part, "eqns"):
                yield part
            elif hasattr(part, "jaxpr") and hasattr(part.jaxpr, "eqns"):
                yield part.jaxpr


def _multiplications(equation: Any) -> int:
    """Returns the multiplications of a matrix product, or of a convolution including padding."""
    name = equation.primitive.name
    if name == "dot_general":
        (axes, _), _ = equation.params["dimension_numbers"]
        summed = math.prod(equation.invars[0].aval.shape[axis] for axis in axes)
    elif name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        output_axis = equation.params["dimension_numbers"].rhs_spec[0]
        # Zeros that a transposed convolution puts between pixels are not multiplied.
        zeros = math.prod(equation.params["lhs_dilation"])
        summed = math.prod(kernel) / kernel[output_axis] / zeros
    else:
        return 0
    return round(_size(equation.outvars[0]) * summed)


def _dtype(atom: Any) -> str:
    return str(getattr(atom.aval, "dtype", ""))


def _size(atom: Any) -> int:
    return math.prod(getattr(atom.aval, "shape", ()))


def _shape(atom: Any) -> str:
    return f"[{','.join(map(str, atom.aval.shape))}]"


def _place(equation: Any) -> str:
    """Returns the name, the shape and the scope of an operation."""
    scope = str(equation.source_info.name_stack)
    place = f"{equation.primitive.name} {_shape(equation.invars[0])}"
    return f"{place} ({scope})" if scope else place
