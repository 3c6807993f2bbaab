"""Self-attention of whole rows: the implementation that suits the device, and a plain reference for tests.

Rows are padded on the right and nothing is cached before them. Under a causal mask no real token then sees padding, so
no implementation needs the rows' lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType
from jaxtyping import Array, Bool, Float, Int

from sml_jax.common.errors import UserError
from sml_jax.models.ops.attention_blocks import blocked_attention
from sml_jax.models.ops.attention_splash import splash_attention

ATTENTIONS = ("auto", "xla", "cudnn", "splash", "native")
"""What `DecoderConfig.attention` may be; see `self_attention` and `sml_jax.models.ops.cache_backends`."""

_CURE = 'set DecoderConfig.attention = "auto", which takes what the device and the model allow'


def reference_attention(
    query: Float[Array, "batch time heads dim"],
    key: Float[Array, "batch time kv_heads dim"],
    value: Float[Array, "batch time kv_heads dim"],
    positions: Int[Array, "batch time"],
    valid: Bool[Array, "batch time"],
    is_local: bool | Bool[Array, ""],
    *,
    window: int,
    scale: float,
    softcap: float | None = None,
) -> Float[Array, "batch time heads dim"]:
    """Attention as it is defined, with all scores in memory at once: the oracle for the fast implementations.

    Args:
      query, key, value: queries and keys are rotated; `heads` is a multiple of `kv_heads`, and neighbouring query heads
        share a kv head.
      positions: position of each token in its row.
      valid: which slots hold a token; no query sees the others.
      is_local: whether a query sees only the last `window` tokens, itself included.
      window: tokens that a local layer sees; 0 for a model without local layers.
      scale: factor of the scores.
      softcap: scores become `softcap * tanh(scores / softcap)` (Gemma 2); None for none.

    Returns:
      The attended values of each query head, in the query's dtype; the softmax is float32.
    """
    # Query heads that share a kv head form a group: b rows, h kv heads, g queries of a group, s and t time.
    grouped = query.reshape(*query.shape[:2], key.shape[2], -1, query.shape[3])
    scores = scale * jnp.einsum("bshgd,bthd->bhgst", grouped, key, preferred_element_type=jnp.float32)
    if softcap is not None:
        scores = softcap * jnp.tanh(scores / softcap)
    distance = positions[:, :, None] - positions[:, None, :]
    visible = valid[:, None, :] & (distance >= 0)
    if window:
        visible &= jnp.logical_not(is_local) | (distance < window)
    # float32 softmax, as in every fast implementation.
    weights = jax.nn.softmax(jnp.where(visible[:, None, None], scores, -1e30), axis=-1).astype(value.dtype)
    out = jnp.einsum("bhgst,bthd->bshgd", weights, value, preferred_element_type=jnp.float32)
    return out.reshape(query.shape).astype(query.dtype)


def self_attention(
    query: Float[Array, "batch time heads dim"],
    key: Float[Array, "batch time kv_heads dim"],
    value: Float[Array, "batch time kv_heads dim"],
    is_local: bool | Bool[Array, ""],
    *,
    window: int,
    scale: float,
    softcap: float | None = None,
    implementation: str = "auto",
) -> Float[Array, "batch time heads dim"]:
    """Causal attention of right-padded rows to themselves, by the fastest implementation for their device.

    The device is that of the arrays' mesh, which traced arrays carry, or JAX's default device. Where `is_local` is
    traced, local and global attention are both compiled and one of them runs, so a local layer never multiplies keys
    that it does not see.

    Args:
      query, key, value: queries and keys are rotated; `heads` is a multiple of `kv_heads`.
      is_local: whether a query sees only the last `window` tokens, itself included; may be traced.
      window: tokens that a local layer sees; 0 for a model without local layers.
      scale: factor of the scores.
      softcap: scores become `softcap * tanh(scores / softcap)` (Gemma 2); None for none.
      implementation: "xla" (any device), "cudnn" (NVIDIA), "splash" (TPU), or "auto", which chooses the device's own,
        or "xla" if that does not support the dtype, the head size or the soft cap. "native" (CPU) equals "xla" here; it
        differs only where there are caches (`cache_backends`).

    Returns:
      The attended values of each query head, in the query's dtype. Results at padding are finite and meaningless.

    Raises:
      UserError: there is no such implementation, or it cannot take this device, dtype, head size or soft cap.
    """
    mesh = jax.typeof(query).sharding.mesh
    split = is_split(mesh)
    implementation_used = choose_implementation(implementation, platform_of(mesh), query.dtype, query.shape[3], softcap)
    # The mesh that the arrays carry says for which device the program is compiled.
    score_options: dict[str, Any] = {"scale": scale, "softcap": softcap}
    attend: Callable[..., jax.Array]
    if implementation_used == "splash":
        attend = partial(splash_attention, mesh=mesh if split else None, **score_options)
    elif implementation_used == "cudnn":
        attend = partial(_cudnn_attention, scale=scale)
    else:
        attend = partial(blocked_attention, split=split, **score_options)
    # A window at least as long as the rows hides nothing.
    if not 0 < window < query.shape[1]:
        return attend(query, key, value, window=0)
    # A constant needs one kind of attention. A traced flag of a scan over layers needs both, chosen at run time.
    if isinstance(is_local, bool):
        return attend(query, key, value, window=window if is_local else 0)
    return jax.lax.cond(is_local, partial(attend, window=window), partial(attend, window=0), query, key, value)


def choose_implementation(
    implementation: str, platform: str, dtype: jnp.dtype, head_dim: int, softcap: float | None
) -> str:
    """The implementation of self-attention that runs for a value of `DecoderConfig.attention`.

    Args:
      implementation: as in `DecoderConfig.attention`.
      platform: "cpu", "gpu" or "tpu".
      dtype: of queries, keys and values.
      head_dim: size of a head.
      softcap: tanh cap of the scores, None for none.

    Returns:
      "xla", "cudnn" or "splash".

    Raises:
      UserError: an implementation that was asked for by name cannot do this; the error says why.
    """
    if implementation not in ATTENTIONS:
        raise UserError(f"model: attention is {implementation!r}; it takes {', '.join(map(repr, ATTENTIONS))}")
    # Implementation -> why it cannot run, None if it can.
    obstacles = {
        "xla": None,
        "splash": None if platform == "tpu" else f"it runs on TPUs, and this computation is for {platform}",
        "cudnn": _cudnn_obstacle(platform, dtype, head_dim, softcap),
        "native": _native_obstacle(platform, dtype, head_dim),
    }
    # "auto" never fails: where the device's own implementation has an obstacle, plain JAX runs.
    if implementation == "auto":
        platform_implementation = {"tpu": "splash", "gpu": "cudnn"}.get(platform, "xla")
        return platform_implementation if obstacles[platform_implementation] is None else "xla"
    if obstacles[implementation] is not None:
        raise UserError(f"model: attention is {implementation!r}, but {obstacles[implementation]}: {_CURE}")
    return "xla" if implementation == "native" else implementation


def _native_obstacle(platform: str, dtype: jnp.dtype, head_dim: int) -> str | None:
    """Why the C++ over caches cannot run, None if it can."""
    if platform != "cpu":
        return f"it runs on CPUs, and this computation is for {platform}"
    if dtype != jnp.float32:
        return f"it takes float32, and the model's dtype is {jnp.dtype(dtype).name}"
    return f"its heads have a multiple of 16 numbers, and the model's have {head_dim}" if head_dim % 16 else None


def _cudnn_obstacle(platform: str, dtype: jnp.dtype, head_dim: int, softcap: float | None) -> str | None:
    """Why cuDNN's fused attention cannot run, None if it can."""
    if platform != "gpu":
        return f"it runs on NVIDIA GPUs, and this computation is for {platform}"
    if dtype not in (jnp.bfloat16, jnp.float16):
        return f"it takes bfloat16 and float16, and the model's dtype is {jnp.dtype(dtype).name}"
    if softcap is not None:
        return "it has no soft cap of scores (attention_softcap)"
    # Limits of cuDNN's fused kernels, by the GPU's generation.
    generation = _cuda_generation()
    max_head_dim = 256 if generation >= 9 else 128
    if generation < 8:
        return "it needs CUDA and a GPU of NVIDIA's Ampere generation or later"
    if head_dim > max_head_dim or head_dim % 8:
        return (
            f"on this GPU its heads have a multiple of 8 up to {max_head_dim} numbers, and the model's have {head_dim}"
        )
    return None


def _cuda_generation() -> int:
    """The major compute capability of the local GPU: 8 for Ampere, 9 for Hopper; 0 without CUDA."""
    device = jax.local_devices()[0]
    if "cuda" not in device.client.platform_version:
        return 0
    return int(str(device.compute_capability).split(".")[0])


def _cudnn_attention(query: jax.Array, key: jax.Array, value: jax.Array, *, window: int, scale: float) -> jax.Array:
    """cuDNN's fused attention; JAX splits it over rows and heads itself."""
    # cuDNN counts the tokens before and after the query's own.
    before_and_after = (window - 1, 0) if window else None
    return jax.nn.dot_product_attention(
        query, key, value, scale=scale, is_causal=True, local_window_size=before_and_after, implementation="cudnn"
    )


def is_split(mesh: AbstractMesh) -> bool:
    """Whether XLA splits arrays over this mesh by itself: not on one device, and not inside a `shard_map`."""
    return mesh.size > 1 and set(mesh.axis_types) == {AxisType.Auto}


def platform_of(mesh: AbstractMesh) -> str:
    """The platform to compile for: "cpu", "gpu" or "tpu".

    It is that of the mesh's devices, which need not exist on this machine, or else that of JAX's default device.
    """
    if mesh.abstract_device is not None:
        return mesh.abstract_device.platform
    # No mesh: the device that JAX would use, which may be set as a device or as a platform's name.
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    return jax.default_backend() if device is None else getattr(device, "platform", device)
