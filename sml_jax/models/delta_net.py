"""The gated delta net: a layer's mixer that keeps a state of fixed size in the place of keys and values."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops.causal_conv import causal_conv
from sml_jax.models.ops.delta_rule import delta_rule, delta_step
from sml_jax.models.ops.products import Product, projection
from sml_jax.models.parts import RMSNorm, project_heads_out, project_into
from sml_jax.models.prefix_sharing import SharedPrefix

_L2_EPS = 1e-6  # added to the squared length of queries and keys, in all published models


class DeltaState(NamedTuple):
    """What a delta net keeps of a row's tokens.

    Attributes:
      memory: S of `ops.delta_rule`, [rows, value_heads, key_dim, value_dim], float32 whatever the compute dtype: what
        is added to it over thousands of tokens would be lost to rounding.
      query, key, value: the projections of the last taps - 1 tokens before the convolution, oldest first,
        [rows, taps - 1, heads, dim].
    """

    memory: jax.Array
    query: jax.Array
    key: jax.Array
    value: jax.Array


def empty_state(config: DecoderConfig, rows: int) -> DeltaState:
    """The state of rows without a token, which is all zeros."""
    d = config.delta_net
    assert d is not None

    def history(heads: int, dim: int) -> jax.Array:
        return jnp.zeros((rows, d.taps - 1, heads, dim), config.compute_dtype)

    return DeltaState(
        jnp.zeros((rows, d.value_heads, d.key_dim, d.value_dim), jnp.float32),
        history(d.key_heads, d.key_dim),
        history(d.key_heads, d.key_dim),
        history(d.value_heads, d.value_dim),
    )


class DeltaNet(nn.Module):
    """A gated delta net (arXiv 2412.06464) as Qwen 3.5 has it, with its projections.

    Queries, keys and values go through a short convolution and SiLU. Each key head serves value_heads / key_heads
    value heads. What is read from the state is normed, gated by SiLU and projected back.

    Attributes:
      config: the decoder's configuration, whose `delta_net` is not None.
      product: the function that multiplies activations by weights.
    """

    config: DecoderConfig
    product: Product = projection

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time embed"],
        past: DeltaState | None = None,
        valid: Bool[Array, "batch time"] | None = None,
        shared: SharedPrefix | None = None,
    ) -> tuple[Float[Array, "batch time embed"], DeltaState]:
        """Runs new tokens through the delta net.

        Args:
          x: normed hidden states of the new tokens.
          past: the state after the tokens before them; None for complete rows.
          valid: which of the new tokens are real; None where all are, or where padding comes last and the state after
            it is of no use.
          shared: without `past`, the prefix that blocks of rows share; `x` is then packed.

        Returns:
          What to add to the residual stream, meaningless at padding; and the state after the last real token.
        """
        c, d = self.config, self.config.delta_net
        assert d is not None

        def project(name: str, features: tuple[int, ...], axes: tuple[str, ...]) -> jax.Array:
            return project_into(c, self.product, name, x, features, axes)

        key_heads, value_heads = (d.key_heads, d.key_dim), (d.value_heads, d.value_dim)
        query = project("delta_query", key_heads, ("kv_heads", "head_dim"))
        key = project("delta_key", key_heads, ("kv_heads", "head_dim"))
        value = project("delta_value", value_heads, ("heads", "head_dim"))
        gate = project("delta_gate", value_heads, ("heads", "head_dim"))
        beta = project("delta_beta", (d.value_heads,), ("heads",))
        decay = project("delta_decay", (d.value_heads,), ("heads",))
        # Tokens see each other from here on, so a packed block becomes rows.
        if shared is not None:
            query, key, value, beta, decay = map(shared.unpack, (query, key, value, beta, decay))
        past = empty_state(c, query.shape[0]) if past is None else past

        def convolve(name: str, history: jax.Array, y: jax.Array, axis: str) -> tuple[jax.Array, jax.Array]:
            weight: Any = self.param(
                f"{name}_conv",
                nn.with_logical_partitioning(
                    nn.initializers.normal(d.taps**-0.5, c.param_dtype), (axis, "head_dim", None)
                ),
                (*y.shape[2:], d.taps),
            )
            summed, history = causal_conv(history, y, weight, valid)
            return nn.silu(summed), history

        query, query_history = convolve("query", past.query, query, "kv_heads")
        key, key_history = convolve("key", past.key, key, "kv_heads")
        value, value_history = convolve("value", past.value, value, "heads")

        # Queries and keys of length one, and a factor for queries as in attention; each serves its value heads.
        query, key = _unit(query) * d.key_dim**-0.5, _unit(key)
        query, key = (jnp.repeat(array, d.value_heads // d.key_heads, axis=2) for array in (query, key))
        g, beta = self._decay(decay), nn.sigmoid(beta.astype(jnp.float32))
        # A token with g = 0 and beta = 0 leaves the state as it was.
        if valid is not None:
            g, beta = (jnp.where(valid[..., None], array, 0.0) for array in (g, beta))
        if x.shape[1] == 1 and shared is None:
            # One token of each row, as in decoding.
            out, memory = delta_step(past.memory, *(array[:, 0] for array in (query, key, value, g, beta)))
            out = out[:, None]
        else:
            out, memory = delta_rule(past.memory, query, key, value, g, beta)
        out = out if shared is None else shared.pack(out)

        # The norm of a head's outputs has the plain weight `w` also where all other norms of the model have `1 + w`.
        normed = RMSNorm(c.norm_eps, False, "head_dim", name="delta_norm")(out)
        gated = (normed * nn.silu(gate.astype(jnp.float32))).astype(c.compute_dtype)
        y = project_heads_out(c, self.product, "delta_out", gated)
        return y, DeltaState(memory, query_history, key_history, value_history)

    def _decay(self, projected: Float[Array, "batch time heads"]) -> Float[Array, "batch time heads"]:
        """g, the logarithm of each head's decay: -exp(A_log) softplus(a + dt_bias), at most 0, in float32."""
        heads = projected.shape[-1]

        def log_rate(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            # Rates from slow to fast, uniform as in the published models' own initialisation.
            return jnp.log(jax.random.uniform(key, shape, jnp.float32, 0.01, 16.0))

        a_log: Any = self.param("decay_log_rate", nn.with_logical_partitioning(log_rate, ("heads",)), (heads,))
        dt_bias: Any = self.param(
            "decay_bias", nn.with_logical_partitioning(nn.initializers.ones, ("heads",)), (heads,), jnp.float32
        )
        return -jnp.exp(a_log) * nn.softplus(projected.astype(jnp.float32) + dt_bias)


def _unit(x: Float[Array, "batch time heads dim"]) -> Float[Array, "batch time heads dim"]:
    """Vectors scaled to length one, in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + _L2_EPS)
