"""The layers of a decoder: RMS norm, attention, gated MLP, LoRA adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops.attention import self_attention
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.models.ops.cached_attention import KVCache, KVSegment, write_slots
from sml_jax.models.ops.gate_product import gate_product
from sml_jax.models.ops.products import Product, projection
from sml_jax.models.ops.rope import RopeScaling, frequencies, rotate
from sml_jax.models.prefix_sharing import SharedPrefix


class RMSNorm(nn.Module):
    """Root-mean-square norm (arXiv 1910.07467), computed in float32.

    Attributes:
      eps: added to the mean square.
      plus_one: whether the weight is stored as an offset from one (Gemma).
      axis_name: logical axis of the weight, for sharding.
    """

    eps: float
    plus_one: bool = False
    axis_name: str = "embed"

    @nn.compact
    def __call__(self, x: Float[Array, "*batch embed"]) -> Float[Array, "*batch embed"]:
        """Norms the last dimension; the result has the dtype of `x`."""
        init = nn.initializers.zeros if self.plus_one else nn.initializers.ones
        scale: Any = self.param(
            "scale", nn.with_logical_partitioning(init, (self.axis_name,)), (x.shape[-1],), jnp.float32
        )
        # The mean of squares loses too much in bfloat16.
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + self.eps)
        return (y * (scale + 1.0 if self.plus_one else scale)).astype(x.dtype)


class LoraAdapter(nn.Module):
    """The low-rank term that LoRA adds to a projection: (x A) B * alpha / rank.

    A starts random and B zero, so a fresh adapter changes nothing. Both are float32 even in a bfloat16 model, where
    small optimiser steps would vanish.

    Attributes:
      config: the decoder's configuration, whose `lora` is not None.
      features: sizes of the output dimensions of the projection.
      in_axes: logical axes of the input dimensions of the projection.
      out_axes: logical axes of its output dimensions. The dimension of the rank is never split.
    """

    config: DecoderConfig
    features: tuple[int, ...]
    in_axes: tuple[str, ...]
    out_axes: tuple[str, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "*inputs"]) -> Float[Array, "*outputs"]:
        """The term to add to the projection of `x`."""
        lora, compute_dtype = self.config.lora, self.config.compute_dtype
        assert lora is not None
        in_shape = x.shape[x.ndim - len(self.in_axes) :]
        # A has the initialisation of an ordinary projection, B is zero.
        a_matrix: Any = self.param(
            "a",
            nn.with_logical_partitioning(
                nn.initializers.variance_scaling(1.0, "fan_in", "normal"), (*self.in_axes, None)
            ),
            (*in_shape, lora.rank),
            jnp.float32,
        )
        b_matrix: Any = self.param(
            "b",
            nn.with_logical_partitioning(nn.initializers.zeros, (None, *self.out_axes)),
            (lora.rank, *self.features),
            jnp.float32,
        )
        # Scaling the narrow array in the middle is cheaper than scaling the result.
        low_rank = (
            jnp.tensordot(x.astype(compute_dtype), a_matrix.astype(compute_dtype), len(self.in_axes)) * lora.scale
        )
        return jnp.tensordot(low_rank, b_matrix.astype(compute_dtype), 1)


def _add_adapter(
    c: DecoderConfig,
    name: str,
    x: jax.Array,
    projected: jax.Array,
    in_axes: tuple[str, ...],
    out_axes: tuple[str, ...],
) -> jax.Array:
    """Adds the adapter of the projection `name`, if the model has one, to the projection of `x`.

    Call it inside a module's compact method, which the adapter's parameters then belong to.
    """
    if c.lora is None or name not in c.lora.targets:
        return projected
    features = projected.shape[projected.ndim - len(out_axes) :]
    return projected + LoraAdapter(c, features, in_axes, out_axes, name=f"{name}_lora")(x)


class Attention(nn.Module):
    """Grouped-query attention of new tokens over cached tokens and themselves, with its four projections.

    It is called with the arguments of `Layer` and returns the same pair: hidden states to add to the residual stream,
    and keys and values.

    Attributes:
      config: the decoder's configuration.
      product: the function that multiplies activations by weights.
    """

    config: DecoderConfig
    product: Product = projection

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time embed"],
        is_local: Bool[Array, ""],
        positions: Int[Array, "batch time"],
        past: Sequence[KVSegment] = (),
        valid: Bool[Array, "batch time"] | None = None,
        shared: SharedPrefix | None = None,
    ) -> tuple[Float[Array, "batch time embed"], KVCache]:
        c = self.config

        def project_heads(name: str, heads: int, axis: str) -> Float[Array, "batch time heads dim"]:
            y = nn.DenseGeneral(
                (heads, c.head_dim),
                use_bias=c.qkv_bias,
                dtype=c.compute_dtype,
                param_dtype=c.param_dtype,
                kernel_init=nn.with_logical_partitioning(
                    nn.initializers.variance_scaling(1.0, "fan_in", "normal"),
                    ("embed", axis, "head_dim"),
                ),
                bias_init=nn.with_logical_partitioning(nn.initializers.zeros, (axis, "head_dim")),
                dot_general=self.product,
                name=name,
            )(x)
            return _add_adapter(c, name, x, y, ("embed",), (axis, "head_dim"))

        # Queries, keys and values [batch, time, heads, head_dim]; normed where the family does so, then rotated.
        query = project_heads("query", c.heads, "heads")
        key = project_heads("key", c.kv_heads, "kv_heads")
        value = project_heads("value", c.kv_heads, "kv_heads")
        if c.qk_norm:
            query = RMSNorm(c.norm_eps, c.norm_plus_one, "head_dim", name="query_norm")(query)
            key = RMSNorm(c.norm_eps, c.norm_plus_one, "head_dim", name="key_norm")(key)
        # Both frequencies are computed and one is selected, since `is_local` is traced in the scan.
        frequency = frequencies(c.head_dim, c.rope_base, c.rope_scaling)
        if c.rope_local_base is not None:
            local_frequency = frequencies(c.head_dim, c.rope_local_base, RopeScaling())
            frequency = jnp.where(is_local, local_frequency, frequency)
        query, key = rotate(query, positions, frequency), rotate(key, positions, frequency)

        # Keys and values in the layout that the caches have.
        backend = cache_backend(c.attention)
        new_kv = KVCache(*(jnp.moveaxis(array, 1, backend.time_axis) for array in (key, value)))
        scale = c.attention_scale if c.attention_scale is not None else c.head_dim**-0.5
        attention_options: dict[str, Any] = {"window": c.window, "scale": scale, "softcap": c.attention_softcap}
        if not past:
            # Nothing came before: whole rows attend to themselves.
            # Where all layers are of one kind, a constant spares the compiler the other kind.
            local_flag = is_local if len(set(c.local_layers)) > 1 else c.local_layers[0]
            if shared is not None:
                query, key, value = map(shared.unpack, (query, key, value))
            attended = self_attention(query, key, value, local_flag, implementation=c.attention, **attention_options)
            attended = attended if shared is None else shared.pack(attended)
        else:
            assert shared is None and valid is not None
            segments = (*past, KVSegment(new_kv, positions, valid))
            if past[-1].slot is not None:
                # A decode loop's buffer, which counts the new tokens in already: they are written into it.
                new_kv = write_slots(past[-1].kv, new_kv, past[-1].slot, backend.time_axis)
                segments = (*past[:-1], past[-1]._replace(kv=new_kv))
            attended = backend.attend(query, segments, positions, is_local, **attention_options)
        # Back from heads to the hidden state.
        y = nn.DenseGeneral(
            c.embed_dim,
            axis=(-2, -1),
            use_bias=False,
            dtype=c.compute_dtype,
            param_dtype=c.param_dtype,
            kernel_init=nn.with_logical_partitioning(
                nn.initializers.variance_scaling(1.0 / (2 * c.layers), "fan_in", "normal"),
                ("heads", "head_dim", "embed"),
            ),
            dot_general=self.product,
            name="out",
        )(attended)
        return _add_adapter(c, "out", attended, y, ("heads", "head_dim"), ("embed",)), new_kv


class GatedMLP(nn.Module):
    """The gated MLP (arXiv 2002.05202): down(act(gate(x)) * up(x)).

    Attributes:
      config: the decoder's configuration.
      product: the function that multiplies activations by weights.
    """

    config: DecoderConfig
    product: Product = projection

    @nn.compact
    def __call__(self, x: Float[Array, "batch time embed"]) -> Float[Array, "batch time embed"]:
        c = self.config

        # `gain` scales the variance of the initial weights.
        def dense(name: str, x: jax.Array, size: int, axes: tuple[str, str], gain: float) -> jax.Array:
            init = nn.initializers.variance_scaling(gain, "fan_in", "normal")
            y = nn.Dense(
                size,
                use_bias=False,
                dtype=c.compute_dtype,
                param_dtype=c.param_dtype,
                kernel_init=nn.with_logical_partitioning(init, axes),
                dot_general=self.product,
                name=name,
            )(x)
            return _add_adapter(c, name, x, y, axes[:1], axes[1:])

        gate = dense("gate", x, c.mlp_dim, ("embed", "mlp"), 1.0)
        up = dense("up", x, c.mlp_dim, ("embed", "mlp"), 1.0)
        # The projections that add to the residual stream start small, the smaller the more layers there are.
        return dense("down", gate_product(c.activation, gate, up), c.embed_dim, ("mlp", "embed"), 1.0 / (2 * c.layers))


class Layer(nn.Module):
    """One decoder layer: attention and a gated MLP, each with a norm before it and, for Gemma, one after it.

    Attributes:
      config: the decoder's configuration.
      product: the function that multiplies activations by weights.
    """

    config: DecoderConfig
    product: Product = projection

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time embed"],
        is_local: Bool[Array, ""],
        positions: Int[Array, "batch time"],
        past: Sequence[KVSegment] = (),
        valid: Bool[Array, "batch time"] | None = None,
        shared: SharedPrefix | None = None,
    ) -> tuple[Float[Array, "batch time embed"], KVCache]:
        """Runs new tokens through the layer.

        Args:
          x: hidden states of the new tokens.
          is_local: whether the layer sees only the last `DecoderConfig.window` tokens; may be traced.
          positions: position of each new token in its row's context.
          past: cached keys and values that the new tokens attend to in addition; empty for rows without a cache.
          valid: with `past`, which of the new slots hold a token.
          shared: without `past`, the prefix that blocks of rows share; `x` and `positions` are then packed.

        Returns:
          The next hidden states, and the new tokens' keys and values, for the caller to cache. If the last segment of
          `past` is a decode loop's buffer (`KVSegment.slot`), the complete buffer with the new tokens in it instead.
        """
        c = self.config

        def norm(name: str, y: jax.Array) -> jax.Array:
            return RMSNorm(c.norm_eps, c.norm_plus_one, name=name)(y)

        # Two residual blocks: each reads a normed copy of the hidden state and adds its result to the state itself.
        normed = norm("attention_norm", x)
        y, new_kv = Attention(c, self.product, name="attention")(normed, is_local, positions, past, valid, shared)
        x = x + (norm("attention_post_norm", y) if c.post_norms else y)
        y = GatedMLP(c, self.product, name="mlp")(norm("mlp_norm", x))
        return x + (norm("mlp_post_norm", y) if c.post_norms else y), new_kv


class ScannedLayer(Layer):
    """A `Layer` without a cache in the form that `nn.scan` takes: it returns the next hidden states and None."""

    def __call__(  # type: ignore[override]
        self,
        x: Float[Array, "batch time embed"],
        is_local: Bool[Array, ""],
        positions: Int[Array, "batch time"],
        shared: SharedPrefix | None = None,
    ) -> tuple[Float[Array, "batch time embed"], None]:
        """The next hidden states; see `Layer`."""
        return super().__call__(x, is_local, positions, shared=shared)[0], None
