"""Products of a few rows with a kernel, on a CPU by compiled C++ (`sml_jax/models/ops`) that all cores share."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from sml_jax.common.cores import cores
from sml_jax.models.ops.build import MULTIPLY, load

FEW = 4
"""Rows up to which a product is bound by reading its kernel; with more, less and less is gained ("On a CPU" in
docs/engine.md)."""


def pays(rows: int) -> bool:
    """Whether `native_product` is the faster, where the caller's program is one device's: no other needs its cores."""
    alone = jax.sharding.get_abstract_mesh().size <= 1  # in a shard_map, the mesh that its loops run on
    return rows <= FEW and alone and cores() > 1


def native_product(x: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any) -> jax.Array:
    """`jax.lax.dot_general` for flax's dense layers and an output layer, in float32; has no derivative.

    The last dimensions of x by the first of the kernel, or the last one by the kernel's last (a table of embeddings,
    which is read as it lies). Sums run in the same order whatever the number of cores.
    """
    (inner, first), batch = dimension_numbers
    assert tuple(inner) == tuple(range(x.ndim - len(inner), x.ndim)) and batch == ((), ())
    assert all(value is None for value in options.values())
    turned = tuple(first) != tuple(range(len(first)))
    assert not turned or (kernel.ndim == 2 and tuple(first) == (1,))
    size = math.prod(x.shape[x.ndim - len(inner) :])
    flat = kernel if turned else kernel.reshape(size, -1)
    outer = kernel.shape[:1] if turned else kernel.shape[len(first) :]
    rows = x.reshape(-1, size)
    load()
    made = jax.ShapeDtypeStruct((rows.shape[0], math.prod(outer)), np.float32)
    out: jax.Array = jax.ffi.ffi_call(MULTIPLY, made)(rows, flat, turned=turned)
    return out.reshape(*x.shape[: x.ndim - len(inner)], *outer)
