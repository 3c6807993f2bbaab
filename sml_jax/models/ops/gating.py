"""The gate of an MLP, of which the backward pass keeps little."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array, Float


def _product(activation: str, gate: jax.Array, up: jax.Array) -> jax.Array:
    return (jax.nn.silu(gate) if activation == "silu" else jax.nn.gelu(gate, approximate=True)) * up


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def gated(
    activation: str, gate: Float[Array, "batch time hidden"], up: Float[Array, "batch time hidden"]
) -> Float[Array, "batch time hidden"]:
    """act(gate) * up. Only the two factors are kept for the backward pass, which computes the rest again.

    Args:
      activation: "silu", or another text for the tanh approximation of GELU.
      gate, up: what the two projections gave.
    """
    return _product(activation, gate, up)


def _forward(activation: str, gate: jax.Array, up: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(activation, gate, up), (gate, up)


def _backward(activation: str, kept: tuple[jax.Array, jax.Array], d_out: jax.Array) -> tuple[jax.Array, jax.Array]:
    _, pull = jax.vjp(partial(_product, activation), *kept)
    d_gate, d_up = pull(d_out)
    return d_gate, d_up


gated.defvjp(_forward, _backward)
