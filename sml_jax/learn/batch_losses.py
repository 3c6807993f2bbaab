"""From token losses to the loss of a batch: the mask, the weights, and the metrics of each stream."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sml_jax.common.errors import UserError
from sml_jax.learn.losses import PolicyLoss, TokenLoss, bounded_ratio
from sml_jax.learn.shapes import check_same_shape, shape_of, token_advantage
from sml_jax.learn.weights import token_weights

# Scalars by name, as the compiled update returns them.
Metrics = dict[str, Float[Array, ""]]


def policy_loss(
    token_loss: TokenLoss,
    logprob: Float[Array, "batch time"],
    old_logprob: Float[Array, "batch time"],
    advantage: Float[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    weights: Float[Array, "batch time"],
    ref_logprob: Float[Array, "batch time"] | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """`sum(weights * token_loss)` over the tokens in the mask. Values at other tokens, even NaN, have no influence.

    Args:
      token_loss: a function of the four arrays below, in the order logprob, old_logprob, advantage, ref_logprob; see
        `losses.TokenLoss`.
      logprob: [B, T], log-probs of the tokens under the policy in training.
      old_logprob: [B, T], under the policy that sampled them.
      advantage: [B, T].
      ref_logprob: [B, T], under the reference policy; None if the token loss needs none.
      mask: bool[B, T], True at the tokens that are trained on.
      weights: [B, T], see `weights.token_weights`.

    Returns:
      The loss (f32 scalar) and metrics (f32 scalars): those of `grpo_loss`, except that `kl` and the fractions are
      replaced by the means of the arrays that the token loss returns.

    Raises:
      UserError: the token loss returned something else than losses [B, T] and a dictionary of arrays [B, T].
    """
    # Masked on the way in, not only on the way out: a gradient of 0 times NaN is NaN.
    logprob, old_logprob = _masked(logprob, mask), _masked(old_logprob, mask)
    advantage, weights = _masked(advantage, mask), _masked(weights, mask)
    ref_logprob = None if ref_logprob is None else _masked(ref_logprob, mask)
    losses, to_log = _checked(token_loss, token_loss(logprob, old_logprob, advantage, ref_logprob), logprob)
    loss = jnp.sum(weights * losses)

    # Metrics that any loss has. On the first update after a rollout the ratio is 1, and the mismatch is the distance
    # between the sampler's and the trainer's numbers.
    ratio = bounded_ratio(logprob, old_logprob)
    mismatch = jnp.abs(logprob - old_logprob)
    return loss, {
        **{name: _mean(values, mask) for name, values in to_log.items()},
        "loss": loss,
        "ratio_mean": _mean(ratio, mask),
        "ratio_max": jnp.max(_masked(ratio, mask)),
        "logprob_mismatch": _mean(mismatch, mask),
        "logprob_mismatch_max": jnp.max(mismatch),
        "entropy": _mean(-logprob, mask),
        "student_tokens": jnp.sum(mask, dtype=jnp.float32),
    }


def grpo_loss(
    logprob: Float[Array, "batch time"],
    old_logprob: Float[Array, "batch time"],
    advantage: Float[Array, "batch time"] | Float[Array, " batch"],
    mask: Bool[Array, "batch time"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    kl_coef: float = 0.0,
    ref_logprob: Float[Array, "batch time"] | None = None,
    aggregation: str = "sequence",
    max_tokens: int | None = None,
    weights: Float[Array, "batch time"] | None = None,
    mismatch_cap: float | int | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """The GRPO loss of a batch of dialogues. Values where the mask is False, even NaN, have no influence.

    Args:
      logprob, old_logprob, advantage, clip_low, clip_high, kl_coef, ref_logprob, mismatch_cap: see
        `grpo_token_loss`.
      mask: bool[B, T], True at the student's tokens.
      aggregation, max_tokens: see `token_weights`.
      weights: [B, T], this slice of `token_weights` over the whole batch, for gradient accumulation; then
        `aggregation` and `max_tokens` are ignored.

    Returns:
      The loss (f32 scalar) and metrics (f32 scalars): `loss`, which adds up over slices that carry `weights`;
      means over the student tokens `kl`, `clip_fraction_low`, `clip_fraction_high`, `ratio_mean`,
      `logprob_mismatch` (`|logprob - old_logprob|`: sampler against trainer on the first update) and `entropy` (the
      estimate `-logprob`); maxima `ratio_max` and `logprob_mismatch_max`; and the count `student_tokens`. With
      `mismatch_cap` also `mismatch_capped`, the fraction of the student tokens whose weight is the cap.

    Raises:
      UserError: see `grpo_token_loss` and `token_weights`.
    """
    check_same_shape(
        "grpo_loss", 2, logprob=logprob, old_logprob=old_logprob, mask=mask, ref_logprob=ref_logprob, weights=weights
    )
    advantage = token_advantage("grpo_loss", advantage, logprob)
    weights = token_weights(mask, aggregation, max_tokens) if weights is None else weights
    # Shapes are known to fit, so the rest is what the update does with its policy stream.
    token_loss = PolicyLoss(clip_low, clip_high, kl_coef, mismatch_cap)
    return policy_loss(token_loss, logprob, old_logprob, advantage, mask, weights, ref_logprob)


def sft_loss(
    logprob: Float[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    aggregation: str = "token",
    max_tokens: int | None = None,
    weights: Float[Array, "batch time"] | None = None,
    dialogue_weight: Float[Array, " batch"] | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """The negative log-likelihood of the student's tokens. Values where the mask is False have no influence.

    Args:
      logprob: [B, T], log-probs of the tokens under the policy in training.
      mask: bool[B, T], True at the student's tokens.
      aggregation, max_tokens: see `token_weights`.
      weights: [B, T], this slice of `token_weights` over the whole batch, for gradient accumulation; then
        `aggregation` and `max_tokens` are ignored.
      dialogue_weight: [B], how much each dialogue counts; 1.0 for solved and 0.0 for unsolved ones is offline SML.

    Returns:
      The loss (f32 scalar) and metrics (f32 scalars): `loss`, which adds up over slices that carry `weights`; `nll`,
      the plain mean over the tokens that have weight; and the count of these, `student_tokens`.

    Raises:
      UserError: see `token_weights`; or both `weights` and `dialogue_weight` are given.

    References:
      Offline SML: arXiv 2602.16488.
    """
    check_same_shape("sft_loss", 2, logprob=logprob, mask=mask, weights=weights)
    if weights is None:
        weights = token_weights(mask, aggregation, max_tokens, dialogue_weight=dialogue_weight)
    elif dialogue_weight is not None:
        raise UserError("weights and dialogue_weight are both given: give dialogue_weight to token_weights instead.")
    # Tokens without weight, as those of unsolved dialogues, are not counted either.
    has_weight = mask & (weights != 0)
    nll = -_masked(logprob, has_weight)
    loss = jnp.sum(_masked(weights, has_weight) * nll)
    return loss, {"loss": loss, "nll": _mean(nll, has_weight), "student_tokens": jnp.sum(has_weight, dtype=jnp.float32)}


def distill_loss(
    divergence: Float[Array, "batch time"], weights: Float[Array, "batch time"]
) -> tuple[Float[Array, ""], Metrics]:
    """`sum(weights * divergence)` over the tokens that have weight. Values elsewhere, even NaN, have no influence.

    Returns:
      The loss (f32 scalar) and metrics (f32 scalars): `loss`; `divergence`, its plain mean over the tokens that have
      weight; and the count of these, `student_tokens`.

    References:
      Self-distillation: arXiv 2601.20802.
    """
    has_weight = weights > 0
    loss = jnp.sum(_masked(weights, has_weight) * _masked(divergence, has_weight))
    return loss, {
        "loss": loss,
        "divergence": _mean(divergence, has_weight),
        "student_tokens": jnp.sum(has_weight, dtype=jnp.float32),
    }


def _checked(token_loss: TokenLoss, returned: object, logprob: Array) -> tuple[Array, dict[str, Array]]:
    """What a token loss returned, or a UserError that names what it should have returned."""
    loss_name = getattr(token_loss, "__name__", type(token_loss).__name__)
    cure = f"return (losses, arrays_by_name), each array of the shape of logprob, {list(shape_of(logprob))}"
    if not (isinstance(returned, tuple) and len(returned) == 2 and hasattr(returned[1], "items")):
        raise UserError(f"loss {loss_name} returned a {type(returned).__name__}: {cure}")
    # Wrong shapes would not fail by themselves: [B, 1] and [T] broadcast to [B, T].
    losses, to_log = returned
    for name, array in {"losses": losses, **to_log}.items():
        if shape_of(array) != shape_of(logprob):
            raise UserError(f"loss {loss_name}: {name} has shape {list(shape_of(array))}: {cure}")
    return losses, dict(to_log)


def _masked(values: Float[Array, "batch time"], mask: Bool[Array, "batch time"]) -> Float[Array, "batch time"]:
    return jnp.where(mask, values.astype(jnp.float32), 0.0)


def _mean(values: Array, mask: Bool[Array, "batch time"]) -> Float[Array, ""]:
    # A micro-batch may have no token in the mask: then the mean is 0, not 0 / 0.
    total = jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0.0))
    return total / jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1.0)
