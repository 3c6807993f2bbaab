"""The loss of each token in the policy stream: GRPO's clipped ratio, and the form of a loss of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sml_jax.common.errors import UserError
from sml_jax.learn.shapes import check_same_shape, token_advantage

# exp(20) is 5e8: past it a ratio says only that something broke, and an infinite one times an advantage of 0 is NaN.
MAX_LOG_RATIO = 20.0

# The form of a token loss: `loss(logprob, old_logprob, advantage, ref_logprob)`, arrays [B, T] with zeros at positions
# that are not trained on, returns the losses [B, T] and arrays [B, T] by name, whose means over the trained tokens are
# logged. Two attributes tell more of it, and count as false where they are absent:
#   needs_reference: `ref_logprob` holds log-probs under the stage's initial student; it is None otherwise.
#   zero_without_advantage: there is no gradient where the advantage is 0, so dialogues whose advantages are all 0 need
#     not be computed.
TokenLoss = Callable[..., tuple[Array, Mapping[str, Array]]]


@dataclass(frozen=True)
class PolicyLoss:
    """A token loss: `grpo_token_loss` with these settings. It is called with arrays [B, T].

    Attributes:
      clip_low, clip_high: the ratio is clipped to the range from `1 - clip_low` to `1 + clip_high`.
      kl_coef: weight of the KL to the reference policy.
      mismatch_cap: the largest weight of a token in the gradient, for a sampler that differs from the trainer; None for
        no limit.

    Raises:
      UserError: a setting is out of range.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coef: float = 0.0
    mismatch_cap: float | int | None = None

    def __post_init__(self) -> None:
        for name in ("clip_low", "clip_high", "kl_coef"):
            if not 0 <= (value := getattr(self, name)) < float("inf"):
                raise UserError(f"policy loss: {name} is {value}: give 0 or a positive number")
        if self.mismatch_cap is not None and not 0 < self.mismatch_cap < float("inf"):
            raise UserError(
                f"policy loss: mismatch_cap is {self.mismatch_cap}: give a number above 0, or None for no limit"
            )

    @property
    def needs_reference(self) -> bool:
        """Whether the loss has a KL term, which needs log-probs of a reference policy."""
        return self.kl_coef > 0

    @property
    def zero_without_advantage(self) -> bool:
        """Whether tokens with an advantage of 0 have no gradient, so that they need not be computed."""
        return self.kl_coef == 0

    def __call__(
        self,
        logprob: Float[Array, "batch time"],
        old_logprob: Float[Array, "batch time"],
        advantage: Float[Array, "batch time"],
        ref_logprob: Float[Array, "batch time"] | None = None,
    ) -> tuple[Float[Array, "batch time"], dict[str, Array]]:
        """Losses [B, T], and arrays [B, T] to log: `kl`, `clip_fraction_low` and `_high`, `mismatch_capped`."""
        loss, term_arrays = grpo_token_loss(
            logprob,
            old_logprob,
            advantage,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            kl_coef=self.kl_coef,
            ref_logprob=ref_logprob,
            mismatch_cap=self.mismatch_cap,
        )
        ratio, clipped = term_arrays["ratio"], term_arrays["clipped"]
        to_log = {
            "kl": term_arrays["kl"],
            "clip_fraction_low": clipped & (ratio < 1),
            "clip_fraction_high": clipped & (ratio > 1),
        }
        if self.mismatch_cap is not None:
            to_log["mismatch_capped"] = (ratio > self.mismatch_cap) & ~clipped
        return loss, to_log


def grpo_token_loss(
    logprob: Float[Array, "batch time"],
    old_logprob: Float[Array, "batch time"],
    advantage: Float[Array, "batch time"] | Float[Array, " batch"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    kl_coef: float = 0.0,
    ref_logprob: Float[Array, "batch time"] | None = None,
    mismatch_cap: float | int | None = None,
) -> tuple[Float[Array, "batch time"], dict[str, Array]]:
    """The clipped policy loss of each token, `-min(ratio A, clip(ratio) A) + kl_coef KL`.

    The ratio of a token is the trainer's probability over the sampler's. Where the policy has not changed since the
    rollout, it is what sets the sampler apart: other kernels, another precision, another batch, rounded weights. Where
    it has changed (`Online.staleness`), the ratio holds both. It is the importance weight of a token that the sampler
    drew too often or too rarely: the gradient of an unclipped token is `ratio A` times that of its log-probability.

    Where the clip holds, as in PPO, a token has no gradient: above `1 + clip_high` with a positive advantage, and below
    `1 - clip_low` with a negative one. On the other sides nothing bounds the weight, and a rare token that the sampler
    all but excluded outweighs the batch. `mismatch_cap` truncates it: the gradient there is `min(ratio, mismatch_cap)
    A` times that of the log-probability. A sampler that equals the trainer meets neither limit, and the loss with a cap
    is then the loss without one, bit for bit.

    There is no mask: every position must hold finite numbers (`grpo_loss` masks its arguments before). No gradient goes
    into `old_logprob`, `advantage` or `ref_logprob`, so `old_logprob=logprob` is the on-policy update.

    Args:
      logprob: [B, T], log-probs of the tokens under the policy in training.
      old_logprob: [B, T], under the policy that sampled them (temperature 1).
      advantage: [B, T], or [B]: one for every token of a dialogue.
      clip_low: the ratio is clipped below at `1 - clip_low`.
      clip_high: the ratio is clipped above at `1 + clip_high` (a separate setting: DAPO's clip-higher).
      kl_coef: weight of the KL to the reference; 0 in the paper.
      ref_logprob: [B, T], under the reference policy.
      mismatch_cap: the largest weight of a token in the gradient; None for no limit. The KL term is not weighted.

    Returns:
      f32[B, T] losses, and arrays [B, T]: `ratio`, `exp(logprob - old_logprob)`; `clipped` (bool), where the policy
      term is clipped and has no gradient; and `kl`, the k3 estimate `exp(d) - d - 1` with `d = ref_logprob - logprob`,
      0 without a reference. Log-ratios are limited to +-20.

    Raises:
      UserError: shapes differ; a coefficient is negative; `kl_coef` is positive without a reference; or `mismatch_cap`
        is not above 0.

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
        raise UserError(f"mismatch_cap is {mismatch_cap}: give a number above 0, such as 2, or None for no limit.")
    check_same_shape("grpo_token_loss", 2, logprob=logprob, old_logprob=old_logprob, ref_logprob=ref_logprob)
    token_advantages = jax.lax.stop_gradient(token_advantage("grpo_token_loss", advantage, logprob).astype(jnp.float32))
    logprob = logprob.astype(jnp.float32)
    ratio = bounded_ratio(logprob, old_logprob.astype(jnp.float32))

    # The policy term, which is minimised: minus the smaller of the two sides of the clip.
    clipped = ((ratio > 1 + clip_high) & (token_advantages > 0)) | ((ratio < 1 - clip_low) & (token_advantages < 0))
    loss = -jnp.minimum(ratio * token_advantages, jnp.clip(ratio, 1 - clip_low, 1 + clip_high) * token_advantages)
    if mismatch_cap is not None:
        # This factor is 1 and has the gradient of the log-probability, so the weight in front of it is held fixed.
        unit_ratio = jnp.exp(logprob - jax.lax.stop_gradient(logprob))
        loss = jnp.where((ratio > mismatch_cap) & ~clipped, -mismatch_cap * unit_ratio * token_advantages, loss)

    # The distance to the reference is measured whenever there is one, and enters the loss by its coefficient.
    kl = jnp.zeros_like(ratio)
    if ref_logprob is not None:
        reference_log_ratio = _bounded(jax.lax.stop_gradient(ref_logprob.astype(jnp.float32)) - logprob)
        kl = jnp.expm1(reference_log_ratio) - reference_log_ratio
    if kl_coef > 0:
        loss = loss + kl_coef * kl
    return loss, {"ratio": ratio, "clipped": clipped, "kl": kl}


def bounded_ratio(
    logprob: Float[Array, "batch time"], old_logprob: Float[Array, "batch time"]
) -> Float[Array, "batch time"]:
    """`exp(logprob - old_logprob)`, with the exponent limited to +-20. No gradient goes into `old_logprob`."""
    return jnp.exp(_bounded(logprob - jax.lax.stop_gradient(old_logprob)))


def _bounded(log_ratio: Float[Array, "batch time"]) -> Float[Array, "batch time"]:
    return jnp.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO)
