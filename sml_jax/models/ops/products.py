"""Matrix products of activations and a kernel, whose backward pass is written by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

Product = Callable[..., jax.Array]
"""What flax's dense layers take for `dot_general`."""


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


def projection(x: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any) -> jax.Array:
    """`jax.lax.dot_general` for flax's dense layers: the last dimensions of x by the first of the kernel.

    The kernel's gradient sums over tokens, for which a CPU makes a transposed copy of the product's left factor:
    autodiff puts the gradient there, even where it is the wider by far. Here it is the narrower of the two.
    """
    (inner, first), batch = dimension_numbers
    assert tuple(inner) == tuple(range(x.ndim - len(inner), x.ndim)) and tuple(first) == tuple(range(len(first)))
    assert batch == ((), ()) and all(value is None for value in options.values())
    return _projection(len(inner), x, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _projection(inner: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.tensordot(x, kernel, inner)


def _projection_forward(inner: int, x: Any, kernel: Any) -> tuple[jax.Array, tuple[Any, Any]]:
    """Keeps what the gradients need that are asked for: nothing of x where the kernel is frozen."""
    kept = x.value if kernel.perturbed else None, kernel.value if x.perturbed else None
    return jnp.tensordot(x.value, kernel.value, inner), kept  # by remat policies a call of itself would not be seen


def _projection_backward(inner: int, kept: tuple[Any, Any], gradient: Any) -> tuple[Any, Any]:
    x, kernel = kept
    if isinstance(gradient, SymbolicZero):
        return None, None
    d_x = d_kernel = None
    if kernel is not None:
        outer = kernel.ndim - inner
        ends = [(*range(array.ndim - outer, array.ndim),) for array in (gradient, kernel)]
        d_x = jnp.tensordot(gradient, kernel, ends)
    if x is not None:
        tokens = tuple(range(x.ndim - inner))
        if x.size <= gradient.size:
            d_kernel = jnp.tensordot(x, gradient, (tokens, tokens))
        else:
            turned, outer = jnp.tensordot(gradient, x, (tokens, tokens)), gradient.ndim - len(tokens)
            d_kernel = turned.transpose(*range(outer, turned.ndim), *range(outer))
    return d_x, d_kernel


_projection.defvjp(_projection_forward, _projection_backward, symbolic_zeros=True)
