"""The parts that modules of a layer are made of: the RMS norm, and projections with or without LoRA adapters."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Int

from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops.int8 import AnyInt8Kernel
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


class Projection(nn.Module):
    """A dense layer, whose kernel may be in int8.

    Its parameters and results are those of Flax's `DenseGeneral`, bit for bit. An engine puts a kernel in int8 in the
    place of the parameter "kernel" (`DecoderConfig.rollout_weights`); it is never made here.

    Attributes:
      config: the decoder's configuration.
      features: sizes of the output dimensions.
      axes: logical axes of the input and output dimensions.
      product: the function that multiplies activations by weights; see `ops.products.Product`.
      kernel_init: makes the first weights from a key, the shape of a matrix and a dtype.
      use_bias: whether a bias is added, which starts at 0.
      float32_result: whether the product with a kernel in int8 stays float32, whatever the compute dtype.
    """

    config: DecoderConfig
    features: tuple[int, ...]
    axes: tuple[str | None, ...]
    product: Product
    kernel_init: Any
    use_bias: bool = False
    float32_result: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch_and_inner"]) -> Float[Array, "*batch_and_outer"]:
        """The projection of the last dimensions of `x`, as many as have an axis and are no output dimension."""
        c, inner = self.config, len(self.axes) - len(self.features)
        kernel: Any = self.get_variable("params", "kernel")
        in_int8 = isinstance(kernel, AnyInt8Kernel)
        if not in_int8:
            init = nn.with_logical_partitioning(_as_matrix(self.kernel_init, math.prod(self.features)), self.axes)
            kernel = self.param("kernel", init, (*x.shape[x.ndim - inner :], *self.features), c.param_dtype)
        bias: Any = None
        if self.use_bias:
            bias_init = nn.with_logical_partitioning(nn.initializers.zeros, self.axes[inner:])
            bias = self.param("bias", bias_init, self.features, c.param_dtype)

        if in_int8:
            x, bias = promote_dtype(x, bias, dtype=c.compute_dtype)
            y = kernel.product(x)
            y = y if self.float32_result else y.astype(c.compute_dtype)
        else:
            x, kernel, bias = promote_dtype(x, kernel, bias, dtype=c.compute_dtype)
            x_axes = tuple(range(x.ndim - inner, x.ndim))
            y = self.product(x, kernel, ((x_axes, tuple(range(inner))), ((), ())))
        return y if bias is None else y + bias.reshape((1,) * (x.ndim - inner) + self.features)


def _as_matrix(init: Any, outer: int) -> Any:
    """The initialiser of a kernel [*inner, *outer] as of a matrix with `outer` columns, whose rows are all inputs."""

    def init_kernel(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        matrix: jax.Array = init(key, (math.prod(shape) // outer, outer), dtype)
        return matrix.reshape(shape)

    return init_kernel


class Embedding(nn.Module):
    """A table of embeddings, as Flax's `Embed` has it, which may be in int8, as the kernel of a `Projection` may be.

    Attributes:
      config: the decoder's configuration.
    """

    config: DecoderConfig

    def setup(self) -> None:
        """Takes the table, or makes it; called by Flax."""
        c = self.config
        table: Any = self.get_variable("params", "embedding")
        if not isinstance(table, AnyInt8Kernel):
            init = nn.with_logical_partitioning(nn.initializers.normal(c.embed_dim**-0.5), ("vocab", "embed"))
            table = self.param("embedding", init, (c.vocab_size, c.embed_dim), c.param_dtype)
        self.embedding = table

    def __call__(self, tokens: Int[Array, "*batch"]) -> Float[Array, "*batch embed"]:
        """The embeddings of tokens, in the compute dtype."""
        if isinstance(self.embedding, AnyInt8Kernel):
            return self.embedding.rows(tokens).astype(self.config.compute_dtype)
        return jnp.take(self.embedding.astype(self.config.compute_dtype), tokens, axis=0)


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
    init = nn.initializers.variance_scaling(gain, "fan_in", "normal")
    y = Projection(c, (size,), axes, product, init, name=name)(x)
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
    init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    y = Projection(c, features, ("embed", *axes), product, init, use_bias, name=name)(x)
    return add_adapter(c, name, x, y, ("embed",), axes)


def project_heads_out(c: DecoderConfig, product: Product, name: str, heads: jax.Array) -> jax.Array:
    """Projects the heads of a mixer back to hidden states, with the adapter of that name if any.

    Call it inside a module's compact method, which the parameters then belong to.

    Args:
      c, product, name: as for `dense`.
      heads: [batch, time, heads, head_dim].
    """
    # What adds to the residual stream starts small, the smaller the more layers there are.
    init = nn.initializers.variance_scaling(1.0 / (2 * c.layers), "fan_in", "normal")
    y = Projection(c, (c.embed_dim,), ("heads", "head_dim", "embed"), product, init, name=name)(heads)
    return add_adapter(c, name, heads, y, ("heads", "head_dim"), ("embed",))
