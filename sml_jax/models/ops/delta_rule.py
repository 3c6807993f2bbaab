"""The gated delta rule (Yang et al., Gated Delta Networks, arXiv 2412.06464): a memory of fixed size for all tokens.

Each head keeps a matrix S [key, value], its state, which answers a query q with S^T q. For each token the state first
decays, then forgets what it holds at the token's key k, and writes the token's value v there:

    S <- alpha S                          alpha = exp(g), the decay, in (0, 1]
    S <- S + k (beta (v - S^T k))^T       beta, how much of the old value is replaced, in (0, 1)
    o  = S^T q

`delta_step` computes this for one token, as decoding needs it, and `reference_delta_rule` for one token after the
other: it is the oracle for `delta_rule`, which computes chunks of tokens by products of matrices. The symbols are the
paper's, but for S, which stands transposed here, as in the models' own code.

A token with g = 0 and beta = 0 leaves the state exactly as it was. That is how padding is left out, wherever it lies.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

CHUNK = 64  # tokens of a chunk, as in the models' own code; products of this size fill a matrix unit

# The state is float32 and is never read again from its inputs, so that errors of its products add up. Without this,
# accelerators would compute these products in bfloat16.
_einsum: Any = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def delta_step(
    state: Float[Array, "batch heads key value"],
    q: Float[Array, "batch heads key"],
    k: Float[Array, "batch heads key"],
    v: Float[Array, "batch heads value"],
    g: Float[Array, "batch heads"],
    beta: Float[Array, "batch heads"],
) -> tuple[Float[Array, "batch heads value"], Float[Array, "batch heads key value"]]:
    """The rule for one token: the outputs o, and the state after the token.

    Args:
      state: S before the token.
      q, k: query and key, with all factors and norms that the model gives them.
      v: value.
      g: logarithm of the decay alpha.
      beta: how much of the old value is replaced.
    """
    alpha = jnp.exp(g)[..., None]
    # A step is bound by reading S, so S is read once for key and query together, before it changes. The outputs then
    # follow without the new state: S_new^T q = alpha S^T q + (k . q) delta.
    read_at_k, read_at_q = jnp.moveaxis(
        alpha[..., None] * _einsum("bhkv,bhik->bhiv", state, jnp.stack([k, q], 2)), 2, 0
    )
    delta = beta[..., None] * (v - read_at_k)
    out = read_at_q + jnp.sum(k * q, axis=-1, keepdims=True) * delta
    return out, alpha[..., None] * state + k[..., :, None] * delta[..., None, :]


def reference_delta_rule(
    state: Float[Array, "batch heads key value"],
    q: Float[Array, "batch time heads key"],
    k: Float[Array, "batch time heads key"],
    v: Float[Array, "batch time heads value"],
    g: Float[Array, "batch time heads"],
    beta: Float[Array, "batch time heads"],
) -> tuple[Float[Array, "batch time heads value"], Float[Array, "batch heads key value"]]:
    """The rule as it is defined, token by token: the oracle for `delta_rule`, whose arguments and results it has."""

    def step(state: jax.Array, token: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        q, k, v, g, beta = token
        state = jnp.exp(g)[..., None, None] * state
        old_value = jnp.sum(state * k[..., None], axis=-2)
        state = state + k[..., None] * (beta[..., None] * (v - old_value))[..., None, :]
        return state, jnp.sum(state * q[..., None], axis=-2)

    by_time = tuple(jnp.moveaxis(array, 1, 0) for array in (q, k, v, g, beta))
    state, out = jax.lax.scan(step, state, by_time)
    return jnp.moveaxis(out, 0, 1), state


@jax.custom_jvp
def inverse_unit_lower(system: Float[Array, "*batch size size"]) -> Float[Array, "*batch size size"]:
    """The inverse of I + strict_lower(system), by products: what stands on and above the diagonal is never read.

    Blocks of the diagonal are inverted in pairs, which doubles their width each time:

        [A 0; C B]^-1 = [A^-1 0; -B^-1 C A^-1  B^-1]

    With X the inverses of all blocks of one width along the diagonal, and C what stands below the diagonal within the
    pairs, that is X - X C X, for all pairs at once. Products of whole matrices do more arithmetic than those of the
    blocks would, but a TPU's compiler takes a second for them, and minutes for many small ones. The derivative is that
    of any inverse, d(X) = -X d(system) X, and needs none of the steps.

    `jax.lax.linalg.triangular_solve` would do, but on a CPU it hands its work to the threads that it itself runs on,
    and waits: with several devices in a process, all of these threads came to wait for each other, for ever.
    """
    size = system.shape[-1]
    row, column = jnp.arange(size)[:, None], jnp.arange(size)[None, :]

    def pair_up(inverse: jax.Array, width: jax.Array) -> tuple[jax.Array, None]:
        in_a_pair = (row // (2 * width) == column // (2 * width)) & (row // width > column // width)
        below = jnp.where(in_a_pair, system, 0.0)
        return inverse - _einsum("...rj,...jk,...kx->...rx", inverse, below, inverse), None

    widths = 1 << jnp.arange((size - 1).bit_length())
    identity = jnp.broadcast_to(jnp.eye(size, dtype=system.dtype), system.shape)
    return jax.lax.scan(pair_up, identity, widths)[0]


@inverse_unit_lower.defjvp
def _derivative_of_inverse(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[Float[Array, "*batch size size"], Float[Array, "*batch size size"]]:
    """The inverse, and its change where the system changes."""
    inverse = inverse_unit_lower(*primals)
    change = _einsum("...rj,...jk,...kx->...rx", inverse, jnp.tril(tangents[0], -1), inverse)
    return inverse, -change


def delta_rule(
    state: Float[Array, "batch heads key value"],
    q: Float[Array, "batch time heads key"],
    k: Float[Array, "batch time heads key"],
    v: Float[Array, "batch time heads value"],
    g: Float[Array, "batch time heads"],
    beta: Float[Array, "batch time heads"],
    chunk: int = CHUNK,
) -> tuple[Float[Array, "batch time heads value"], Float[Array, "batch heads key value"]]:
    """The rule for many tokens, in chunks (section 3.3 of the paper). All arrays are float32.

    Within a chunk, the values that its tokens write depend on each other through a triangular system. The state goes
    from chunk to chunk. All of a chunk's work is done in its turn: where the systems of all chunks were solved at once,
    the TPU's compiler took minutes for each layer, since its time grows with the number of matrices in a product.

    Args:
      state: S before the first token.
      q, k: queries and keys, with all factors and norms that the model gives them.
      v: values.
      g: logarithms of the decays alpha, at most 0.
      beta: how much of the old value each token replaces. Padding has g = 0 and beta = 0.
      chunk: tokens of a chunk.

    Returns:
      The outputs o, and the state after the last token.
    """
    batch, time, heads, _ = q.shape
    size = min(chunk, time)
    chunks = -(-time // size)

    def cut(array: jax.Array) -> jax.Array:
        """[batch, time, heads, ...] as [chunks, batch, heads, size, ...]; zeros fill the last chunk up as padding."""
        array = jnp.pad(array, [(0, 0), (0, chunks * size - time)] + [(0, 0)] * (array.ndim - 2))
        array = array.reshape(batch, chunks, size, *array.shape[2:])
        return jnp.moveaxis(array, (1, 3), (0, 2))

    causal = jnp.tril(jnp.ones((size, size), bool))

    def next_chunk(state: jax.Array, of_chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        q, k, v, g, beta = of_chunk
        # log gamma_r: the decay from the chunk's start to its token r, that of r included.
        log_gamma = jnp.cumsum(g, axis=-1)
        gamma = jnp.exp(log_gamma)[..., None]
        # Gamma_rj = gamma_r / gamma_j: the decay between two tokens. Above the diagonal the difference is positive and
        # its exponential may overflow, so it is masked before, where a gradient of infinity times zero cannot arise.
        decay = jnp.exp(jnp.where(causal, log_gamma[..., :, None] - log_gamma[..., None, :], -jnp.inf))

        # (I + strict_lower(diag(beta) (Gamma * K K^T))) [U W] = diag(beta) [V  gamma K].
        system = beta[..., None] * decay * _einsum("bhrk,bhjk->bhrj", k, k)
        right_side = beta[..., None] * jnp.concatenate([v, gamma * k], axis=-1)
        solved = _einsum("bhrj,bhjx->bhrx", inverse_unit_lower(system), right_side)
        u, w = solved[..., : v.shape[-1]], solved[..., v.shape[-1] :]

        # The values that the tokens write, less what the state already holds at their keys.
        delta = u - _einsum("bhrk,bhkv->bhrv", w, state)
        # What the chunk's start state gives to its queries, and what its tokens see of each other.
        attention = decay * _einsum("bhrk,bhjk->bhrj", q, k)
        out = _einsum("bhrk,bhkv->bhrv", gamma * q, state) + _einsum("bhrj,bhjv->bhrv", attention, delta)
        # What the keys write into the state at the chunk's end.
        k_decayed = jnp.exp(log_gamma[..., -1:] - log_gamma)[..., None] * k
        return gamma[..., -1:, :] * state + _einsum("bhrk,bhrv->bhkv", k_decayed, delta), out

    state, out = jax.lax.scan(next_chunk, state, tuple(map(cut, (q, k, v, g, beta))))
    # Back to [batch, time, heads, value], without what filled the last chunk up.
    out = jnp.moveaxis(out, (0, 2), (1, 3)).reshape(batch, chunks * size, heads, -1)
    return out[:, :time], state
