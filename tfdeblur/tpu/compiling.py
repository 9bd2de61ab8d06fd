"""Program: compiles HLO with the TPU compiler of the libtpu wheel, without a TPU.

It compiles a program completely, or until the compiler has laid out its memory. JAX gets a
topology that is not attached from libtpu, and compiles for one device of it. TensorFlow must not be
imported in this process, because both contain an XLA and a protobuf of their own.

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

# Without these variables libtpu searches for a TPU.
NO_TPU = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # Other compilations may run on this machine; none of them uses a device.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}

# HLO copies have no equivalent in StableHLO; a barrier returns its operand as well.
_COPY = re.compile(r"(?<!stable)mhlo\.copy (%\S+) : (tensor<[^>]*>)")
_BARRIER = r"stablehlo.optimization_barrier \1 : \2"

# Matches the out-of-memory message of older and newer releases.
_MEMORY = re.compile(
    r"(?:[Uu]sed|temporaries) \(?([\d.]+)([KMGT]?)\)? (?:of|exceeds available HBM) "
    r"\(?([\d.]+)([KMGT]?)\)?"
)
_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_OUT_OF_MEMORY = ("HbmOom", "memory space hbm", "available HBM")

# How often to check whether the memory has been laid out.
_POLL_SECONDS = 0.1


def inspect(module: bytes) -> dict[str, Any]:
    """Inspects a step before it is compiled.

    Args:
        module: Serialized HLO.

    Returns:
        An `inspection.Inspection` as JSON values.
    """
    from jax._src.lib import xla_client
    from jaxlib import _hlo

    options = _hlo.HloPrintOptions()
    # Includes the names of TensorFlow's operations.
    options.print_metadata = True
    text = xla_client.XlaComputation(module).as_hlo_module().to_string(options)
    return inspection.inspect(hlo.parse(text)).to_json()


def compile_module(module: bytes, topology: str) -> dict[str, Any]:
    """Compiles the program of one replica for one device of a topology.

    Args:
        module: Serialized HLO.
        topology: Such as ``v5e:2x2``.

    Returns:
        ``memory`` (bytes by kind), ``flops``, ``bytes_accessed`` and ``seconds``; or, if the
        compiler fails, the keys of `refusal` and ``seconds``.
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
    except Exception as error:  # the class of JAX's error depends on the release
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
    """Runs `compile_module` until the compiler has laid out the memory.

    The compiler continues in a background thread.

    Args:
        module: Serialized HLO.
        topology: Such as ``v5e:2x2``.
        folder: Folder of the compiler's dumps; see `layout.VARIABLE`.

    Returns:
        As `compile_module`, but without the size of the code and ``bytes_accessed``, and with the
        ``flops`` before fusion.
    """
    begin = time.monotonic()
    work = concurrent.futures.ThreadPoolExecutor(1).submit(compile_module, module, topology)
    memory = None
    while memory is None and not work.done():
        concurrent.futures.wait([work], _POLL_SECONDS)
        memory = layout.find(folder, work.done())
    if memory is None:
        # The compiler failed, or its dump is missing or has another format.
        reply = work.result()
        if "refused" in reply:
            return reply
        memory = {**reply["memory"], "code": 0}
    seconds = time.monotonic() - begin
    return {"memory": memory, "flops": _unfused_flops(module), "seconds": seconds}


def _unfused_flops(module: bytes) -> float:
    """Returns the floating-point operations of a program before optimization."""
    from jax._src.lib import xla_client

    program = xla_client.XlaComputation(module).as_hlo_module()
    costs = xla_client._xla.hlo_module_cost_analysis(xla_client.make_cpu_client(), program)
    return float(costs["flops"])


def refusal(message: str) -> dict[str, Any]:
    """Extracts the reason from an error message of the compiler.

    Args:
        message: The message, of many lines.

    Returns:
        ``refused``, the first line; if memory is the reason, ``no_room`` (True), and ``needed`` and
        ``limit`` in bytes if the message contains them.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reply: dict[str, Any] = {"refused": lines[0] if lines else "the compiler gives no reason"}
    if any(part in message for part in _OUT_OF_MEMORY):
        reply["no_room"] = True
        found = _MEMORY.search(message)
        if found:
            reply["needed"] = round(float(found[1]) * _FACTORS[found[2]])
            reply["limit"] = round(float(found[3]) * _FACTORS[found[4]])
    return reply


def versions() -> dict[str, str]:
    """Returns the versions of the compiler's packages."""
    return {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "libtpu")}


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    folder = request.get("layout")
    if folder is not None:
        os.environ[layout.VARIABLE] = layout.flags(folder, os.environ.get(layout.VARIABLE, ""))
    with open(request["hlo"], "rb") as file:
        module = file.read()
    reply: dict[str, Any] = versions()
    if request["inspect"]:
        reply["inspection"] = inspect(module)
    if folder is None:
        return {**reply, **compile_module(module, request["topology"])}
    return {**reply, **lay_out(module, request["topology"], folder)}


if __name__ == "__main__":
    CODE = subprocesses.serve(_work, sys.argv)
    # The compiler may still run in its thread, which a normal exit would wait for.
    os._exit(CODE)
