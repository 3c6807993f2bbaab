"""Matrix products of a few rows on a CPU, in compiled C++ that shares the work among all cores."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from sml_jax.common.cores import cores
from sml_jax.models.ops.native_build import MULTIPLY, load_native

MAX_ROWS = 4
"""Up to this many rows, reading the kernel bounds a product, and several cores read faster than one. With more rows the
gain shrinks ("On a CPU" in docs/engine.md)."""


def native_product_pays(rows: int) -> bool:
    """Whether `native_product` is faster than XLA's product for this many rows of activations.

    It is false on a mesh of several CPU devices, where the other cores are busy with the work of the other devices.
    """
    # Inside a shard_map this is the mesh that the map runs on.
    one_device = jax.sharding.get_abstract_mesh().size <= 1
    return rows <= MAX_ROWS and one_device and cores() > 1


def native_product(x: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any) -> jax.Array:
    """`jax.lax.dot_general` in float32 for dense layers and the output layer. It has no derivative.

    The order of sums, and with it every bit of the result, does not depend on the number of cores.

    Args:
      x: activations [*batch, *inner], float32.
      kernel: weights [*inner, *outer]; or a table of embeddings [outer, inner], which is read without transposing it.
      dimension_numbers: the last dimensions of `x` with the first of `kernel`, or with the last of a table.
      options: the other arguments of `dot_general`, which must all be None.

    Returns:
      float32 [*batch, *outer].
    """
    (x_axes, kernel_axes), batch_axes = dimension_numbers
    assert tuple(x_axes) == tuple(range(x.ndim - len(x_axes), x.ndim)) and batch_axes == ((), ())
    assert all(value is None for value in options.values())
    # A table of embeddings is summed over its last axis, any other kernel over its first ones.
    is_table = tuple(kernel_axes) != tuple(range(len(kernel_axes)))
    assert not is_table or (kernel.ndim == 2 and tuple(kernel_axes) == (1,))
    # The C++ function knows matrices only: merge the batch, inner and outer dimensions.
    batch_shape = x.shape[: x.ndim - len(x_axes)]
    outer_shape = kernel.shape[:1] if is_table else kernel.shape[len(kernel_axes) :]
    inner_size = math.prod(x.shape[x.ndim - len(x_axes) :])
    x_matrix = x.reshape(-1, inner_size)
    kernel_matrix = kernel if is_table else kernel.reshape(inner_size, -1)
    load_native()
    result_shape = jax.ShapeDtypeStruct((x_matrix.shape[0], math.prod(outer_shape)), np.float32)
    out: jax.Array = jax.ffi.ffi_call(MULTIPLY, result_shape)(x_matrix, kernel_matrix, turned=is_table)
    return out.reshape(*batch_shape, *outer_shape)
