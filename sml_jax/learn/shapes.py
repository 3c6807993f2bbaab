"""Shape checks where users call: plain errors, whether or not annotations are checked at run time."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from sml_jax.common.errors import UserError


def shape_of(array: Any) -> tuple[int, ...]:
    """The shape of an array, a tracer, or a nested list of numbers."""
    return tuple(np.shape(array))


def check_same_shape(caller: str, ndim: int, **arrays: Any) -> None:
    """Checks that arrays have one and the same shape of `ndim` dimensions.

    Args:
      caller: the function whose arguments they are, for the error.
      ndim: 1 for one number a dialogue [B], 2 for one number a token [B, T].
      arrays: by argument name, the first one the measure of the others; None stands for an argument not given.

    Raises:
      UserError: shapes differ or have another number of dimensions.
    """
    # All shapes are listed in the error, since any of them may be the wrong one.
    shapes = {name: shape_of(array) for name, array in arrays.items() if array is not None}
    wanted = next(iter(shapes.values()))
    if any(shape != wanted for shape in shapes.values()) or len(wanted) != ndim:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        form = "[batch]: one number a dialogue" if ndim == 1 else "[batch, time]: one number a token"
        raise UserError(f"{caller}: the shapes are {listed}; give all of them the same shape {form}.")


def token_advantage(caller: str, advantage: Any, like: Any) -> Any:
    """An advantage for each token [B, T], from [B, T] or from one number a dialogue [B].

    Args:
      caller: for the error.
      advantage: [B] or [B, T].
      like: an array [B, T].

    Raises:
      UserError: any other shape.
    """
    # Broadcasting by NumPy's rules would take [B] for [T] where the two are equal, so it is written out.
    shape, wanted = shape_of(advantage), shape_of(like)
    if shape == wanted:
        return advantage
    if shape == wanted[:1]:
        return jnp.broadcast_to(jnp.asarray(advantage)[:, None], wanted)
    raise UserError(
        f"{caller}: advantage has shape {list(shape)} and logprob {list(wanted)}: give one advantage a token, "
        f"{list(wanted)}, or one a dialogue, {list(wanted[:1])}."
    )
