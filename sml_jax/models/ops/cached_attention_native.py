"""`cached_attention` on a CPU in compiled C++, which reads only the slots of a cache that hold tokens."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sml_jax.models.ops.cached_attention import KVSegment
from sml_jax.models.ops.native_build import ATTEND, load_native
from sml_jax.models.ops.native_product import native_product_pays


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
    """The result of `cached_attention` for two segments, a cache and the new tokens, whose slots are filled in order.

    `KVSegment.positions` and `valid` are not read. Of its cached slots a row sees those before the position of its
    first new token; of the new tokens a query sees itself and those before it. Each device computes with one core,
    except for a few rows (`native_product_pays`), where all cores share the work.

    Args:
      query: rotated queries, float32.
      segments: first the cache, then the new tokens. Keys and values are [rows, time, kv_heads, head_dim], so that what
        a row reads is contiguous, in float32 or bfloat16. With `rows`, the cache may have more rows than the batch, and
        it is not copied. The first query's own key is in slot `slot` of the new tokens, or in their first slot.
      positions: position of each query in its row's context.
      is_local: whether the layer sees only the last `window` tokens.
      window, scale, softcap: see `cached_attention`.

    Returns:
      The attended values of each query head, float32.
    """
    cache, new = segments
    load_native()
    # Outside a decode loop the new tokens begin at the first slot of their segment.
    slot = jnp.zeros((), jnp.int32) if new.slot is None else jnp.asarray(new.slot, jnp.int32)
    rows = jnp.arange(query.shape[0], dtype=jnp.int32) if cache.rows is None else cache.rows.reshape(-1)
    # The start of a row is the number of its cached tokens: the position of the first new one.
    out: jax.Array = jax.ffi.ffi_call(ATTEND, jax.ShapeDtypeStruct(query.shape, query.dtype))(
        query,
        *cache.kv,
        rows,
        positions[:, 0] - slot,
        *new.kv,
        slot,
        is_local,
        # 0 stands for "none" in C++, for the window and for the soft cap.
        window=np.int64(window),
        scale=np.float32(scale),
        softcap=np.float32(softcap or 0),
        shared=native_product_pays(query.shape[0]),
    )
    return out
