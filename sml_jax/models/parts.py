"""The parts that modules of a layer are made of: the RMS norm, and projections with or without LoRA adapters."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops.products import Product


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
        return (unit_rms(x, self.eps) * (scale + 1.0 if self.plus_one else scale)).astype(x.dtype)


def unit_rms(x: Float[Array, "*batch dim"], eps: float) -> Float[Array, "*batch dim"]:
    """The vectors along the last dimension divided by their root mean square, in float32; an RMS norm without weight.

    Args:
      x: in any dtype.
      eps: added to the mean square.
    """
    # The mean of squares loses too much in bfloat16.
    y = x.astype(jnp.float32)
    return y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + eps)


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
    out_axes: tuple[str | None, ...]

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


def add_adapter(
    c: DecoderConfig,
    name: str,
    x: jax.Array,
    projected: jax.Array,
    in_axes: tuple[str, ...],
    out_axes: tuple[str | None, ...],
) -> jax.Array:
    """Adds the adapter of the projection `name`, if the model has one, to the projection of `x`.

    Call it inside a module's compact method, which the adapter's parameters then belong to.
    """
    if c.lora is None or name not in c.lora.targets:
        return projected
    features = projected.shape[projected.ndim - len(out_axes) :]
    return projected + LoraAdapter(c, features, in_axes, out_axes, name=f"{name}_lora")(x)


def dense(
    c: DecoderConfig, product: Product, name: str, x: jax.Array, size: int, axes: tuple[str, str], gain: float = 1.0
) -> jax.Array:
    """A projection of the last dimension without a bias, and its adapter if the model has one of that name.

    Call it inside a module's compact method, which the parameters then belong to.

    Args:
      c: the decoder's configuration.
      product: the function that multiplies activations by weights.
      name: of the projection's parameters.
      x: what is projected.
      size: numbers of the result's last dimension.
      axes: logical axes of the input and the output dimension.
      gain: scales the variance of the initial weights.
    """
    y = nn.Dense(
        size,
        use_bias=False,
        dtype=c.compute_dtype,
        param_dtype=c.param_dtype,
        kernel_init=nn.with_logical_partitioning(nn.initializers.variance_scaling(gain, "fan_in", "normal"), axes),
        dot_general=product,
        name=name,
    )(x)
    return add_adapter(c, name, x, y, axes[:1], axes[1:])


def project_into(
    c: DecoderConfig,
    product: Product,
    name: str,
    x: jax.Array,
    features: tuple[int, ...],
    axes: tuple[str | None, ...],
    use_bias: bool = False,
) -> jax.Array:
    """Projects hidden states into the dimensions of a mixer, such as heads, with the adapter of that name if any.

    Call it inside a module's compact method, which the parameters then belong to.

    Args:
      c, product, name: as for `dense`.
      x: [batch, time, embed].
      features: sizes of the result's dimensions behind time. axes: their logical axes.
      use_bias: whether a bias is added.
    """
    y = nn.DenseGeneral(
        features,
        use_bias=use_bias,
        dtype=c.compute_dtype,
        param_dtype=c.param_dtype,
        kernel_init=nn.with_logical_partitioning(
            nn.initializers.variance_scaling(1.0, "fan_in", "normal"), ("embed", *axes)
        ),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, axes),
        dot_general=product,
        name=name,
    )(x)
    return add_adapter(c, name, x, y, ("embed",), axes)


def project_heads_out(c: DecoderConfig, product: Product, name: str, heads: jax.Array) -> jax.Array:
    """Projects the heads of a mixer back to hidden states, with the adapter of that name if any.

    Call it inside a module's compact method, which the parameters then belong to.

    Args:
      c, product, name: as for `dense`.
      heads: [batch, time, heads, head_dim].
    """
    y = nn.DenseGeneral(
        c.embed_dim,
        axis=(-2, -1),
        use_bias=False,
        dtype=c.compute_dtype,
        param_dtype=c.param_dtype,
        # What adds to the residual stream starts small, the smaller the more layers there are.
        kernel_init=nn.with_logical_partitioning(
            nn.initializers.variance_scaling(1.0 / (2 * c.layers), "fan_in", "normal"), ("heads", "head_dim", "embed")
        ),
        dot_general=product,
        name=name,
    )(heads)
    return add_adapter(c, name, heads, y, ("heads", "head_dim"), ("embed",))
