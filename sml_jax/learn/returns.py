"""Returns of dialogues, and how numbers of a turn become numbers of its tokens."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sml_jax.common.errors import UserError
from sml_jax.learn.shapes import check_same_shape, shape_of


def discounted_returns(solved_turn: Int[Array, " batch"], discount: float) -> Float[Array, " batch"]:
    """The return of each dialogue: `discount ** (t - 1)`, where t is the first correct student turn.

    The paper publishes a binary reward and a discount of 0.7 over conversational turns. That the two combine in this
    way, with turns counted from 1 and the same scalar at every student token, is inferred: the paper does not print
    the formula.

    Args:
      solved_turn: i32[B], the first correct student turn from 1; 0 for a dialogue that was never solved.
      discount: a Python number from 0 to 1; with 1 every success has the return 1.

    Returns:
      f32[B], 0 for a dialogue that was never solved.

    Raises:
      UserError: the discount is outside [0, 1], or `solved_turn` is not [B].

    References:
      Social meta-learning, arXiv 2602.16488 (the discount).
    """
    if not 0.0 <= discount <= 1.0:
        raise UserError(f"discount is {discount}: give a number between 0 and 1 (the paper's is 0.7).")
    check_same_shape("discounted_returns", 1, solved_turn=solved_turn)
    # 0 marks an unsolved dialogue, for which the power is computed all the same and then replaced.
    turns_before = jnp.maximum(solved_turn, 1) - 1
    discounted = jnp.power(jnp.float32(discount), turns_before.astype(jnp.float32))
    return jnp.where(solved_turn > 0, discounted, 0.0)


def turns_to_tokens(by_turn: Float[Array, "batch turns"], turn: Int[Array, "batch time"]) -> Float[Array, "batch time"]:
    """Copies a value for each student turn to all tokens of that turn.

    Args:
      by_turn: f32[B, N], the values of each dialogue's student turns 1 to N, such as advantages.
      turn: i32[B, T], the student turn of each token from 1, 0 for tokens of no student turn (`Transcript.turn`).

    Returns:
      f32[B, T], the value of each token's turn; 0 where `turn` is 0.

    Raises:
      UserError: the two do not hold the same number of dialogues, or one of them is not a matrix.
    """
    shapes = shape_of(by_turn), shape_of(turn)
    if [len(shape) for shape in shapes] != [2, 2] or shapes[0][0] != shapes[1][0]:
        raise UserError(
            f"turns_to_tokens: by_turn has shape {list(shapes[0])} and turn {list(shapes[1])}: give [batch, turns] and "
            "[batch, time] of the same dialogues."
        )
    # Turns count from 1. Tokens of no turn look up the first one, and are then set to 0.
    of_tokens = jnp.take_along_axis(by_turn, jnp.maximum(turn - 1, 0), axis=1)
    return jnp.where(turn > 0, of_tokens, 0.0)
