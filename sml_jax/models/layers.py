"""The layers of a decoder: attention and a gated MLP with their norms, and what some families add to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sml_jax.models.attention import Attention
from sml_jax.models.config import DecoderConfig
from sml_jax.models.delta_net import DeltaNet, DeltaState
from sml_jax.models.layer_kinds import LayerKind
from sml_jax.models.ops.cached_attention import KVCache, KVSegment
from sml_jax.models.ops.gate_product import gate_product
from sml_jax.models.ops.products import Product, projection
from sml_jax.models.parts import RMSNorm, dense
from sml_jax.models.prefix_sharing import SharedPrefix


class GatedMLP(nn.Module):
    """The gated MLP (arXiv 2002.05202): down(act(gate(x)) * up(x)).

    Attributes:
      config: the decoder's configuration.
      mlp_dim: size of its inside.
      product: the function that multiplies activations by weights.
    """

    config: DecoderConfig
    mlp_dim: int
    product: Product = projection

    @nn.compact
    def __call__(self, x: Float[Array, "batch time embed"]) -> Float[Array, "batch time embed"]:
        c = self.config
        gate = dense(c, self.product, "gate", x, self.mlp_dim, ("embed", "mlp"))
        up = dense(c, self.product, "up", x, self.mlp_dim, ("embed", "mlp"))
        # The projections that add to the residual stream start small, the smaller the more layers there are.
        inside, gain = gate_product(c.activation, gate, up), 1.0 / (2 * c.layers)
        return dense(c, self.product, "down", inside, c.embed_dim, ("mlp", "embed"), gain)


class Layer(nn.Module):
    """One decoder layer: attention or a delta net, then a gated MLP, with a norm before each and, for Gemma, after it.

    Attributes:
      config: the decoder's configuration.
      kind: which of the decoder's kinds of layers it is.
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
        past: Sequence[KVSegment] | DeltaState = (),
        valid: Bool[Array, "batch time"] | None = None,
        shared: SharedPrefix | None = None,
        per_layer: Float[Array, "batch time per_layer"] | None = None,
        read_kv: KVCache | None = None,
    ) -> tuple[Float[Array, "batch time embed"], KVCache | DeltaState | None]:
        """Runs new tokens through the layer.

        Args:
          x: hidden states of the new tokens.
          is_local: whether the layer sees only the last `DecoderConfig.window` tokens; may be traced.
          positions: position of each new token in its row's context.
          past: cached keys and values that the new tokens attend to in addition; empty for rows without a cache. For
            a layer that shares keys and values (`LayerKind.shares_kv`) all that the layer which has them attended to,
            the new tokens included (`attention.with_new_tokens`). For a layer with a delta net, its state before the
            new tokens.
          valid: with `past`, which of the new slots hold a token.
          shared: without `past`, the prefix that blocks of rows share; `x` and `positions` are then packed.
          per_layer: the new tokens' per-layer embeddings of this layer, from `Decoder.per_layer_inputs`; None for
            models without them.
          read_kv: without `past`, for a layer that shares keys and values: what the layer which has them returned.

        Returns:
          The next hidden states, and the keys and values of the new tokens, None if the layer has none of its own.
          With `past` they are for the caller to cache, in the layout of the caches: if the last segment of `past` is a
          decode loop's buffer (`KVSegment.slot`), the complete buffer with the new tokens in it. Without `past` they
          are [batch, time, kv_heads, head_dim], packed as `x` is, and those that were read where the layer shares.
          A layer with a delta net returns its state after the new tokens.
        """
        c = self.config

        def norm(name: str, y: jax.Array) -> jax.Array:
            return RMSNorm(c.norm_eps, c.norm_plus_one, name=name)(y)

        # Two residual blocks: each reads a normed copy of the hidden state and adds its result to the state itself.
        normed = norm("attention_norm", x)
        new: KVCache | DeltaState | None
        if self.kind.mixer == "delta_net":
            state = past if isinstance(past, DeltaState) else None
            y, new = DeltaNet(c, self.product, name="delta_net")(normed, state, valid, shared)
        else:
            assert not isinstance(past, DeltaState)
            attention = Attention(c, self.kind, self.product, name="attention")
            y, new = attention(normed, is_local, positions, past, valid, shared, read_kv)
        x = x + (norm("attention_post_norm", y) if c.post_norms else y)
        y = GatedMLP(c, self.kind.mlp_dim, self.product, name="mlp")(norm("mlp_norm", x))
        x = x + (norm("mlp_post_norm", y) if c.post_norms else y)

        if per_layer is not None:
            # A third block: the hidden state gates the token's embedding for this layer, which is then added.
            gate = dense(c, self.product, "per_layer_gate", x, c.per_layer_dim, ("embed", "per_layer"))
            gated, gain = gate_product(c.activation, gate, per_layer), 1.0 / (2 * c.layers)
            y = dense(c, self.product, "per_layer_out", gated, c.embed_dim, ("per_layer", "embed"), gain)
            x = x + norm("per_layer_norm", y)
        if c.layer_scalar:
            init = nn.with_logical_partitioning(nn.initializers.ones, (None,))
            scalar: Any = self.param("layer_scalar", init, (1,), jnp.float32)
            # The families that have it store it beside the weights, but never train it.
            x = x * jax.lax.stop_gradient(scalar).astype(x.dtype)
        return x, new


class ScannedLayer(Layer):
    """A `Layer` without a cache in the form that `nn.scan` takes: it returns the next hidden states and None."""

    def __call__(  # type: ignore[override]
        self,
        x: Float[Array, "batch time embed"],
        is_local: Bool[Array, ""],
        positions: Int[Array, "batch time"],
        per_layer: Float[Array, "batch time per_layer"] | None = None,
        read_kv: KVCache | None = None,
    ) -> tuple[Float[Array, "batch time embed"], None]:
        """The next hidden states; see `Layer`."""
        return super().__call__(x, is_local, positions, per_layer=per_layer, read_kv=read_kv)[0], None
