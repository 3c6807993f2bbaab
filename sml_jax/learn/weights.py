"""How the token losses of a batch become one number: a weight for each token."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sml_jax.common.errors import UserError
from sml_jax.learn.shapes import shape_of

# Of GRPO, DAPO and Dr. GRPO, in this order.
AGGREGATIONS = ("sequence", "token", "constant")


def token_weights(
    mask: Bool[Array, "batch time"],
    aggregation: str = "sequence",
    max_tokens: int | None = None,
    *,
    dialogue_weight: Float[Array, " batch"] | None = None,
) -> Float[Array, "batch time"]:
    """Per-token weights such that the batch's loss is `sum(weights * token_loss)`.

    Weights are computed once, over the whole batch. A micro-batch takes its slice of them, and the losses and gradients
    of the micro-batches add up to those of the whole batch, however it was cut.

    Args:
      mask: bool[B, T], True at the student's tokens.
      aggregation:
        "sequence": the mean over a dialogue's student tokens, then the mean over dialogues (GRPO, the default). A
          dialogue without student tokens adds nothing to the sum and still counts among the dialogues.
        "token": the mean over all student tokens of the batch (DAPO).
        "constant": the sum over student tokens, over `batch * max_tokens` (Dr. GRPO).
      max_tokens: the most student tokens that a dialogue may have; needed for "constant" alone, which divides by it.
      dialogue_weight: f32[B], not negative; 0 leaves a dialogue out of the sum and of the divisor, 2 counts it twice.
        None is 1 for each.

    Returns:
      f32[B, T], exactly 0 where the mask is False; 0 everywhere when no dialogue has any weight.

    Raises:
      UserError: the aggregation is unknown; "constant" is given no `max_tokens`; or the shapes differ.

    References:
      GRPO: equation 3 of arXiv 2402.03300. DAPO: section 3.3 of arXiv 2503.14476. Dr. GRPO: arXiv 2503.20783.
    """
    check_aggregation(aggregation)
    if len(shape_of(mask)) != 2:
        raise UserError(f"token_weights: mask has shape {list(shape_of(mask))}: give bool[batch, time].")
    if dialogue_weight is not None and shape_of(dialogue_weight) != shape_of(mask)[:1]:
        raise UserError(
            f"token_weights: dialogue_weight has shape {list(shape_of(dialogue_weight))} and mask "
            f"{list(shape_of(mask))}: give one weight a dialogue, {list(shape_of(mask)[:1])}."
        )
    dialogue_share = (
        jnp.ones(mask.shape[:1], jnp.float32) if dialogue_weight is None else dialogue_weight.astype(jnp.float32)
    )
    tokens = jnp.sum(mask, axis=1, dtype=jnp.float32)
    # One weight for all tokens of a dialogue, [B]; the mask then spreads it over them.
    if aggregation == "sequence":
        weight = _divide(dialogue_share, tokens * jnp.sum(dialogue_share))
    elif aggregation == "token":
        weight = _divide(dialogue_share, jnp.sum(dialogue_share * tokens))
    else:
        if max_tokens is None or max_tokens < 1:
            raise UserError(
                f"max_tokens is {max_tokens}: aggregation 'constant' divides by it, so give the most student tokens "
                "that a dialogue may have."
            )
        weight = _divide(dialogue_share, jnp.sum(dialogue_share) * max_tokens)
    return jnp.where(mask, weight[:, None], 0.0)


def check_aggregation(aggregation: str, before: str = "") -> None:
    """Raises a UserError, whose text begins with `before`, unless `aggregation` is one that `token_weights` takes."""
    if aggregation not in AGGREGATIONS:
        raise UserError(f"{before}aggregation is {aggregation!r}: choose one of {', '.join(map(repr, AGGREGATIONS))}.")


def _divide(numerator: Float[Array, " batch"], denominator: Array) -> Float[Array, " batch"]:
    """The quotient, 0 where the denominator is 0."""
    # Both branches of a `where` are computed, so the denominator must not be 0 in the one that is not used either.
    return jnp.where(denominator > 0, numerator / jnp.where(denominator > 0, denominator, 1.0), 0.0)
