"""Choosing the next token: which tokens are allowed, the sampling distribution, and a random key for each token."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sml_jax.common.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How to sample. It is static under `jit`: each setting compiles an executable of its own.

    Attributes:
      temperature: the logits are divided by it; 0 is greedy (always the likeliest token).
      top_k: only the k likeliest tokens can be sampled; 0 for all.
      top_p: only the likeliest tokens that together have this probability can be sampled; 1 for all.
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
        """Whether the likeliest token is always chosen, with probability 1 (temperature 0)."""
        return self.temperature == 0


def sampling_logits(
    logits: Float[Array, "batch vocab"], allowed: Bool[Array, " vocab"] | None, sampling: Sampling
) -> Float[Array, "batch vocab"]:
    """Logits of the sampling distribution: -inf for tokens that cannot be sampled.

    Args:
      logits: the model's, float32.
      allowed: True for tokens that may be sampled at all; None for all tokens.
      sampling: its temperature is applied first, then top-k, then top-p to the tokens that top-k left.
    """
    logits = logits if allowed is None else jnp.where(allowed, logits, -jnp.inf)
    if sampling.greedy:
        # All probability on one token, so that its log-probability is 0.
        best = jnp.argmax(logits, axis=-1, keepdims=True)
        return jnp.where(jnp.arange(logits.shape[-1]) == best, 0.0, -jnp.inf)
    logits = logits if sampling.temperature == 1 else logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        threshold = jax.lax.top_k(logits, sampling.top_k)[0][:, -1:]
        logits = jnp.where(logits >= threshold, logits, -jnp.inf)
    if sampling.top_p < 1:
        ordered = jnp.sort(logits, axis=-1, descending=True)
        probability = jax.nn.softmax(ordered, axis=-1)
        # A token stays if all likelier ones together have less than top_p, so the likeliest always stays.
        in_top_p = jnp.cumsum(probability, axis=-1) - probability < sampling.top_p
        threshold = jnp.min(jnp.where(in_top_p, ordered, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits >= threshold, logits, -jnp.inf)
    return logits


def row_keys(seed_key: jax.Array, dialogue_ids: UInt32[Array, " batch"]) -> jax.Array:
    """A random key for each dialogue [batch], from the dialogue's id and `seed_key`, the key of the run and side.

    It does not depend on the row or the device, so that the same seed gives the same dialogues everywhere.
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(seed_key, dialogue_ids)


def turn_keys(seed_key: jax.Array, salts: Int[Array, " batch"], dialogue_ids: UInt32[Array, " batch"]) -> jax.Array:
    """A random key for each row's turn [batch], from the turn's salt, the dialogue's id and `seed_key`.

    `seed_key` is the key of the run and side.
    Turns of one dialogue share a key unless their salts differ: their tokens differ in position (see
    `token_uniforms`).
    """

    def turn_key(salt: jax.Array, dialogue_id: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(seed_key, salt), dialogue_id)

    return jax.vmap(turn_key)(salts, dialogue_ids)


def token_uniforms(keys: jax.Array, positions: Int[Array, "batch time"]) -> Float[Array, "batch time 2"]:
    """Two uniform random numbers in [0, 1) for each token, from its turn's key and its position in the context.

    They do not depend on how a turn is cut into calls, so an interrupted turn samples the same tokens.
    """
    token_keys = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)))(keys, positions)
    uniform: jax.Array = jax.vmap(jax.vmap(partial(jax.random.uniform, shape=(2,))))(token_keys)
    return uniform


def sample(
    uniform: Float[Array, "batch 2"], logits: Float[Array, "batch vocab"]
) -> tuple[Int[Array, " batch"], Float[Array, " batch"]]:
    """Samples a token for each row from softmax(logits). `uniform` holds its two numbers from `token_uniforms`.

    The first number picks a block of the vocabulary and the second a token of this block, both by inverting a
    cumulative sum. Gumbel noise would sample from the same distribution, but needs a random number for every logit.

    Returns:
      The token of each row, and its log-probability under softmax(logits).
    """
    batch, vocab = logits.shape
    # Blocks of about the square root of the vocabulary (a power of two): both cumulative sums are then short.
    block_size = 1 << (max(vocab - 1, 1).bit_length() + 1) // 2
    padded_logits = jnp.pad(logits, ((0, 0), (0, -vocab % block_size)), constant_values=-jnp.inf)
    highest_logit = jnp.max(logits, axis=-1, keepdims=True)
    masses = jnp.exp(padded_logits - highest_logit).reshape(batch, -1, block_size)  # unnormalised probabilities
    block_masses = jnp.sum(masses, axis=-1)
    block = _invert_cumulative(block_masses, uniform[:, 0])
    masses_of_block = jnp.take_along_axis(masses, block[:, None, None], axis=1)[:, 0]
    token = block * block_size + _invert_cumulative(masses_of_block, uniform[:, 1])
    # log softmax, with the sum of exponentials that is there already.
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)
    logprob = chosen - highest_logit - jnp.log(jnp.sum(block_masses, axis=-1, keepdims=True))
    return token.astype(jnp.int32), logprob[:, 0]


def _invert_cumulative(masses: Float[Array, "batch n"], uniform: Float[Array, " batch"]) -> Int[Array, " batch"]:
    """For each row, the index at which the cumulative mass exceeds `uniform` of the total; its mass is never 0."""
    cumulative = jnp.cumsum(masses, axis=-1)
    total = cumulative[:, -1]
    # The product may round up to the total, which would be past the last index.
    target = jnp.minimum(uniform * total, jnp.nextafter(total, jnp.zeros_like(total)))
    return jnp.sum(cumulative <= target[:, None], axis=-1)


def logprob_of(logits: Float[Array, "batch vocab"], tokens: Int[Array, " batch"]) -> Float[Array, " batch"]:
    """The log-probability of each row's token under softmax(logits) of that row."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), tokens[:, None], axis=-1)[:, 0]
