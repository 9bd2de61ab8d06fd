"""Decodes pickles of plain values and uint8 arrays without running code from them.

Python's unpickler runs any function that a pickle names. Even if it is restricted to NumPy's
constructors, a crafted state of an array or a dtype crashes the process. Therefore the few opcodes
that plain values and arrays require are interpreted here, and arrays are made of their bytes.

Reference: Python's `pickletools`, which describes the opcodes.
"""

import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

# A batch of CIFAR-10 has 31,000.
MAX_OPCODES = 500_000

_VALUES = ("BININT", "BININT1", "BININT2", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE")
# Text of Python 2, which `pickletools` decodes as Latin-1.
_OLD_TEXTS = ("SHORT_BINSTRING", "BINSTRING")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Array:
    """An array in a pickle.

    Attributes:
        value: uint8, read-only; None if the pickle sets no pixels.
    """

    value: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        """Sets the pixels from the state of a NumPy array."""
        version, shape, kind, fortran, data = state
        if version != 1 or not isinstance(kind, _Uint8) or fortran is not False:
            raise ValueError("it contains an array that is not plain uint8")
        if type(data) is not bytes or any(type(side) is not int or side < 0 for side in shape):
            raise ValueError("it contains an array without shape or data")
        self.value = np.frombuffer(data, np.uint8).reshape(shape)


class _Uint8:
    """NumPy's dtype uint8, whose state has no meaning."""

    def set_state(self, state: Any) -> None:
        """Ignores the byte order."""


def _make_array(arguments: Any) -> Array:
    return Array()


def _make_type(arguments: Any) -> _Uint8:
    if arguments[0] not in ("u1", b"u1"):
        raise ValueError(f"it contains an array of type {arguments[0]!r}, not uint8")
    return _Uint8()


_MAKERS: dict[tuple[str, str], Callable[[Any], Any] | None] = {
    ("numpy.core.multiarray", "_reconstruct"): _make_array,
    ("numpy._core.multiarray", "_reconstruct"): _make_array,
    ("numpy", "dtype"): _make_type,
    # An argument of `_reconstruct`.
    ("numpy", "ndarray"): None,
}


def decode(data: bytes) -> Any:
    """Returns the value in a pickle: of dictionaries, lists, tuples, texts, numbers and `Array`.

    Args:
        data: The pickle, of protocol 2 to 4. Texts of Python 2 are returned as bytes.

    Raises:
        Exception: The pickle is damaged or contains anything else; of almost any type.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    argument: Any

    def above_mark() -> list[Any]:
        place = marks.pop()
        values = stack[place:]
        del stack[place:]
        return values

    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count == MAX_OPCODES:
            raise ValueError("it has too many values")
        name = opcode.name
        if name in _VALUES or name in _TEXTS:
            stack.append(argument)
        elif name in _OLD_TEXTS:
            stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            items = tuple(stack[-_TUPLES[name] :])
            del stack[-_TUPLES[name] :]
            stack.append(items)
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(above_mark()))
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in ("APPEND", "APPENDS"):
            values = [stack.pop()] if name == "APPEND" else above_mark()
            _of(list, stack).extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = [stack.pop(-2), stack.pop()] if name == "SETITEM" else above_mark()
            target = _of(dict, stack)
            for key, value in zip(values[::2], values[1::2], strict=True):
                if type(key) not in (str, bytes):
                    raise ValueError("it contains a key that is not text")
                target[key] = value
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(_maker(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_maker(stack.pop(-2), stack.pop()))
        elif name == "REDUCE":
            arguments = stack.pop()
            maker = stack.pop()
            if maker not in (_make_array, _make_type):
                raise ValueError("it calls a value that is not a function")
            stack.append(maker(arguments))
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], Array | _Uint8):
                raise ValueError("it sets the state of a plain value")
            stack[-1].set_state(state)
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"it contains the opcode {name}, which plain values do not require")
    raise EOFError("it ends too early")


def _of(kind: type[Any], stack: list[Any]) -> Any:
    if type(stack[-1]) is not kind:
        raise ValueError(f"it adds items to a value that is not a {kind.__name__}")
    return stack[-1]


def _maker(module: str, name: str) -> Any:
    if (module, name) not in _MAKERS:
        raise ValueError(f"it requires {module}.{name}")
    return _MAKERS[module, name]
