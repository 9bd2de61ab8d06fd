"""Program: compiles HLO with the TPU compiler of the libtpu wheel, without a TPU.

TensorFlow's step of one replica is compiled for one device of a topology that is not attached.
TensorFlow itself is not imported here: it contains an XLA and a protobuf of its own.
"""

import importlib.metadata
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from tfdeblur.io import subprocesses
from tfdeblur.tpu.cache import cached_reply

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


def compile_module(text: str, device: Any) -> dict[str, Any]:
    """Compiles the program of one replica for a device.

    Args:
        text: The program in StableHLO.
        device: A device of a topology.

    Returns:
        ``memory`` (bytes by kind), ``flops``, ``bytes_accessed`` and ``seconds``; or, if the
        compiler fails, the keys of `refusal` and ``seconds``.
    """
    import numpy as np
    from jax._src.interpreters import mlir
    from jax._src.lib import xla_client
    from jaxlib.mlir import ir

    with mlir.make_ir_context():
        parsed = ir.Module.parse(text)
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[device.id]]))
    begin = time.monotonic()
    try:
        program = device.client.compile(parsed, xla_client.DeviceList((device,)), options)
    except Exception as error:  # the class of JAX's error depends on the release
        return {**refusal(str(error)), "seconds": time.monotonic() - begin}
    seconds = time.monotonic() - begin
    costs = program.cost_analysis()
    return {
        "memory": memory_of(program.get_compiled_memory_stats()),
        "flops": float(costs["flops"]),
        "bytes_accessed": float(costs.get("bytes accessed", 0.0)),
        "seconds": seconds,
    }


def memory_of(stats: Any) -> dict[str, int]:
    """Returns the bytes of a compiled program by kind; an aliased output is an argument, too."""
    return {
        "arguments": stats.argument_size_in_bytes,
        "outputs": stats.output_size_in_bytes,
        "aliased": stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "code": stats.generated_code_size_in_bytes,
    }


def devices_of(topology: str, config_name: str) -> list[Any]:
    """Returns the devices of a topology, which need not be attached.

    Args:
        topology: Such as ``v5e:2x4``.
        config_name: Name of libtpu's configuration of the chip; empty for the default one.
    """
    from jax.experimental import topologies

    options = {"chip_config_name": config_name} if config_name else {}
    return list(topologies.get_topology_desc(topology, "tpu", **options).devices)


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
    from jax._src.lib import xla_client

    with open(request["hlo"], "rb") as file:
        module = xla_client.XlaComputation(file.read())
    text = xla_client._xla.mlir.xla_computation_to_mlir_module(module)
    text = _COPY.sub(_BARRIER, text)
    topology, used = request["topology"], versions()
    device = devices_of(topology, request["config_name"])[0]
    reply = cached_reply(
        request["cache"], text, topology, used, lambda: compile_module(text, device)
    )
    return {**used, **reply}


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
