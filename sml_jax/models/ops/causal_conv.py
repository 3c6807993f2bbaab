"""The short causal convolution of delta nets: each channel is a weighted sum of its last few values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def causal_conv(
    history: Float[Array, "batch taps_less_one *channels"],
    x: Float[Array, "batch time *channels"],
    weight: Float[Array, "*channels taps"],
    valid: Bool[Array, "batch time"] | None = None,
) -> tuple[Float[Array, "batch time *channels"], Float[Array, "batch taps_less_one *channels"]]:
    """Convolves each channel with its own weights, over its values so far.

    Args:
      history: the values of the tokens before `x`, oldest first; zeros where a row has had fewer tokens.
      x: values of new tokens.
      weight: of each channel, for the oldest of the values first; the last one is of the token itself.
      valid: which of the new tokens are real. Those of a row lie together, with padding before or behind them, which
        the result skips. None where all are.

    Returns:
      The sums, in float32 and meaningless at padding; and the history after the last real token, in its dtype.
    """
    taps, time = weight.shape[-1], x.shape[1]
    if valid is None:
        values, end = jnp.concatenate([history, x.astype(history.dtype)], axis=1), None
    else:
        # The history comes right before the first real token, over padding that may lie there.
        first = jnp.argmax(valid, axis=1)
        end = first + jnp.sum(valid, axis=1)
        padded = jnp.pad(x.astype(history.dtype), [(0, 0), (taps - 1, 0)] + [(0, 0)] * (x.ndim - 2))
        put = jax.vmap(lambda values, history, at: jax.lax.dynamic_update_slice_in_dim(values, history, at, 0))
        values = put(padded, history, first)
    # Position t of the values is taps - 1 before token t, so tap j of all tokens is one slice.
    weight = weight.astype(jnp.float32)
    out = sum(weight[..., j] * values[:, j : j + time].astype(jnp.float32) for j in range(taps))
    if end is None:
        return jnp.asarray(out), values[:, time:]
    take = jax.vmap(lambda values, at: jax.lax.dynamic_slice_in_dim(values, at, taps - 1, 0))
    return jnp.asarray(out), take(values, end)
