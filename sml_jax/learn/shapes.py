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
      caller: name of the function whose arguments they are, for the error.
      ndim: 1 for one number a dialogue [B], 2 for one number a token [B, T].
      arrays: the arrays by argument name, compared with the first that is not None. None is an argument that was not
        given; it is skipped.

    Raises:
      UserError: shapes differ or have another number of dimensions.
    """
    # All shapes are listed in the error, since any of them may be the wrong one.
    shapes = {name: shape_of(array) for name, array in arrays.items() if array is not None}
    first_shape = next(iter(shapes.values()))
    if any(shape != first_shape for shape in shapes.values()) or len(first_shape) != ndim:
        shapes_text = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        form = "[batch]: one number a dialogue" if ndim == 1 else "[batch, time]: one number a token"
        raise UserError(f"{caller}: the shapes are {shapes_text}; give all of them the same shape {form}.")


def token_advantage(caller: str, advantage: Any, like: Any) -> Any:
    """An advantage for each token [B, T], from [B, T] or from one number a dialogue [B].

    Args:
      caller: name of the function that was given `advantage`, for the error.
      advantage: [B] or [B, T].
      like: an array [B, T], of which only the shape is used.

    Raises:
      UserError: `advantage` has another shape.
    """
    # Broadcasting by NumPy's rules would take [B] for [T] where the two are equal, so it is written out.
    shape, token_shape = shape_of(advantage), shape_of(like)
    if shape == token_shape:
        return advantage
    if shape == token_shape[:1]:
        return jnp.broadcast_to(jnp.asarray(advantage)[:, None], token_shape)
    raise UserError(
        f"{caller}: advantage has shape {list(shape)} and logprob {list(token_shape)}: give one advantage a token, "
        f"{list(token_shape)}, or one a dialogue, {list(token_shape[:1])}."
    )
