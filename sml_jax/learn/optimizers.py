"""The optimiser that every stage uses, from optax, and the running mean of parameters beside it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
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
      warmup_steps: steps in which the learning rate rises linearly to the peak: the n-th of them has n / warmup_steps
        of it, so that already the first one learns.
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
    # The schedule: warm-up with or without a decay after it, or a constant. A rise from 0 would waste the first step,
    # whose rollout costs as much as any other, so the rise begins one step later on that line.
    first_rate, rising_steps = learning_rate / max(warmup_steps, 1), max(warmup_steps - 1, 0)
    if decay_steps:
        schedule = optax.warmup_cosine_decay_schedule(
            first_rate,
            learning_rate,
            rising_steps,
            max(decay_steps, rising_steps + 1),
            learning_rate * final_fraction,
        )
    elif rising_steps:
        schedule = optax.linear_schedule(first_rate, learning_rate, rising_steps)
    else:
        schedule = optax.constant_schedule(learning_rate)
    # The clip comes first, so that the norm is that of the gradient itself and not of Adam's step.
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=_matrices),
    )


class RunningMean(NamedTuple):
    """The state of `with_ema`.

    Attributes:
      optimizer_state: of the optimiser that takes the steps.
      mean_params: the running mean of the parameters after each step.
    """

    optimizer_state: optax.OptState
    mean_params: optax.Params


def with_ema(optimizer: optax.GradientTransformation, decay: float = 0.95) -> optax.GradientTransformation:
    """The steps of `optimizer`, with a running mean of the parameters in its state: `decay * mean + (1 - decay) * new`.

    The mean is the reference of self-distillation. It is saved and restored as the rest of the optimiser's state, and a
    step that is skipped does not change it. It takes as much memory as the parameters that are trained.

    Args:
      optimizer: from optax.
      decay: how much of the mean is kept at each step; 0.95 in SDPO.

    Raises:
      UserError: the decay is no number from 0 to 1.

    References:
      SDPO, arXiv 2601.20802: the mean as the teacher, which keeps it from following the student at once.
    """
    if not 0 <= decay <= 1:
        raise UserError(f"with_ema: decay is {decay}; give a number from 0 to 1, such as 0.95")

    def init(params: optax.Params) -> RunningMean:
        return RunningMean(optimizer.init(params), jax.tree.map(jnp.copy, params))

    def update(
        gradients: optax.Updates, state: RunningMean, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RunningMean]:
        updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, params)
        new_params = optax.apply_updates(params, updates)
        mean = jax.tree.map(lambda m, new: decay * m + (1 - decay) * new, state.mean_params, new_params)
        return updates, RunningMean(optimizer_state, mean)

    return optax.GradientTransformation(init, update)


def running_mean(state: optax.OptState, params: optax.Params) -> optax.Params:
    """The running mean in an optimiser's state; `params`, the parameters themselves, if it keeps none."""
    return state.mean_params if isinstance(state, RunningMean) else params


def _matrices(params: optax.Params) -> optax.Params:
    """True at the parameters that weight decay applies to."""
    not_decayed = ("scale", "bias", "layer_scalar", "decay_log_rate", "decay_bias")
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim >= 2 and not any(getattr(p, "key", "") in not_decayed for p in path), params
    )
