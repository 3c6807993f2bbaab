"""Whether parameters fit into the host's memory, before any is read: a CPU's arrays lie there.

A file of zeros or of holes takes little room on the disk and all of it in memory, and a system that runs out of memory
ends whichever process it likes.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import jax

from sml_jax.common.errors import UserError
from sml_jax.common.free_memory import free_bytes


def check_memory(folder: Path, shapes: Any) -> None:
    """Checks that parameters fit into the memory of this machine, if that is where their devices keep arrays.

    Accelerators say themselves that they have too little memory.

    Args:
      folder: of the model, for the error.
      shapes: a tree of `jax.ShapeDtypeStruct` with shardings.

    Raises:
      UserError: they take more than is free.
    """
    leaves = jax.tree.leaves(shapes)
    devices = {device for leaf in leaves for device in leaf.sharding.device_set}
    free = free_bytes()
    if free is None or not all(device.platform == "cpu" for device in devices):
        return
    # At least: what is replicated is there once for each device. Each process holds its part.
    needed_bytes = sum(prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves) // jax.process_count()
    if needed_bytes > free:
        raise UserError(
            f"the parameters of {folder} take {needed_bytes / 1e9:,.1f} GB, but {free / 1e9:,.1f} GB of memory "
            "are free: give a smaller model, param_dtype bfloat16, or a machine with more memory"
        )
