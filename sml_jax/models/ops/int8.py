"""Kernels in int8 with a scale for each output channel: the weights that an engine samples with, never a trainer's."""

from __future__ import annotations

import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sml_jax.models.ops.native_product import int8_native_product

LARGEST = 127  # the integers are symmetric, from -127 to 127, so that 0 stays 0
ROLLOUT_WEIGHTS = ("int8",)
"""The values of `DecoderConfig.rollout_weights` beside None."""

# The packed form: columns that lie side by side, and rows that the sizes are filled up to. 16 columns of 4 rows fill a
# register of 512 bits, 64 rows of them a tile of AMX.
_COLUMNS, _ROWS_OF_WORD, _ROWS = 16, 4, 64


@flax.struct.dataclass
class Int8Kernel:
    """A kernel as integers times a scale: `values * scale`, where a scale belongs to an output channel.

    Attributes (arrays, or their shapes or shardings):
      values: int8, in the shape of the kernel: [*inner, *outer], or a table of embeddings [outer, inner].
      scale: float32 [*outer].
      inner_axes: the axes of `values` that a product sums over; static.
    """

    values: Any
    scale: Any
    inner_axes: tuple[int, ...] = flax.struct.field(pytree_node=False)

    def product(self, x: Float[Array, "*batch_and_inner"]) -> Float[Array, "*batch_and_outer"]:
        """x [*batch, *inner] times the kernel, float32 [*batch, *outer].

        The integers are exact in the dtype of `x`, bfloat16 too. TPUs and GPUs widen them as they read the kernel.
        """
        x_axes = tuple(range(x.ndim - len(self.inner_axes), x.ndim))
        axes = ((x_axes, self.inner_axes), ((), ()))
        sums = jax.lax.dot_general(x, self.values.astype(x.dtype), axes, preferred_element_type=jnp.float32)
        return sums * self.scale

    def rows(self, numbers: Int[Array, "*batch"]) -> Float[Array, "*batch inner"]:
        """The rows of a table with these numbers, float32."""
        values = jnp.take(self.values, numbers, axis=0).astype(jnp.float32)
        return values * jnp.take(self.scale, numbers, axis=0)[..., None]


@flax.struct.dataclass
class PackedInt8Kernel:
    """An `Int8Kernel` as the C++ product reads it (`native/multiply_int8.cc`), for one CPU device.

    Attributes (arrays, or their shapes or shardings):
      words: uint8 [columns / 16, rows / 4, 16, 4], the integers plus 128. Columns are the output channels and rows what
        a product sums over, filled up with zeros to multiples of 16 and 64.
      scale: float32 [columns], 0 where columns are filled up.
      inner_shape, outer_shape: the kernel's dimensions; static.
    """

    words: Any
    scale: Any
    inner_shape: tuple[int, ...] = flax.struct.field(pytree_node=False)
    outer_shape: tuple[int, ...] = flax.struct.field(pytree_node=False)

    def product(self, x: Float[Array, "*batch_and_inner"]) -> Float[Array, "*batch_and_outer"]:
        """As `Int8Kernel.product`, for float32 `x`, see `int8_native_product`."""
        batch_shape = x.shape[: x.ndim - len(self.inner_shape)]
        matrix = x.reshape(-1, math.prod(self.inner_shape))
        out = int8_native_product(matrix, self.words, self.scale, math.prod(self.outer_shape))
        return out.reshape(*batch_shape, *self.outer_shape)

    def rows(self, numbers: Int[Array, "*batch"]) -> Float[Array, "*batch inner"]:
        """As `Int8Kernel.rows`."""
        # The words of an output channel: [..., rows / 4, 4].
        words = self.words[numbers // _COLUMNS, :, numbers % _COLUMNS]
        values = words.reshape(*numbers.shape, -1)[..., : math.prod(self.inner_shape)].astype(jnp.float32) - 128
        return values * jnp.take(self.scale, numbers, axis=0)[..., None]


AnyInt8Kernel = Int8Kernel | PackedInt8Kernel


def quantise(kernel: Float[Array, "*inner_and_outer"], inner_axes: tuple[int, ...]) -> Int8Kernel:
    """Rounds each output channel of a kernel to 255 steps between plus and minus its largest magnitude.

    Args:
      kernel: float weights.
      inner_axes: the axes that a product sums over.
    """
    kernel = kernel.astype(jnp.float32)
    largest = jnp.max(jnp.abs(kernel), axis=inner_axes, keepdims=True)
    # A channel of zeros stays zeros, whatever its scale.
    scale = jnp.where(largest > 0, largest / LARGEST, 1.0)
    values = jnp.round(kernel / scale).astype(jnp.int8)
    return Int8Kernel(values, jnp.squeeze(scale, inner_axes), inner_axes)


def quantise_and_pack(kernel: Float[Array, "*inner_and_outer"], inner_axes: tuple[int, ...]) -> PackedInt8Kernel:
    """As `quantise`, in the form that the C++ product reads."""
    plain = quantise(kernel, inner_axes)
    inner_shape = tuple(kernel.shape[axis] for axis in inner_axes)
    outer_shape = plain.scale.shape
    # One matrix [rows, columns], filled up to whole blocks.
    last_outer = jnp.moveaxis(plain.values, inner_axes, range(len(inner_axes)))
    matrix = last_outer.reshape(math.prod(inner_shape), math.prod(outer_shape))
    more_rows, more_columns = -matrix.shape[0] % _ROWS, -matrix.shape[1] % _COLUMNS
    matrix = jnp.pad(matrix, ((0, more_rows), (0, more_columns)))
    scale = jnp.pad(plain.scale.reshape(-1), (0, more_columns))
    # The instructions multiply signed by unsigned bytes, so what is added here is taken off the sums again.
    shifted = (matrix.astype(jnp.int16) + 128).astype(jnp.uint8)
    blocks = shifted.reshape(shifted.shape[0] // _ROWS_OF_WORD, _ROWS_OF_WORD, -1, _COLUMNS)
    return PackedInt8Kernel(blocks.transpose(2, 0, 3, 1), scale, inner_shape, outer_shape)
