"""Prefix sharing: packs rows with a common prefix into one sequence, so dense layers see the prefix once.

The rows of a GRPO group begin with the same problem. Every part of a decoder but attention looks at one token at a
time, so it can be given a block of such rows as one row: the prefix, then the remainder of each row. Attention unpacks
the block into its rows.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped


@flax.struct.dataclass
class SharedPrefix:
    """The sizes of blocks of rows that begin with the same tokens. Static under `jit`: other sizes compile again.

    Attributes:
      rows: how many consecutive rows form a block; it divides the number of rows of the batch.
      tokens: length of the prefix that the rows of each block have in common; less than a row's length.
    """

    rows: int = flax.struct.field(pytree_node=False)
    tokens: int = flax.struct.field(pytree_node=False)

    def pack(self, x: Shaped[Array, "batch time ..."]) -> Shaped[Array, "blocks packed ..."]:
        """Packs each block of rows into one sequence that holds their common prefix once.

        Args:
          x: [batch, time, ...], such as tokens or hidden states; the rows of a block are equal in the prefix.

        Returns:
          [batch / rows, tokens + rows * (time - tokens), ...]: the prefix of each block's first row, then the
          remainder of each of its rows.
        """
        # The prefix of the first row stands for that of all rows of its block.
        blocks = x.reshape(-1, self.rows, *x.shape[1:])
        prefix, remainders = blocks[:, 0, : self.tokens], blocks[:, :, self.tokens :]
        joined_remainders = remainders.reshape(remainders.shape[0], -1, *remainders.shape[3:])
        return jnp.concatenate([prefix, joined_remainders], axis=1)

    def unpack(self, x: Shaped[Array, "blocks packed ..."]) -> Shaped[Array, "batch time ..."]:
        """Undoes `pack`: from one sequence a block to rows, each of which gets a copy of its block's prefix."""
        # Cut the packed row into prefix and remainders, then give each remainder its copy of the prefix.
        prefix, remainders = x[:, : self.tokens], x[:, self.tokens :]
        remainders = remainders.reshape(remainders.shape[0], self.rows, -1, *remainders.shape[2:])
        prefixes = jnp.broadcast_to(prefix[:, None], (*remainders.shape[:2], *prefix.shape[1:]))
        rows: jax.Array = jnp.concatenate([prefixes, remainders], axis=2)
        return rows.reshape(-1, *rows.shape[2:])
