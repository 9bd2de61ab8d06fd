"""The matrix products of traced programs, and whether devices may round their factors."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from jax.lax import Precision

from tfdeblur.tpu import counting

PRODUCTS = ("conv_general_dilated", "dot_general")
FULL = (Precision.HIGHEST, Precision.HIGHEST)


def products(jaxpr: Any, around: tuple[str, ...] = ()) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yields all convolutions and matrix products, those of loops and functions included.

    Args:
        jaxpr: A jaxpr, open or closed.
        around: Names of the operations that call it.

    Yields:
        An equation, and the names of the operations around it, the outermost first.
    """
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in PRODUCTS:
            yield equation, around
        for part in counting._inner(equation):
            yield from products(part, (*around, name))


def summary(jaxprs: Iterable[Any]) -> dict[str, Any]:
    """Returns JSON values about the products of float32 in several programs.

    ``counts`` by operation, the names of operations ``around`` them, and a text for each of the
    ``rounded`` ones: on TPUs and recent GPUs, all whose precision is not `FULL`.
    """
    counts: Counter[str] = Counter()
    places: set[str] = set()
    rounded = []
    for jaxpr in jaxprs:
        for equation, around in products(jaxpr):
            factors = [atom.aval for atom in equation.invars[:2]]
            if "float32" not in {str(factor.dtype) for factor in factors}:
                continue
            name, precision = equation.primitive.name, equation.params["precision"]
            counts[name] += 1
            places.update(around)
            if precision != FULL:
                shapes = " ".join(str(factor) for factor in factors)
                rounded.append(f"{'/'.join((*around, name))} {shapes}: {precision}")
    return {"counts": dict(counts), "around": sorted(places), "rounded": rounded}
