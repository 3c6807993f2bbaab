"""`cached_attention` on a CPU by compiled C++: a row reads the slots that it holds and no more."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sml_jax.models.ops.build import ATTEND, load
from sml_jax.models.ops.cached_attention import KVSegment
from sml_jax.models.ops.native_product import pays


def native_cached_attention(
    query: Float[Array, "batch time heads dim"],
    segments: Sequence[KVSegment],
    positions: Int[Array, "batch time"],
    is_local: Bool[Array, ""],
    *,
    window: int,
    scale: float,
    softcap: float | None,
) -> Float[Array, "batch time heads dim"]:
    """As `cached_attention` of these two segments, in which slots hold tokens from the first on without a gap.

    Keys and values are [batch, time, kv_heads, dim], so that what a row holds lies in one piece. Masks are not read: a
    row's kept slots are those before the position of its first new one, and a query sees of the new what is at or
    before itself. Each device works on one core.

    Args:
      query: float32.
      segments: caches, which with `rows` may be of more rows than the batch has, and are not copied; and new tokens, of
        which the first query's own lies in `slot`, or in the first slot.
      positions, is_local, window, scale, softcap: see `cached_attention`.
    """
    kept, said = segments
    load()
    slot = jnp.zeros((), jnp.int32) if said.slot is None else jnp.asarray(said.slot, jnp.int32)
    rows = jnp.arange(query.shape[0], dtype=jnp.int32) if kept.rows is None else kept.rows.reshape(-1)
    out: jax.Array = jax.ffi.ffi_call(ATTEND, jax.ShapeDtypeStruct(query.shape, query.dtype))(
        query,
        *kept.kv,
        rows,
        positions[:, 0] - slot,
        *said.kv,
        slot,
        is_local,
        window=np.int64(window),
        scale=np.float32(scale),
        softcap=np.float32(softcap or 0),
        shared=pays(query.shape[0]),
    )
    return out
