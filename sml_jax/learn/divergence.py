"""How far the next-token distributions of a policy are from those of a reference, a chunk of positions at a time."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sml_jax.learn.position_chunks import (
    Head,
    HeadLayout,
    Params,
    cut_rows,
    mask_first,
    sort_positions,
    unsort_positions,
)

# A divergence of two distributions, given as log-probabilities [..., V] of the policy and of the reference.
Divergence = Callable[[Array, Array], Array]


def reverse_kl(logprob: Float[Array, "*batch V"], reference: Float[Array, "*batch V"]) -> Float[Array, "*batch"]:
    """KL(policy || reference), `sum of p * (log p - log q)`: the policy leaves what the reference finds unlikely."""
    return jnp.sum(jnp.exp(logprob) * (logprob - reference), axis=-1)


def forward_kl(logprob: Float[Array, "*batch V"], reference: Float[Array, "*batch V"]) -> Float[Array, "*batch"]:
    """KL(reference || policy), `sum of q * (log q - log p)`: the policy covers what the reference finds likely."""
    return jnp.sum(jnp.exp(reference) * (reference - logprob), axis=-1)


def jensen_shannon(logprob: Float[Array, "*batch V"], reference: Float[Array, "*batch V"]) -> Float[Array, "*batch"]:
    """The mean of both KL divergences from the mean distribution; at most log 2."""
    middle = jnp.logaddexp(logprob, reference) - jnp.log(2.0)
    return 0.5 * (forward_kl(middle, logprob) + forward_kl(middle, reference))


def hidden_divergence(
    divergence: Divergence,
    head: Head,
    params: Params,
    hidden: Float[Array, "batch time width"],
    reference_params: Params,
    reference_hidden: Float[Array, "batch time width"],
    mask: Bool[Array, "batch time"],
    *,
    layout: HeadLayout | None = None,
    max_logits: int | None = None,
    trained: bool = True,
) -> Float[Array, "batch time"]:
    """The divergence at each token in the mask, between the two distributions that its token is drawn from.

    Positions are sorted, cut and skipped as in `logprobs.hidden_logprobs`, so that no more than a chunk's logits exist
    at a time. The backward pass computes them again. No gradient goes into the reference.

    Args:
      divergence: a function of two arrays of log-probabilities, such as `reverse_kl`.
      head: `head(params, hidden)` gives logits [..., V] for hidden states [..., width].
      params, hidden: of the policy; the state at t - 1 predicts the token at t.
      reference_params, reference_hidden: of the reference, for the same tokens, perhaps from other contexts.
      mask: bool[B, T], True at tokens to compare. The first token of a row is never compared.
      layout, max_logits, trained: see `logprobs.hidden_logprobs`.

    Returns:
      f32[B, T]; 0 where the mask is False and at the first token of a row.
    """
    rows, time, width = hidden.shape
    layout, groups, positions, chunk = cut_rows(head, params, hidden, layout, max_logits)
    params = params if trained else jax.lax.stop_gradient(params)
    reference = jax.lax.stop_gradient((reference_params, reference_hidden))
    # The hidden state at t is of the token at t + 1.
    scored = jnp.pad(mask[:, 1:], ((0, 0), (0, 1))).reshape(groups, positions)
    order, starts, count = mask_first(scored, chunk)

    def chunks_of(states: jax.Array) -> jax.Array:
        """[chunks, groups, chunk, width], the states of the positions in the mask first."""
        states = sort_positions(layout, states.reshape(groups, positions, width), order)
        return jnp.moveaxis(states.reshape(groups, -1, chunk, width), 1, 0)

    @jax.checkpoint
    def compare(states: jax.Array, reference_states: jax.Array) -> jax.Array:
        logprob, of_reference = (
            jax.nn.log_softmax(head(p, x).astype(jnp.float32), axis=-1)
            for p, x in ((params, states), (reference[0], reference_states))
        )
        return divergence(logprob, of_reference)

    # Chunks past the last position in the mask are skipped.
    skipped = jnp.zeros((groups, chunk), jnp.float32)
    _, compared = jax.lax.scan(
        lambda _, x: (None, jax.lax.cond(x[0] < count, compare, lambda *_: skipped, x[1], x[2])),
        None,
        (starts, chunks_of(hidden), chunks_of(reference[1])),
    )
    compared = jnp.where(scored, unsort_positions(layout, compared, order, positions), 0.0).reshape(rows, time)
    return jnp.pad(compared[:, :-1], ((0, 0), (1, 0)))
