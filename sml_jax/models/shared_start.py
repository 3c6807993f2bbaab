"""Rows that begin alike, computed once: a block's tokens lie one row behind the other, their common start in front.

Everything in a decoder but attention looks at one token alone, so it can be given a block as one row: the start, then
what follows it in each of the block's rows. Attention is given the rows again.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped


@flax.struct.dataclass
class SharedStart:
    """How rows share: static, another one is another compiled program.

    Attributes:
      rows: of a block, which stand together.
      tokens: that the rows of each block begin with alike; fewer than a row has.
    """

    rows: int = flax.struct.field(pytree_node=False)
    tokens: int = flax.struct.field(pytree_node=False)

    def pack(self, x: Shaped[Array, "batch time ..."]) -> Shaped[Array, "blocks packed ..."]:
        """[rows, time, ...] as [rows / self.rows, tokens + self.rows * (time - tokens), ...]; of starts, the first."""
        blocks = x.reshape(-1, self.rows, *x.shape[1:])
        rest = blocks[:, :, self.tokens :]
        return jnp.concatenate([blocks[:, 0, : self.tokens], rest.reshape(rest.shape[0], -1, *rest.shape[3:])], axis=1)

    def unpack(self, x: Shaped[Array, "blocks packed ..."]) -> Shaped[Array, "batch time ..."]:
        """`pack` undone; each row of a block has the start."""
        start, rest = x[:, : self.tokens], x[:, self.tokens :]
        rest = rest.reshape(rest.shape[0], self.rows, -1, *rest.shape[2:])
        start = jnp.broadcast_to(start[:, None], (*rest.shape[:2], *start.shape[1:]))
        rows: jax.Array = jnp.concatenate([start, rest], axis=2)
        return rows.reshape(-1, *rows.shape[2:])
