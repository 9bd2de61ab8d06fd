"""Bytes that devices exchange in a compiled program."""

import math
import re
from collections import Counter

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}
_SHAPE = re.compile(r"\b(\w+)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_COLLECTIVE = re.compile(
    r"= (.+?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\("
)
_CALLED = re.compile(r"\b(?:body|calls|to_apply|branch_computations)=\{?([^,}]*(?:, %[^,}]*)*)")
_CONDITION = re.compile(r"\bcondition=%?([\w.\-]+)")
_BOUND = re.compile(r"\bconstant\((\d+)\)")


def exchanged(text: str, devices: int) -> dict[str, float]:
    """Returns the bytes that a device has to send in one run, whatever the route.

    Loops are repeated as often as the constant in their condition states, as JAX's scans are.

    Args:
        text: The optimized HLO of one device.
        devices: Number of devices.

    Returns:
        Bytes by operation and dtype, such as ``all-reduce f32``.
    """
    computations: dict[str, list[str]] = {}
    entry = ""
    lines: list[str] = []
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            lines = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        else:
            lines.append(line)
    times = Counter({entry: 1})
    sent: dict[str, float] = {}
    # A computation is defined before its callers.
    for name in reversed(computations):
        for line in computations[name]:
            repeats = times[name]
            if condition := _CONDITION.search(line):
                bounds = _BOUND.findall("\n".join(computations.get(condition[1], ())))
                repeats *= int(bounds[0]) if len(bounds) == 1 else 1
            for called in _CALLED.findall(line):
                for part in called.split(","):
                    times[part.strip(" %")] += repeats
            if found := _COLLECTIVE.search(line):
                shapes, kind, start = found.groups()
                # A ring reduces a part of the array per device and hop, then passes it on.
                share = (devices - 1) / devices * (2 if kind == "all-reduce" else 1)
                if kind == "reduce-scatter":
                    share *= devices  # the result is one device's part
                arrays = _SHAPE.findall(shapes)
                if start and kind != "all-reduce":
                    # Operands are listed before results, and numbers without axes after them.
                    arrays = [found for found in arrays if found[1]]
                    arrays = arrays[len(arrays) // 2 :]
                for dtype, sides in arrays:
                    size = math.prod(int(side) for side in sides.split(",") if side)
                    size *= times[name] * _BYTES.get(dtype, 4)
                    key = f"{kind} {dtype}"
                    sent[key] = sent.get(key, 0.0) + share * size
    return {kind: size for kind, size in sent.items() if size}
