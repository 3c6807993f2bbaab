"""Matrix products whose results are wanted more exactly than their factors are kept."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def float32_product(
    x: Float[Array, "*batch inner"], kernel: Float[Array, "inner outer"]
) -> Float[Array, "*batch outer"]:
    """`x @ kernel` in float32, as accelerators add it up anyway, not rounded to the factors' dtype.

    The products of the backward pass take the gradient in the factors' dtype, so that they are as fast as others.
    """
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return float32_product(x, kernel), (x, kernel)


def _backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    slope, batch = gradient.astype(x.dtype), tuple(range(x.ndim - 1))
    return slope @ kernel.T, jnp.tensordot(x, slope, (batch, batch))


float32_product.defvjp(_forward, _backward)
