"""The optimiser that every stage uses, from optax."""

from __future__ import annotations

import jax
import optax

from sml_jax.common.errors import UserError


def adamw(
    learning_rate: float = 5e-4,
    warmup_steps: int = 0,
    decay_steps: int = 0,
    final_fraction: float = 0.0,
    weight_decay: float = 0.0,
    clip_norm: float = 1.0,
    b1: float = 0.9,
    b2: float = 0.95,
) -> optax.GradientTransformation:
    """AdamW on gradients that are first clipped by their global norm.

    Args:
      learning_rate: the peak of the schedule.
      warmup_steps: steps in which the learning rate rises linearly from 0 to the peak.
      decay_steps: if above 0, the learning rate falls from the peak by a cosine that ends at this step; if 0, it stays
        at the peak.
      final_fraction: the fraction of the peak at which the cosine ends.
      weight_decay: applied to matrices and embeddings, not to norms and biases. With LoRA, to the adapters.
      clip_norm: gradients with a larger global norm are scaled down to this one.
      b1, b2: Adam's decay rates.

    Returns:
      An optax transformation, whose state counts the steps of the schedule.

    Raises:
      UserError: a setting is out of range.
    """
    # Settings come from gin files, so each is checked here, where the error can name it.
    not_negative = {"learning_rate": learning_rate, "warmup_steps": warmup_steps, "decay_steps": decay_steps}
    for name, value in {**not_negative, "weight_decay": weight_decay}.items():
        if not 0 <= value < float("inf"):
            raise UserError(f"adamw: {name} is {value}; it must be at least 0, and finite")
    if not 0 <= final_fraction <= 1:
        raise UserError(f"adamw: final_fraction is {final_fraction}; give a share of learning_rate, from 0 to 1")
    for name, value in {"b1": b1, "b2": b2}.items():
        if not 0 <= value < 1:
            raise UserError(f"adamw: {name} is {value}; give a number from 0 to below 1, such as 0.9")
    if not clip_norm > 0:
        raise UserError(f"adamw: clip_norm is {clip_norm}; give a norm above 0; a large one never clips")
    # The schedule: warm-up with or without a decay after it, or a constant.
    if decay_steps:
        schedule = optax.warmup_cosine_decay_schedule(
            0.0 if warmup_steps else learning_rate,
            learning_rate,
            warmup_steps,
            max(decay_steps, warmup_steps + 1),
            learning_rate * final_fraction,
        )
    elif warmup_steps:
        schedule = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    else:
        schedule = optax.constant_schedule(learning_rate)
    # The clip comes first, so that the norm is that of the gradient itself and not of Adam's step.
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=_matrices),
    )


def _matrices(params: optax.Params) -> optax.Params:
    """True at the parameters that weight decay applies to."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim >= 2 and not any(getattr(p, "key", "") in ("scale", "bias") for p in path), params
    )
