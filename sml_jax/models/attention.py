"""The attention of a layer: its projections, norms and rotary embeddings around the attention of `models.ops`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sml_jax.models.config import DecoderConfig
from sml_jax.models.layer_kinds import LayerKind
from sml_jax.models.ops.attention import self_attention
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.models.ops.cached_attention import KVCache, KVSegment, write_slots
from sml_jax.models.ops.products import Product, projection
from sml_jax.models.ops.rope import RopeScaling, frequencies, rotate
from sml_jax.models.parts import RMSNorm, project_heads_out, project_into, unit_rms
from sml_jax.models.prefix_sharing import SharedPrefix


class Attention(nn.Module):
    """Grouped-query attention of new tokens over cached tokens and themselves, with its projections.

    It is called with the arguments of `Layer` and returns hidden states to add to the residual stream, and the new
    tokens' keys and values; see `Layer`.

    Attributes:
      config: the decoder's configuration.
      kind: the layer's kind.
      product: the function that multiplies activations by weights.
    """

    config: DecoderConfig
    kind: LayerKind
    product: Product = projection

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time embed"],
        is_local: bool | Bool[Array, ""],
        positions: Int[Array, "batch time"],
        past: Sequence[KVSegment] = (),
        valid: Bool[Array, "batch time"] | None = None,
        shared: SharedPrefix | None = None,
        read_kv: KVCache | None = None,
    ) -> tuple[Float[Array, "batch time embed"], KVCache | None]:
        c, kind = self.config, self.kind
        # A single head that all queries share cannot be split over devices: each of them holds all of it.
        kv_axis = "kv_heads" if kind.kv_heads > 1 else None

        def project_heads(
            name: str, heads: int, axis: str | None, dim: int = kind.head_dim
        ) -> Float[Array, "batch time heads dim"]:
            return project_into(c, self.product, name, x, (heads, dim), (axis, "head_dim"), use_bias=c.qkv_bias)

        def norm(name: str, heads: jax.Array) -> jax.Array:
            return RMSNorm(c.norm_eps, c.norm_plus_one, "head_dim", name=name)(heads) if c.qk_norm else heads

        # Both frequencies are computed and one is selected, since `is_local` may be traced in the scan.
        rotary_dim = c.rotary_dim or kind.head_dim
        frequency = frequencies(rotary_dim, c.rope_base, c.rope_scaling)
        if c.rope_local_base is not None:
            local_frequency = frequencies(rotary_dim, c.rope_local_base, RopeScaling())
            frequency = jnp.where(is_local, local_frequency, frequency)

        # Queries, keys and values [batch, time, heads, head_dim]; normed where the family does so, then rotated.
        if c.output_gate:
            # One projection makes a head's query and its gate, as the families that have gates store it.
            query_and_gate = project_heads("query", c.heads, "heads", 2 * kind.head_dim)
            query, gate = jnp.split(query_and_gate, 2, axis=-1)
        else:
            query = project_heads("query", c.heads, "heads")
        own_kv = None
        if not kind.shares_kv:
            key = project_heads("key", kind.kv_heads, kv_axis)
            # Values are never rotated, so they differ from keys even where both come from one projection.
            value = key if kind.key_as_value else project_heads("value", kind.kv_heads, kv_axis)
            if c.value_norm:
                value = unit_rms(value, c.norm_eps).astype(value.dtype)
            own_kv = KVCache(rotate(norm("key_norm", key), positions, frequency), value)
        query = rotate(norm("query_norm", query), positions, frequency)

        scale = c.attention_scale if c.attention_scale is not None else kind.head_dim**-0.5
        attention_options: dict[str, Any] = {"window": c.window, "scale": scale, "softcap": c.attention_softcap}
        if not past:
            # Nothing came before: whole rows attend to themselves.
            own_kv = read_kv if own_kv is None else own_kv
            assert own_kv is not None
            key, value = own_kv
            if shared is not None:
                query, key, value = map(shared.unpack, (query, key, value))
            # Where all layers are of one kind, a constant spares the compiler the other kind.
            local_flag = is_local if len(set(c.local_layers)) > 1 else c.local_layers[0]
            attended = self_attention(query, key, value, local_flag, implementation=c.attention, **attention_options)
            attended = attended if shared is None else shared.pack(attended)
        else:
            assert shared is None and valid is not None
            backend, segments = cache_backend(c.attention), tuple(past)
            if own_kv is not None:
                # Keys and values in the layout and the dtype that the caches have. New tokens attend to each other's
                # as later ones will read them, so it does not matter which tokens are given in one call.
                own_kv = KVCache(*(jnp.moveaxis(array, 1, backend.time_axis).astype(c.kv_dtype) for array in own_kv))
                if past[-1].slot is not None:
                    # A decode loop's buffer, which counts the new tokens in already: they are written into it.
                    own_kv = write_slots(past[-1].kv, own_kv, past[-1].slot, backend.time_axis)
                segments = with_new_tokens(past, own_kv, positions, valid)
            attended = backend.attend(query, segments, positions, is_local, **attention_options)
        if c.output_gate:
            attended = attended * nn.sigmoid(gate)
        # Back from heads to the hidden state.
        return project_heads_out(c, self.product, "out", attended), own_kv


def with_new_tokens(
    past: Sequence[KVSegment], new_kv: KVCache, positions: jax.Array, valid: jax.Array
) -> tuple[KVSegment, ...]:
    """All that new tokens attend to in a layer: what was cached, and the new tokens themselves.

    Args:
      past: the layer's segments before it ran.
      new_kv: the keys and values that the layer returned: of the new tokens, or the complete buffer of a decode loop.
      positions, valid: of the new tokens, as the layer takes them.
    """
    if past[-1].slot is None:
        return (*past, KVSegment(new_kv, positions, valid))
    return (*past[:-1], past[-1]._replace(kv=new_kv))
