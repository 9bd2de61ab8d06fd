"""TensorFlow, imported when it is first used.

The JAX engine reads sets that fit in memory, validates and saves without it. So modules that are
loaded in every run import it from here, with their annotations as text
(``from __future__ import annotations``); Keras's own modules do the same.
"""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeGuard, TypeVar

from tfdeblur.errors import UserError

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _TensorFlow:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)  # tools that look into all objects of a module
        try:
            return getattr(importlib.import_module("tensorflow"), name)
        except ModuleNotFoundError as error:
            raise UserError(
                'This needs TensorFlow, which is not installed: pip install "tfdeblur[cpu]".'
            ) from error


if TYPE_CHECKING:
    import tensorflow as tensorflow
else:
    tensorflow = _TensorFlow()


def has_tensorflow() -> bool:
    """Returns whether TensorFlow is installed; does not import it."""
    return importlib.util.find_spec("tensorflow") is not None


def is_dataset(value: Any) -> TypeGuard[Any]:
    """Returns whether a value is a `tf.data.Dataset`."""
    loaded = sys.modules.get("tensorflow") is not None
    return loaded and isinstance(value, tensorflow.data.Dataset)


def without_autograph(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator: functions that `function` hands to tf.data are traced as they are.

    AutoGraph would first rewrite the source of each, and of all that they call, which takes longer
    than tracing. None of them has Python control flow that depends on a tensor.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        # Decorated in each call, since TensorFlow is not imported before.
        result: _R = tensorflow.autograph.experimental.do_not_convert(function)(*args, **kwargs)
        return result

    return call
