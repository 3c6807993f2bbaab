"""Rotary position embeddings (Su et al., arXiv 2104.09864), in the half-rotated layout of Llama, Qwen and Gemma."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sml_jax.common.errors import UserError

ROPE_SCALINGS = ("none", "linear", "llama3", "proportional")


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are changed so that a model can read contexts longer than it was trained on.

    Attributes:
      kind: "none"; "linear", which divides every frequency by `factor`; "llama3" (Llama 3.1), which divides only the
        low frequencies, and those in between by less; or "proportional" (Gemma 4), which rotates only the pairs of
        numbers with the highest frequencies, divided by `factor`, and leaves the others as they are.
      factor: how many times longer the contexts become.
      low_frequency_factor: "llama3" divides a frequency by `factor` if it makes at most this many full turns within
        `original_length` tokens.
      high_frequency_factor: "llama3" leaves a frequency unchanged if it makes at least this many turns.
      original_length: tokens of the contexts that the model was first trained on ("llama3").
      rotary_fraction: the part of a head's numbers that "proportional" rotates, above 0 and at most 1.
    """

    kind: str = "none"
    factor: float = 1.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_length: int = 8192
    rotary_fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ROPE_SCALINGS:
            choices = ", ".join(map(repr, ROPE_SCALINGS))
            raise UserError(f"model: rope_scaling.kind is {self.kind!r}; it takes {choices}")
        if not 0 < self.rotary_fraction <= 1:
            raise UserError(
                f"model: rope_scaling.rotary_fraction is {self.rotary_fraction}; give a number above 0, at most 1"
            )


def frequencies(head_dim: int, base: float, scaling: RopeScaling) -> Float[Array, " half"]:
    """The angular frequencies of the rotary embedding in radians per token, highest first.

    Args:
      head_dim: size of a head, even.
      base: the base of the wavelengths, 10,000 in the paper: the slowest pair of numbers turns once in about
        2 pi * base tokens.
      scaling: how the frequencies are stretched for long contexts.

    Returns:
      float32 [head_dim / 2].
    """
    frequency = base ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    # A linear stretch acts like positions divided by the factor.
    if scaling.kind == "linear":
        return frequency / scaling.factor
    if scaling.kind == "llama3":
        # Frequencies that turn often within the original context stay, slow ones are divided by `factor`, and those in
        # between are blended.
        turns = scaling.original_length * frequency / (2 * math.pi)
        unscaled_share = (turns - scaling.low_frequency_factor) / (
            scaling.high_frequency_factor - scaling.low_frequency_factor
        )
        unscaled_share = jnp.clip(unscaled_share, 0.0, 1.0)
        return frequency * (unscaled_share + (1 - unscaled_share) / scaling.factor)
    if scaling.kind == "proportional":
        # The exponents are those of the whole head; a frequency of 0 leaves its pair of numbers unrotated.
        rotated_pairs = int(scaling.rotary_fraction * head_dim // 2)
        return jnp.where(jnp.arange(head_dim // 2) < rotated_pairs, frequency / scaling.factor, 0.0)
    return frequency


def rotate(
    x: Float[Array, "batch time heads dim"],
    positions: Int[Array, "batch time"],
    frequency: Float[Array, " half"],
) -> Float[Array, "batch time heads dim"]:
    """Rotates each pair of numbers (x[i], x[i + half]) of a head by the angle position * frequency[i].

    Args:
      x: queries or keys. Numbers from 2 * half on are not rotated.
      positions: position of each token in its row's context.
      frequency: radians per token, from `frequencies`.

    Returns:
      The rotated `x`, in its dtype; the rotation itself is computed in float32.
    """
    # Angles in float32: bfloat16 cannot tell neighbouring positions apart beyond 256.
    angle = positions[:, :, None, None].astype(jnp.float32) * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    half = frequency.shape[0]
    first_half, second_half, unrotated = jnp.split(x.astype(jnp.float32), [half, 2 * half], axis=-1)
    rotated = [first_half * cos - second_half * sin, second_half * cos + first_half * sin]
    return jnp.concatenate([*rotated, unrotated], axis=-1).astype(x.dtype)
