"""The discounted return of a dialogue."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sml_jax.common.errors import UserError


def discounted_returns(solved_turn: Int[Array, " batch"], discount: float) -> Float[Array, " batch"]:
    """One scalar for every student token of a dialogue: `discount ** (t - 1)`, t the first correct student turn.

    The paper publishes a binary reward and a discount of 0.7 over conversational turns. That the two combine in this
    way, with turns counted from 1 and the same scalar at every student token, is inferred: the paper does not print
    the formula.

    Args:
      solved_turn: i32[B], the first correct student turn from 1; 0 for a dialogue that was never solved.
      discount: between 0 and 1, a Python number; 1 makes every success worth the same.

    Returns:
      f32[B], 0 for a dialogue that was never solved.

    Raises:
      UserError: the discount lies outside [0, 1].

    References:
      Social meta-learning, arXiv 2602.16488 (the discount).
    """
    if not 0.0 <= discount <= 1.0:
        raise UserError(f"discount is {discount}: give a number between 0 and 1 (the paper's is 0.7).")
    turns_before = jnp.maximum(solved_turn, 1) - 1
    value = jnp.power(jnp.float32(discount), turns_before.astype(jnp.float32))
    return jnp.where(solved_turn > 0, value, 0.0)
