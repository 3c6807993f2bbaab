"""The two losses: GRPO for the online stage, negative log-likelihood for the offline ones. Student tokens only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sml_jax.common.errors import UserError
from sml_jax.learn.weights import token_weights

Metrics = dict[str, Float[Array, ""]]

# exp(20) is 5e8: past it a ratio says only that something broke, and an infinite one times an advantage of 0 is NaN.
MAX_LOG_RATIO = 20.0


def grpo_token_loss(
    logprob: Float[Array, "batch time"],
    old_logprob: Float[Array, "batch time"],
    advantage: Float[Array, " batch"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    kl_coef: float = 0.0,
    ref_logprob: Float[Array, "batch time"] | None = None,
    mismatch_cap: float | int | None = None,
) -> tuple[Float[Array, "batch time"], dict[str, Array]]:
    """The clipped policy loss of each token, `-min(ratio A, clip(ratio) A) + kl_coef KL`.

    With `mismatch_cap` it is `min(trainer / sampler, mismatch_cap)` times the policy term, where the two probabilities
    are those that one and the same policy gave the token: as the trainer computes it and as the sampler did, with
    other kernels, another precision or another batch. The old policy's log-probs by the trainer need no forward pass of
    their own: on the first update of a batch they are `logprob` itself, so that is taken, held fixed, and the ratio in
    the clip is 1 (its gradient is the policy gradient). This is exact on the first update after a rollout, which is the
    only one that the stages take, and however it is cut into micro-batches. On a second update of the same batch the
    weight would hold the policy's change as well as the mismatch, and nothing would be clipped but the weight.

    Knows no mask: every position must hold finite numbers (`grpo_loss` sees to it). No gradient goes into
    `old_logprob`, `advantage` or `ref_logprob`, so `old_logprob=logprob` is the on-policy update.

    Args:
      logprob: [B, T], log-probs of the tokens under the policy in training.
      old_logprob: [B, T], under the policy that sampled them (temperature 1).
      advantage: [B], one for every token of a dialogue.
      clip_low: the ratio is clipped below at `1 - clip_low`.
      clip_high: and above at `1 + clip_high` (apart from `clip_low`: DAPO's clip-higher).
      kl_coef: weight of the KL to the reference; 0 in the paper.
      ref_logprob: [B, T], under the reference policy.
      mismatch_cap: the most that a token counts for where the trainer finds it likelier than the sampler did; None
        takes `old_logprob` as the old policy's, mismatch and all. The KL term is not weighted.

    Returns:
      f32[B, T] losses, and arrays [B, T]: `ratio`, of `logprob` to `old_logprob`; `clipped` (bool, the clip holds and
      the policy term gives no gradient); `kl`, the k3 estimate `exp(d) - d - 1` with `d = ref_logprob - logprob`, 0
      without a reference.
      Log-ratios are held within +-20.

    Raises:
      UserError: a coefficient is negative, `kl_coef` is positive without a reference, or `mismatch_cap` is not above 0.

    References:
      GRPO: equations 3 and 4 of arXiv 2402.03300. Two clips: section 3.1 of DAPO, arXiv 2503.14476. Truncated weights
      between sampler and trainer: "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training", Yao et al.
      2025, fengyao.notion.site/off-policy-rl; the truncation: Ionides, Truncated Importance Sampling, 2008.
    """
    for name, value in (("clip_low", clip_low), ("clip_high", clip_high), ("kl_coef", kl_coef)):
        if value < 0:
            raise UserError(f"{name} is {value}: give 0 or a positive number.")
    if kl_coef > 0 and ref_logprob is None:
        raise UserError(
            f"kl_coef is {kl_coef} but there is no ref_logprob: score the reference policy or set kl_coef 0."
        )
    if mismatch_cap is not None and not mismatch_cap > 0:
        raise UserError(f"mismatch_cap is {mismatch_cap}: give a number above 0, such as 2, or None for no weights.")
    logprob = logprob.astype(jnp.float32)
    weight = jax.lax.stop_gradient(advantage.astype(jnp.float32))[:, None]
    ratio = jnp.exp(_bounded(logprob - jax.lax.stop_gradient(old_logprob.astype(jnp.float32))))
    if mismatch_cap is None:
        clipped = ((ratio > 1 + clip_high) & (weight > 0)) | ((ratio < 1 - clip_low) & (weight < 0))
        loss = -jnp.minimum(ratio * weight, jnp.clip(ratio, 1 - clip_low, 1 + clip_high) * weight)
    else:
        # 1, with the gradient of a ratio: no clip can hold.
        fresh = jnp.exp(logprob - jax.lax.stop_gradient(logprob))
        loss = -jax.lax.stop_gradient(jnp.minimum(ratio, mismatch_cap)) * fresh * weight
        clipped = jnp.zeros_like(ratio, bool)
    kl = jnp.zeros_like(ratio)
    if ref_logprob is not None:
        gap = _bounded(jax.lax.stop_gradient(ref_logprob.astype(jnp.float32)) - logprob)
        kl = jnp.expm1(gap) - gap
    if kl_coef > 0:
        loss = loss + kl_coef * kl
    return loss, {"ratio": ratio, "clipped": clipped, "kl": kl}


def grpo_loss(
    logprob: Float[Array, "batch time"],
    old_logprob: Float[Array, "batch time"],
    advantage: Float[Array, " batch"],
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
    """The GRPO loss of a batch of dialogues. What stands where the mask is False, NaN included, has no influence.

    Args:
      logprob, old_logprob, advantage, clip_low, clip_high, kl_coef, ref_logprob, mismatch_cap: see
        `grpo_token_loss`.
      mask: bool[B, T], True at the student's tokens.
      aggregation, max_tokens: see `token_weights`.
      weights: [B, T], this slice of `token_weights` over the whole batch, for gradient accumulation; then
        `aggregation` and `max_tokens` are not looked at.

    Returns:
      The loss (f32 scalar) and metrics (f32 scalars): `loss`, which adds up over slices that carry `weights`;
      means over the student tokens `kl`, `clip_fraction_low`, `clip_fraction_high`, `ratio_mean`,
      `logprob_mismatch` (`|logprob - old_logprob|`: sampler against trainer on the first update) and `entropy` (the
      estimate `-logprob`); maxima `ratio_max` and `logprob_mismatch_max`; and the count `student_tokens`. With
      `mismatch_cap` also `mismatch_capped`, the part of the student tokens whose weight is the cap.

    Raises:
      UserError: see `grpo_token_loss` and `token_weights`.
    """
    weights = token_weights(mask, aggregation, max_tokens) if weights is None else _live(weights, mask)
    # Masked on the way in, not only on the way out: a gradient of 0 times NaN is NaN.
    logprob, old_logprob = _live(logprob, mask), _live(old_logprob, mask)
    token_loss, parts = grpo_token_loss(
        logprob,
        old_logprob,
        jnp.where(jnp.any(mask, axis=1), advantage, 0.0),
        clip_low=clip_low,
        clip_high=clip_high,
        kl_coef=kl_coef,
        ref_logprob=None if ref_logprob is None else _live(ref_logprob, mask),
        mismatch_cap=mismatch_cap,
    )
    loss = jnp.sum(weights * token_loss)
    ratio, clipped = parts["ratio"], parts["clipped"]
    mismatch = jnp.abs(logprob - old_logprob)
    metrics = {
        "loss": loss,
        "kl": _mean(parts["kl"], mask),
        "clip_fraction_low": _mean(clipped & (ratio < 1), mask),
        "clip_fraction_high": _mean(clipped & (ratio > 1), mask),
        "ratio_mean": _mean(ratio, mask),
        "ratio_max": jnp.max(_live(ratio, mask)),
        "logprob_mismatch": _mean(mismatch, mask),
        "logprob_mismatch_max": jnp.max(mismatch),
        "entropy": _mean(-logprob, mask),
        "student_tokens": jnp.sum(mask, dtype=jnp.float32),
    }
    if mismatch_cap is not None:
        metrics["mismatch_capped"] = _mean(ratio > mismatch_cap, mask)
    return loss, metrics


def sft_loss(
    logprob: Float[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    aggregation: str = "token",
    max_tokens: int | None = None,
    weights: Float[Array, "batch time"] | None = None,
    dialogue_weight: Float[Array, " batch"] | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """The negative log-likelihood of the student's tokens. What stands where the mask is False has no influence.

    Args:
      logprob: [B, T], log-probs of the tokens under the policy in training.
      mask: bool[B, T], True at the student's tokens.
      aggregation, max_tokens: see `token_weights`.
      weights: [B, T], this slice of `token_weights` over the whole batch, for gradient accumulation; then
        `aggregation` and `max_tokens` are not looked at.
      dialogue_weight: [B], how much each dialogue counts; 1.0 for solved and 0.0 for unsolved ones is offline SML.

    Returns:
      The loss (f32 scalar) and metrics (f32 scalars): `loss`, which adds up over slices that carry `weights`; `nll`,
      the plain mean over the tokens that have weight; and the count of these, `student_tokens`.

    Raises:
      UserError: see `token_weights`; or both `weights` and `dialogue_weight` are given.

    References:
      Offline SML: arXiv 2602.16488.
    """
    if weights is None:
        weights = token_weights(mask, aggregation, max_tokens, dialogue_weight=dialogue_weight)
    elif dialogue_weight is not None:
        raise UserError("weights and dialogue_weight are both given: give dialogue_weight to token_weights instead.")
    trained = mask & (weights != 0)
    nll = -_live(logprob, trained)
    loss = jnp.sum(_live(weights, trained) * nll)
    return loss, {"loss": loss, "nll": _mean(nll, trained), "student_tokens": jnp.sum(trained, dtype=jnp.float32)}


def _live(values: Float[Array, "batch time"], mask: Bool[Array, "batch time"]) -> Float[Array, "batch time"]:
    return jnp.where(mask, values.astype(jnp.float32), 0.0)


def _bounded(log_ratio: Float[Array, "batch time"]) -> Float[Array, "batch time"]:
    return jnp.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO)


def _mean(values: Array, mask: Bool[Array, "batch time"]) -> Float[Array, ""]:
    total = jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0.0))
    return total / jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1.0)
