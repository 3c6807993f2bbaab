"""Choosing the next token: which tokens may be said, the sampling distribution, and one random key for each token."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sml_jax.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How to sample. Static: another setting is another compiled program.

    Attributes:
      temperature: divides the logits; 0 is greedy (the likeliest token).
      top_k: only the k likeliest tokens; 0 for all.
      top_p: only the likeliest tokens that hold this much probability together; 1 for all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"sampling: temperature is {self.temperature}; give 0 (greedy) or more, such as 1")
        if self.top_k < 0:
            raise UserError(f"sampling: top_k is {self.top_k}; give 0 (all) or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"sampling: top_p is {self.top_p}; give a number above 0 and at most 1")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


def sampling_logits(
    logits: Float[Array, "batch vocab"], allowed: Bool[Array, " vocab"] | None, sampling: Sampling
) -> Float[Array, "batch vocab"]:
    """Logits of the sampling distribution: -inf where a token cannot be sampled.

    Args:
      logits: the model's, float32.
      allowed: tokens that may be said at all; None for any.
      sampling: temperature, then top-k, then top-p over what is left.
    """
    logits = logits if allowed is None else jnp.where(allowed, logits, -jnp.inf)
    if sampling.greedy:
        best = jnp.argmax(logits, axis=-1, keepdims=True)
        return jnp.where(jnp.arange(logits.shape[-1]) == best, 0.0, -jnp.inf)
    logits = logits if sampling.temperature == 1 else logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = jax.lax.top_k(logits, sampling.top_k)[0][:, -1:]
        logits = jnp.where(logits >= least, logits, -jnp.inf)
    if sampling.top_p < 1:
        ordered = jnp.sort(logits, axis=-1, descending=True)
        probability = jax.nn.softmax(ordered, axis=-1)
        # A token stays if those likelier than it hold less than top_p: the likeliest always stays.
        keep = jnp.cumsum(probability, axis=-1) - probability < sampling.top_p
        least = jnp.min(jnp.where(keep, ordered, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits >= least, logits, -jnp.inf)
    return logits


def row_keys(seed_key: jax.Array, dialogue_ids: UInt32[Array, " batch"]) -> jax.Array:
    """A key for each dialogue, from the run's (and the side's) seed and the dialogue's id alone."""
    return jax.vmap(jax.random.fold_in, (None, 0))(seed_key, dialogue_ids)


def turn_keys(seed_key: jax.Array, salts: Int[Array, " batch"], dialogue_ids: UInt32[Array, " batch"]) -> jax.Array:
    """A key for each turn: `row_keys`, where rows have salts of their own."""
    return jax.vmap(lambda salt, one: jax.random.fold_in(jax.random.fold_in(seed_key, salt), one))(salts, dialogue_ids)


def token_uniforms(keys: jax.Array, positions: Int[Array, "batch time"]) -> Float[Array, "batch time 2"]:
    """Two uniform numbers for each token, from its dialogue's key and its position in the context."""
    token_keys = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)))(keys, positions)
    uniform: jax.Array = jax.vmap(jax.vmap(partial(jax.random.uniform, shape=(2,))))(token_keys)
    return uniform


def sample(
    uniform: Float[Array, "batch 2"], logits: Float[Array, "batch vocab"]
) -> tuple[Int[Array, " batch"], Float[Array, " batch"]]:
    """Draws a token for each row with its numbers from `token_uniforms`.

    They pick a block of the vocabulary and a token within it, by their shares. Gumbel noise on every logit would draw
    from the same distribution with as many random numbers as there are tokens.

    Returns:
      The tokens, and the log-probability of each under softmax(logits), of which the draw has the sum already.
    """
    batch, vocab = logits.shape
    size = 1 << (max(vocab - 1, 1).bit_length() + 1) // 2
    padded = jnp.pad(logits, ((0, 0), (0, -vocab % size)), constant_values=-jnp.inf)
    highest = jnp.max(logits, axis=-1, keepdims=True)
    shares = jnp.exp(padded - highest).reshape(batch, -1, size)
    sums = jnp.sum(shares, axis=-1)
    block = _drawn(sums, uniform[:, 0])
    inside = jnp.take_along_axis(shares, block[:, None, None], axis=1)[:, 0]
    token = block * size + _drawn(inside, uniform[:, 1])
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)
    logprob = chosen - highest - jnp.log(jnp.sum(sums, axis=-1, keepdims=True))
    return token.astype(jnp.int32), logprob[:, 0]


def _drawn(shares: Float[Array, "batch n"], uniform: Float[Array, " batch"]) -> Int[Array, " batch"]:
    """The index whose share of the row's sum holds the uniform number; never one without a share."""
    edges = jnp.cumsum(shares, axis=-1)
    total = edges[:, -1]
    at = jnp.minimum(uniform * total, jnp.nextafter(total, jnp.zeros_like(total)))  # uniform * total may round up
    return jnp.sum(edges <= at[:, None], axis=-1)


def logprob_of(logits: Float[Array, "batch vocab"], tokens: Int[Array, " batch"]) -> Float[Array, " batch"]:
    """Log-probability of a token under softmax(logits)."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), tokens[:, None], axis=-1)[:, 0]
