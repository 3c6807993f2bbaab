"""Group-relative advantages: how much better a dialogue went than the others on the same problem."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sml_jax.common.errors import UserError
from sml_jax.learn.shapes import shape_of


def group_advantages(
    rewards: Float[Array, " batch"],
    group_size: int,
    *,
    normalize: bool = True,
    eps: float = 1e-6,
    valid: Bool[Array, " batch"] | None = None,
) -> Float[Array, " batch"]:
    """`(r - mean) / (std + eps)` within each group of dialogues on one problem.

    A group without variance gets exactly 0, not a rounding error divided by `eps`. So does a group with one valid
    dialogue.

    Args:
      rewards: f32[B], rewards or returns; each `group_size` consecutive ones form a group.
      group_size: dialogues of a problem; 8 in the paper.
      normalize: divide by the group's population standard deviation (GRPO); False leaves `r - mean` (Dr. GRPO).
      eps: added to the standard deviation.
      valid: bool[B], False for dialogues to ignore (dropped ones): they are left out of means and deviations, and
        their advantage is 0. None if all are valid.

    Returns:
      f32[B], in the order of `rewards`.

    Raises:
      UserError: the batch does not divide into groups of `group_size`, or a shape is not [B].

    References:
      GRPO: section 4.1.2 of arXiv 2402.03300. Dr. GRPO: arXiv 2503.20783.
    """
    groups, is_valid = _as_groups(rewards, group_size), _as_valid(rewards, group_size, valid)

    # A group without a valid dialogue would have a mean of 0 / 0. It is averaged as a whole, and set to 0 below.
    averaged = is_valid | ~jnp.any(is_valid, axis=1, keepdims=True)
    advantages = groups - jnp.mean(groups, axis=1, keepdims=True, where=averaged)
    if normalize:
        advantages = advantages / (jnp.std(groups, axis=1, keepdims=True, where=averaged) + eps)

    # Exact zeros where nothing is to be learnt.
    has_advantage = is_valid & ~_without_variance(groups, is_valid)[:, None]
    return jnp.where(has_advantage, advantages, 0.0).reshape(-1)


def group_statistics(
    rewards: Float[Array, " batch"], group_size: int, *, valid: Bool[Array, " batch"] | None = None
) -> dict[str, Float[Array, ""]]:
    """Counts the groups that give no gradient, so that they can be logged.

    Args:
      rewards: f32[B], the argument of `group_advantages`; 0 means unsolved.
      group_size: dialogues of a problem.
      valid: bool[B], False for dialogues to ignore; None if all are valid. Groups without a valid dialogue are not
        counted.

    Returns:
      Scalars (f32) by name: `groups`, the number of groups; `zero_variance`, the number of groups whose rewards are all
      equal, which is the sum of `zero_variance_solved` (every dialogue was solved) and `zero_variance_unsolved` (none
      was); and each of the latter three divided by `groups`, as `<name>_fraction`.

    Raises:
      UserError: the batch does not divide into groups of `group_size`.
    """
    groups, is_valid = _as_groups(rewards, group_size), _as_valid(rewards, group_size, valid)
    has_valid = jnp.any(is_valid, axis=1)
    zero_variance = has_valid & _without_variance(groups, is_valid)
    solved = zero_variance & (jnp.max(groups, axis=1, where=is_valid, initial=-jnp.inf) > 0)
    # Counts, and the same as fractions, which compare across batches.
    kinds = {
        "zero_variance": zero_variance,
        "zero_variance_solved": solved,
        "zero_variance_unsolved": zero_variance & ~solved,
    }
    group_count = jnp.sum(has_valid, dtype=jnp.float32)
    statistics = {"groups": group_count}
    for name, is_of_kind in kinds.items():
        statistics[name] = jnp.sum(is_of_kind, dtype=jnp.float32)
        statistics[f"{name}_fraction"] = statistics[name] / jnp.maximum(group_count, 1.0)
    return statistics


def _as_groups(rewards: Float[Array, " batch"], group_size: int) -> Float[Array, "groups size"]:
    if rewards.ndim != 1:
        raise UserError(f"rewards have shape {tuple(rewards.shape)}: give one reward a dialogue, shape [batch].")
    if group_size < 1:
        raise UserError(f"group_size is {group_size}: give the number of dialogues a problem, at least 1.")
    batch = rewards.shape[0]
    if batch == 0 or batch % group_size:
        raise UserError(
            f"{batch} rewards do not divide into groups of {group_size}: "
            f"roll out a whole number of problems, {group_size} dialogues each, or change group_size."
        )
    return rewards.astype(jnp.float32).reshape(-1, group_size)


def _as_valid(
    rewards: Float[Array, " batch"], group_size: int, valid: Bool[Array, " batch"] | None
) -> Bool[Array, "groups size"]:
    if valid is not None and shape_of(valid) != shape_of(rewards):
        raise UserError(
            f"valid has shape {list(shape_of(valid))} and rewards {list(shape_of(rewards))}: give one of each a "
            "dialogue."
        )
    if valid is None:
        return jnp.ones((rewards.shape[0] // group_size, group_size), bool)
    return valid.reshape(-1, group_size)


def _without_variance(
    groups: Float[Array, "groups size"], counted: Bool[Array, "groups size"]
) -> Bool[Array, " groups"]:
    # The standard deviation would not tell: the mean of equal float32 numbers can differ from them in the last bit.
    highest = jnp.max(groups, axis=1, where=counted, initial=-jnp.inf)
    return highest <= jnp.min(groups, axis=1, where=counted, initial=jnp.inf)
