"""Program: compiles HLO with the TPU compiler that the libtpu wheel carries; no TPU is needed.

It compiles all of a program, or only until the compiler has laid out its memory. JAX asks libtpu
for a topology that is not attached and compiles for one device of it. TensorFlow must not be
imported in this process: both bring an XLA and a protobuf of their own.

Reference:
    JAX, "Ahead-of-time lowering and compilation", and `jax.experimental.topologies`.
"""

import concurrent.futures
import importlib.metadata
import os
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from tfdeblur.io import subprocesses
from tfdeblur.tpu import hlo, inspection, layout

# What the TPU's library asks a machine for; without these it looks for a TPU that is not there.
NO_TPU = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # Other compilations may run on this machine; none of them owns a device.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}

# HLO copies have no form in StableHLO; a barrier keeps the value and changes nothing else.
_COPY = re.compile(r"(?<!stable)mhlo\.copy (%\S+) : (tensor<[^>]*>)")
_BARRIER = r"stablehlo.optimization_barrier \1 : \2"

# Two generations of the same message.
_MEMORY = re.compile(
    r"(?:[Uu]sed|temporaries) \(?([\d.]+)([KMGT]?)\)? (?:of|exceeds available HBM) "
    r"\(?([\d.]+)([KMGT]?)\)?"
)
_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_NO_ROOM = ("HbmOom", "memory space hbm", "available HBM")

# How often to look whether the memory has been laid out.
_LOOK_SECONDS = 0.1


def inspected(module: bytes) -> dict[str, Any]:
    """Returns what is to be said of a step before it is compiled; see `inspection.Inspection`."""
    from jax._src.lib import xla_client
    from jaxlib import _hlo

    options = _hlo.HloPrintOptions()
    # Names of TensorFlow's operations, so that a finding can say where.
    options.print_metadata = True
    text = xla_client.XlaComputation(module).as_hlo_module().to_string(options)
    return inspection.inspect(hlo.parse(text)).to_json()


def compile_module(module: bytes, topology: str) -> dict[str, Any]:
    """Compiles one replica's program for one device of a topology.

    Args:
        module: Serialized HLO.
        topology: Such as ``v5e:2x2``.

    Returns:
        Bytes by kind under ``memory``, ``flops``, ``bytes_accessed`` and ``seconds``; or the
        reason under ``refused``, with ``needed`` and ``limit`` in bytes where there is no room.
    """
    import numpy as np
    from jax._src.interpreters import mlir
    from jax._src.lib import xla_client
    from jax.experimental import topologies
    from jaxlib.mlir import ir

    device = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0]
    text = xla_client._xla.mlir.xla_computation_to_mlir_module(xla_client.XlaComputation(module))
    with mlir.make_ir_context():
        parsed = ir.Module.parse(_COPY.sub(_BARRIER, text))
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[device.id]]))
    begin = time.monotonic()
    try:
        program = device.client.compile(parsed, xla_client.DeviceList((device,)), options)
    except Exception as error:  # JAX's own error type has moved from release to release
        return {**refusal(str(error)), "seconds": time.monotonic() - begin}
    seconds = time.monotonic() - begin
    memory = program.get_compiled_memory_stats()
    costs = program.cost_analysis()
    return {
        "memory": {
            "arguments": memory.argument_size_in_bytes,
            "outputs": memory.output_size_in_bytes,
            "aliased": memory.alias_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
            "code": memory.generated_code_size_in_bytes,
        },
        "flops": float(costs["flops"]),
        "bytes_accessed": float(costs.get("bytes accessed", 0.0)),
        "seconds": seconds,
    }


def lay_out(module: bytes, topology: str, folder: str) -> dict[str, Any]:
    """Does what `compile_module` does, until the compiler has laid out the memory.

    Args:
        module: Serialized HLO.
        topology: Such as ``v5e:2x2``.
        folder: Where the compiler writes its plan, as the variable of `layout` says.

    Returns:
        The same, but no bytes of code, operations as they are before the compiler fuses them, and
        no ``bytes_accessed``. The compiler goes on in a thread of its own that nobody waits for.
    """
    begin = time.monotonic()
    work = concurrent.futures.ThreadPoolExecutor(1).submit(compile_module, module, topology)
    memory = None
    while memory is None and not work.done():
        concurrent.futures.wait([work], _LOOK_SECONDS)
        memory = layout.find(folder, work.done())
    if memory is None:
        # It was refused, or this compiler writes no plan, or another one.
        answer = work.result()
        if "refused" in answer:
            return answer
        memory = {**answer["memory"], "code": 0}
    seconds = time.monotonic() - begin
    return {"memory": memory, "flops": _operations(module), "seconds": seconds}


def _operations(module: bytes) -> float:
    """Returns the floating-point operations of a program as it was written."""
    from jax._src.lib import xla_client

    written = xla_client.XlaComputation(module).as_hlo_module()
    costs = xla_client._xla.hlo_module_cost_analysis(xla_client.make_cpu_client(), written)
    return float(costs["flops"])


def refusal(message: str) -> dict[str, Any]:
    """Returns why the compiler refused, in one line, and what room it wanted.

    Args:
        message: The compiler's own, many lines long.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    answer: dict[str, Any] = {"refused": lines[0] if lines else "the compiler says no more"}
    if any(words in message for words in _NO_ROOM):
        answer["no_room"] = True
        found = _MEMORY.search(message)
        if found:
            answer["needed"] = round(float(found[1]) * _FACTORS[found[2]])
            answer["limit"] = round(float(found[3]) * _FACTORS[found[4]])
    return answer


def versions() -> dict[str, str]:
    """Returns the versions of what compiles."""
    return {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "libtpu")}


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    folder = request.get("layout")
    if folder is not None:
        os.environ[layout.VARIABLE] = layout.flags(folder, os.environ.get(layout.VARIABLE, ""))
    with open(request["hlo"], "rb") as file:
        module = file.read()
    answer: dict[str, Any] = versions()
    if request["inspect"]:
        answer["inspection"] = inspected(module)
    if folder is None:
        return {**answer, **compile_module(module, request["topology"])}
    return {**answer, **lay_out(module, request["topology"], folder)}


if __name__ == "__main__":
    CODE = subprocesses.serve(_work, sys.argv)
    # The compiler may still be at work, and leaving in the usual way would wait for it.
    os._exit(CODE)
