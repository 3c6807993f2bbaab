"""Which code computes attention over caches, and what that choice asks of caches, mesh, products and int8 weights.

This is the one place that tells the choices apart. Everybody else asks the `CacheBackend`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from sml_jax.common.errors import UserError
from sml_jax.models.ops.attention import choose_implementation
from sml_jax.models.ops.cached_attention import cached_attention
from sml_jax.models.ops.cached_attention_native import native_cached_attention
from sml_jax.models.ops.int8 import AnyInt8Kernel, quantise, quantise_and_pack
from sml_jax.models.ops.native_product import native_product, native_product_pays
from sml_jax.models.ops.products import Product
from sml_jax.sharding import num_decode_loops


@dataclass(frozen=True)
class CacheBackend:
    """One way to compute attention over caches.

    Attributes:
      name: the value of `DecoderConfig.attention` that asks for it, for error messages.
      attend: a function with the signature of `cached_attention`.
      time_axis: the dimension of cached keys and values that counts tokens: 2 for [rows, kv_heads, time, head_dim],
        1 for [rows, time, kv_heads, head_dim].
      reads_full_capacity: whether a call reads every slot of a cache, so that short caches and ring buffers for local
        layers save time. False where it reads only the slots that a row has filled.
      selects_rows: whether `attend` takes the caches of all rows, and the numbers of the batch's rows in
        `KVSegment.rows`. If not, the caller must gather the caches of these rows.
      single_core: whether each device computes attention with one CPU core, in compiled C++. Then a mesh may have
        several devices on its `data` axis alone.
      int8_kernel: a function of a kernel and the axes that a product sums over, which gives the kernel in int8 in the
        form that the devices read fastest.
    """

    name: str
    attend: Callable[..., jax.Array]
    time_axis: int
    reads_full_capacity: bool
    selects_rows: bool
    single_core: bool
    int8_kernel: Callable[[jax.Array, tuple[int, ...]], AnyInt8Kernel]

    def product(self, rows: int) -> Product | None:
        """The matrix product to use in decoding steps with this many rows; None for the decoder's usual product."""
        return native_product if self.single_core and native_product_pays(rows) else None

    def check(self, mesh: Mesh, dtype: jnp.dtype, head_dim: int, softcap: float | None) -> None:
        """Checks that attention over caches can be computed on a mesh. The backend in plain JAX runs anywhere.

        Args:
          mesh: the devices.
          dtype: of queries, keys and values.
          head_dim: size of a head.
          softcap: tanh cap of the scores, None for none.

        Raises:
          UserError: the devices, the dtype, the head size or the mesh do not fit; the error says which.
        """
        # Plain JAX runs on any mesh, of any device.
        if not self.single_core:
            return
        choose_implementation(self.name, mesh.devices.flat[0].platform, dtype, head_dim, softcap)
        # Each device must have rows of its own: the C++ knows nothing of other devices.
        if num_decode_loops(mesh) != mesh.size:
            raise UserError(
                f'engine: attention "{self.name}" is of one core, and the mesh splits rows or heads by fsdp or tensor: '
                "give rollouts a mesh of data alone (Experiment.rollout_mesh), or set DecoderConfig.attention = "
                '"auto"'
            )


# A product over whole caches, which the compiler can split over a mesh.
_XLA = CacheBackend(
    "xla",
    cached_attention,
    time_axis=2,
    reads_full_capacity=True,
    selects_rows=False,
    single_core=False,
    int8_kernel=quantise,
)
# C++ that walks through the slots of one row after the other. Time comes first, so that these are contiguous.
_NATIVE = CacheBackend(
    "native",
    native_cached_attention,
    time_axis=1,
    reads_full_capacity=False,
    selects_rows=True,
    single_core=True,
    int8_kernel=quantise_and_pack,
)


def cache_backend(attention: str) -> CacheBackend:
    """The backend for a value of `DecoderConfig.attention`: C++ for "native", XLA for all others."""
    return _NATIVE if attention == _NATIVE.name else _XLA
