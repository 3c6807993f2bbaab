"""Self-attention on TPUs by the splash kernel of Pallas, which skips masked blocks.

The scores of a whole row are never in memory at once.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, PartitionSpec
from jaxtyping import Array, Float

# The width of a TPU's vector registers: head sizes and lengths are padded to multiples of it.
LANES = 128
# Larger blocks take more of the chip's vector memory and are no faster.
_LARGEST_BLOCK = 512


def splash_attention(
    query: Float[Array, "batch time heads dim"],
    key: Float[Array, "batch time kv_heads dim"],
    value: Float[Array, "batch time kv_heads dim"],
    *,
    window: int,
    scale: float,
    softcap: float | None = None,
    mesh: AbstractMesh | None = None,
    interpret: bool = False,
) -> Float[Array, "batch time heads dim"]:
    """Causal grouped-query attention of right-padded rows by JAX's splash attention kernel for TPUs.

    Args:
      query, key, value: queries and keys are rotated; `heads` is a multiple of `kv_heads`.
      window: tokens that a query sees, its own included; 0 for all up to its own.
      scale: factor of the scores.
      softcap: tanh cap of the scores, None for none.
      mesh: the mesh of the arrays; None for one device. XLA cannot split a kernel by itself. So this function splits
        rows over `data` and `fsdp` and heads over `tensor`, if these sizes divide the number of rows or heads.
      interpret: whether to run the kernel as plain JAX, on any device, for tests.

    Returns:
      The attended values of each query head, in the query's dtype. Results at padding are finite and meaningless.
    """
    time, dim = query.shape[1], query.shape[3]
    padded_length = _padded(time)
    # The kernel has no scale of its own, so the queries are scaled. The padding comes after every real query, which
    # therefore never sees it.
    padded_inputs = [_pad(x, padded_length) for x in (query * jnp.asarray(scale, query.dtype), key, value)]
    attend = partial(_attend, window=window if window < time else 0, softcap=softcap, interpret=interpret)
    if mesh is not None:
        spec = _partition(mesh, query.shape[0], key.shape[2])
        # A kernel does not say which mesh axes its outputs vary over, so shard_map's check is off.
        attend = jax.shard_map(attend, mesh=mesh, in_specs=(spec,) * 3, out_specs=spec, check_vma=False)
    return attend(*padded_inputs)[:, :time, :, :dim]


def _attend(
    query: jax.Array, key: jax.Array, value: jax.Array, *, window: int, softcap: float | None, interpret: bool
) -> jax.Array:
    """Attention of [batch, time, heads, dim] arrays on one device, whose time and dim are padded for the kernel."""
    # Imported here, since only TPUs need it.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    time, heads = query.shape[1:3]
    block = max(size for size in range(LANES, _LARGEST_BLOCK + 1, LANES) if time % size == 0)
    mask = masks.LocalMask((time, time), (window - 1, 0), 0) if window else masks.CausalMask((time, time))
    kernel = kernels.make_splash_mha(
        masks.MultiHeadMask([mask] * heads),
        block_sizes=kernels.BlockSizes(
            block_q=block,
            block_kv=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            block_q_dq=block,
            block_kv_dq=block,
        ),
        head_shards=1,
        q_seq_shards=1,
        attn_logits_soft_cap=softcap,
        interpret=interpret,
    )
    return jax.vmap(kernel)(*(x.swapaxes(1, 2) for x in (query, key, value))).swapaxes(1, 2)


def _padded(time: int) -> int:
    """The length that rows are padded to. Long rows are padded to a multiple of larger blocks, which are faster."""
    step = LANES if time <= 8 * LANES else 2 * LANES if time <= 32 * LANES else _LARGEST_BLOCK
    return -(-time // step) * step


def _pad(x: jax.Array, length: int) -> jax.Array:
    """Appends zeros to time, up to `length`, and to the head, up to a multiple of `LANES`. They change no score."""
    return jnp.pad(x, ((0, 0), (0, length - x.shape[1]), (0, 0), (0, -x.shape[3] % LANES)))


def _partition(mesh: AbstractMesh, rows: int, kv_heads: int) -> PartitionSpec:
    """How [rows, time, heads, dim] arrays are split over the mesh; a dimension that does not divide stays whole."""
    sizes = dict(mesh.shape)
    row_axes = tuple(axis for axis in ("data", "fsdp") if axis in sizes)
    row_shards = math.prod(sizes[axis] for axis in row_axes)
    tensor = "tensor" if kv_heads % sizes.get("tensor", 1) == 0 and "tensor" in sizes else None
    return PartitionSpec(row_axes if row_axes and rows % row_shards == 0 else None, None, tensor, None)
