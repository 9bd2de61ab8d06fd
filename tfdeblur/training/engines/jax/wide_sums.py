"""Sums of gradients in float32 where networks compute in bfloat16.

The gradient of a weight is a sum over the positions of all images. Keras casts weights to bfloat16
inside its layers, so JAX computes that sum in bfloat16 and converts the result to float32; XLA,
which divides the sum over devices, then adds the parts of the devices in bfloat16, too, once for
each term. `widened` makes such a sum float32 before it is rounded. Matrix units accumulate in
float32 anyway, so this costs no multiplications.

Sums whose results stay in bfloat16, such as the gradients of factors by channel, are rounded once,
after the sum: on CPUs XLA adds in bfloat16, and 65,536 ones were 16,384.

Reference:
    JAX, "Writing custom Jaxpr interpreters in JAX".
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend import core

_CONVERT = "convert_element_type"
_PRODUCTS = ("conv_general_dilated", "dot_general")
_SUM = "reduce_sum"

# Operations that pass their operands' values on, or add them.
_PASSING = (
    "add_any",
    "broadcast_in_dim",
    "copy",
    "expand_dims",
    "neg",
    "reshape",
    "rev",
    "squeeze",
    "transpose",
)


def widened(function: Callable[..., Any], *, cpu: bool = False) -> Callable[..., Any]:
    """Returns the same function with sums in float32, rounded if it does not convert them.

    Args:
        function: From arrays in nested structures to the same.
        cpu: Whether it is compiled for CPUs, where XLA lacks some matrix products of bfloat16 with
            float32 results: their operands become float32.
    """

    @functools.wraps(function)
    def wide(*args: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        found = _evaluate(closed, jax.tree.leaves(args), cpu)
        return jax.tree.unflatten(jax.tree.structure(shapes), found)

    return wide


def _evaluate(closed: Any, args: Sequence[Any], cpu: bool) -> list[Any]:
    """Evaluates a closed jaxpr; its operations keep their names, which profiles show."""
    jaxpr = closed.jaxpr
    wide = _to_widen(jaxpr)
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def value_of(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        operands = [value_of(atom) for atom in equation.invars]
        name = equation.primitive.name
        params = {name: _inside(value, cpu) for name, value in equation.params.items()}
        is_wide = any(variable in wide for variable in equation.outvars)
        if not is_wide and name != _CONVERT:
            operands = [_like(x, atom) for x, atom in zip(operands, equation.invars, strict=True)]
        if is_wide and name in _PRODUCTS:
            params["preferred_element_type"] = jax.numpy.dtype("float32")
        product_on_cpu = is_wide and cpu and name == "dot_general"
        if product_on_cpu or (name == _SUM and operands[0].dtype == "bfloat16"):
            operands = [lax.convert_element_type(operand, "float32") for operand in operands]
        bound = equation.primitive.get_bind_params(params)
        if isinstance(bound, tuple):  # earlier releases return functions apart
            functions, bound = bound
            operands = [*functions, *operands]
        scope = str(equation.source_info.name_stack)
        with jax.named_scope(scope) if scope else contextlib.nullcontext():
            results = equation.primitive.bind(*operands, **bound)
            results = results if equation.primitive.multiple_results else [results]
            if name == _SUM and not is_wide:
                results = [_like(results[0], equation.outvars[0])]
        values.update(zip(equation.outvars, results, strict=True))
    return [value_of(atom) for atom in jaxpr.outvars]


def _like(value: Any, atom: Any) -> Any:
    """Rounds a sum of which bfloat16 is used."""
    dtype = getattr(atom.aval, "dtype", None)
    rounds = dtype == "bfloat16" and value.dtype == "float32"
    return lax.convert_element_type(value, dtype) if rounds else value


def _inside(value: Any, cpu: bool) -> Any:
    """Widens the body of a loop, branch, function or pass; other parameters are unchanged."""
    if type(value) is tuple:  # branches; named tuples are other parameters
        return tuple(_inside(part, cpu) for part in value)
    if isinstance(value, core.ClosedJaxpr):
        shapes = [variable.aval for variable in value.jaxpr.invars]
        return jax.make_jaxpr(lambda *args: _evaluate(value, args, cpu))(*shapes)
    # What is recomputed in the backward pass has no constants. From JAX 0.12 on, it is closed.
    if isinstance(value, core.Jaxpr):
        return _inside(core.ClosedJaxpr(value, ()), cpu).jaxpr
    return value


def _to_widen(jaxpr: Any) -> set[Any]:
    """Returns the variables of 16 bits that are sums, and of which only float32 is used."""
    users: dict[Any, list[Any]] = {}
    for equation in jaxpr.eqns:
        for atom in equation.invars:
            if not isinstance(atom, core.Literal):
                users.setdefault(atom, []).append(equation)
    results = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    wanted: set[Any] = set()
    for equation in reversed(jaxpr.eqns):
        for atom in equation.outvars:
            if (
                getattr(atom.aval, "dtype", None) == "bfloat16"
                and atom not in results
                and users.get(atom)
                and all(_widens(user, wanted) for user in users[atom])
            ):
                wanted.add(atom)
    wide: set[Any] = set()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        is_sum = name in _PRODUCTS or name == _SUM
        passes = name in _PASSING and not any(
            isinstance(atom, core.Literal) or atom not in wide for atom in equation.invars
        )
        if equation.outvars[:1] and equation.outvars[0] in wanted and (is_sum or passes):
            wide.add(equation.outvars[0])
    return wide


def _widens(equation: Any, wanted: set[Any]) -> bool:
    """Returns whether an operation converts its operand to float32, or passes it on to one."""
    if equation.primitive.name == _CONVERT:
        return bool(equation.params["new_dtype"] == "float32")
    return equation.primitive.name in (*_PASSING, _SUM) and equation.outvars[0] in wanted
