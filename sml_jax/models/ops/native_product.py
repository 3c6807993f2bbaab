"""Matrix products on a CPU in compiled C++ that shares the work among all cores: of a few rows, or in int8."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from sml_jax.common.cores import cores
from sml_jax.models.ops.native_build import MULTIPLY, MULTIPLY_INT8, load_native

MAX_ROWS = 4
"""Up to this many rows, reading the kernel bounds a product, and several cores read faster than one. With more rows the
gain shrinks ("On a CPU" in docs/engine.md)."""


def native_product_pays(rows: int) -> bool:
    """Whether `native_product` is faster than XLA's product for this many rows of activations.

    It is false on a mesh of several CPU devices, where the other cores are busy with the work of the other devices.
    """
    return rows <= MAX_ROWS and _on_one_device() and cores() > 1


def _on_one_device() -> bool:
    """Whether what is traced runs on one device, whose work all cores may share."""
    # Inside a shard_map this is the mesh that the map runs on.
    return jax.sharding.get_abstract_mesh().size <= 1


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


def int8_native_product(
    x: Float[Array, "rows inner"],
    words: UInt8[Array, "blocks lines 16 4"],
    scale: Float[Array, " columns"],
    outer: int,
) -> Float[Array, "rows {outer}"]:
    """The product of float32 rows and a kernel in int8, packed as `int8.PackedInt8Kernel` says. It has no derivative.

    With a CPU's instructions for bytes (VNNI) each row is rounded to integers of 16 bits, whose step is the row's
    largest magnitude / 32,639; sums are exact, and whatever else is rounded is float32's last digits. Other CPUs widen
    the kernel's integers to floats in registers. Neither depends on the number of cores.

    Args:
      x: activations, float32.
      words, scale: the kernel.
      outer: how many of the columns are real; static.
    """
    load_native()
    result_shape = jax.ShapeDtypeStruct((x.shape[0], outer), np.float32)
    out: jax.Array = jax.ffi.ffi_call(MULTIPLY_INT8, result_shape)(x, words, scale, shared=_on_one_device())
    return out
