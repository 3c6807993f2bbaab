"""How much of a device's memory a run may use."""

from __future__ import annotations

import socket

import jax

from sml_jax.common.free_memory import free_bytes
from sml_jax.distributed.processes import all_gather

GB = 1e9
# The share that is left for what no account sees. On a CPU: Python's objects, the compiler and other programs of the
# machine. On an accelerator: gaps between arrays.
_RESERVE_OF_CPUS = 0.10
_RESERVE_OF_ACCELERATORS = 0.05


def device_limit(memory_gb: float | None) -> float | None:
    """Bytes of each device that a run may use, the same in every process; None where no device tells.

    Call it before the model is loaded: on a CPU it is nine tenths of the memory that is free then, shared out among
    the devices of this machine's processes. An accelerator says how much it has, of which 95 in 100 parts may be used.

    Args:
      memory_gb: GB of a device that the user allows instead; None to ask the devices.
    """
    if memory_gb is not None:
        return memory_gb * GB
    limits = [limit for limit in all_gather(_limit_here()) if limit is not None]
    # One device that has less decides for all, since all run the same program.
    return min(limits) if limits else None


def gb_text(size: float) -> str:
    """A number of bytes in GB, as text."""
    return f"{size / GB:.3g}"


def _limit_here() -> float | None:
    """Bytes of each of this process's devices; None where they do not tell."""
    devices = jax.local_devices()
    hosts = all_gather(socket.gethostname())
    if devices[0].platform == "cpu":
        # Simulated devices share the machine's memory, and so do several processes on one machine.
        sharing = len(devices) * hosts.count(socket.gethostname())
        free = free_bytes()
        return None if free is None else free * (1 - _RESERVE_OF_CPUS) / sharing
    sizes = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known_sizes = [size for size in sizes if size]
    return min(known_sizes) * (1 - _RESERVE_OF_ACCELERATORS) if known_sizes else None
