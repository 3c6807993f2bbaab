"""The gate of an MLP: act(gate) * up, recomputed in the backward pass to save activations."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array, Float


def _gate_product(activation: str, gate: jax.Array, up: jax.Array) -> jax.Array:
    return (jax.nn.silu(gate) if activation == "silu" else jax.nn.gelu(gate, approximate=True)) * up


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def gate_product(
    activation: str, gate: Float[Array, "batch time hidden"], up: Float[Array, "batch time hidden"]
) -> Float[Array, "batch time hidden"]:
    """act(gate) * up, which stores only `gate` and `up` for the backward pass and computes the activation again there.

    Args:
      activation: "silu", or "gelu" for its tanh approximation. Static.
      gate: result of the gate projection.
      up: result of the up projection.
    """
    return _gate_product(activation, gate, up)


def _forward(activation: str, gate: jax.Array, up: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _gate_product(activation, gate, up), (gate, up)


def _backward(activation: str, factors: tuple[jax.Array, jax.Array], d_out: jax.Array) -> tuple[jax.Array, jax.Array]:
    # Recomputes the activation, which is cheap next to the products around it.
    _, vjp = jax.vjp(partial(_gate_product, activation), *factors)
    d_gate, d_up = vjp(d_out)
    return d_gate, d_up


gate_product.defvjp(_forward, _backward)
