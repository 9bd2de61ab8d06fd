"""Calls of Keras code on given values of variables, which JAX's pure functions require."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import keras

T = TypeVar("T")


class _Scope(keras.StatelessScope):
    """A stateless scope that records the variables it has no values for."""

    def __init__(self, state_mapping: Sequence[tuple[keras.Variable, Any]] = ()) -> None:
        super().__init__(state_mapping=state_mapping)
        self.unmapped: dict[int, keras.Variable] = {}

    def get_current_value(self, variable: keras.Variable) -> Any:
        """Returns the value in the scope; None means the variable's own."""
        value = super().get_current_value(variable)
        if value is None:
            self.unmapped[id(variable)] = variable
        return value


def call_with(
    variables: Mapping[str, keras.Variable],
    values: Mapping[str, Any],
    function: Callable[[], T],
    read: dict[int, keras.Variable] | None = None,
) -> tuple[dict[str, Any], T]:
    """Calls a function with values in place of those of variables.

    Args:
        variables: Variables by name; may hold more than `values`.
        values: Values by the names of their variables.
        function: Reads and assigns variables as Keras code does.
        read: Receives the variables by id that the function read and that `values` lacks.

    Returns:
        The values afterwards, which hold its assignments, and what the function returned.
    """
    scope = _Scope([(variables[name], value) for name, value in values.items()])
    with scope:
        result = function()
    if read is not None:
        read |= scope.unmapped
    return {name: scope.get_current_value(variables[name]) for name in values}, result


def variables_read_by(function: Callable[..., Any], *args: Any) -> list[keras.Variable]:
    """Returns the variables that a function reads, in the order of their first use.

    Args:
        function: Keras code; it is traced, not computed.
        *args: Arrays, of which only shapes and dtypes matter.
    """
    scope = _Scope()
    with scope:
        jax.eval_shape(function, *args)
    return list(scope.unmapped.values())
