"""Rotary position embeddings (Su et al., arXiv 2104.09864), in the half-rotated layout of Llama, Qwen and Gemma."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sml_jax.models.config import RopeScaling


def frequencies(head_dim: int, base: float, scaling: RopeScaling) -> Float[Array, " half"]:
    """Angular frequencies in radians a token, fastest first.

    Args:
      head_dim: size of a head, even.
      base: the wavelength base, 10,000 in the original.
      scaling: how the frequencies are stretched for long contexts.

    Returns:
      float32 [head_dim / 2].
    """
    frequency = base ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    if scaling.kind == "linear":
        return frequency / scaling.factor
    if scaling.kind == "llama3":
        # Llama 3.1: wavelengths beyond the original context are divided by `factor`, short ones kept, between: blended.
        turns = scaling.original_length * frequency / (2 * math.pi)
        blend = (turns - scaling.low_frequency_factor) / (scaling.high_frequency_factor - scaling.low_frequency_factor)
        blend = jnp.clip(blend, 0.0, 1.0)
        return frequency * (blend + (1 - blend) / scaling.factor)
    return frequency


def rotate(
    x: Float[Array, "batch time heads dim"],
    positions: Int[Array, "batch time"],
    frequency: Float[Array, " half"],
) -> Float[Array, "batch time heads dim"]:
    """Rotates each half-pair (x[i], x[i + dim/2]) of a head by position * frequency[i]; computed in float32."""
    angle = positions[:, :, None, None].astype(jnp.float32) * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)
