"""Self-attention of whole rows, chosen by device in one place, and the plain reference that every choice must equal.

Rows are right-padded and nothing comes before them: a live query then never sees padding, so that no way of computing
it needs the rows' lengths.
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
    """Attention as it is defined, with all scores at once: what the fast ways are held against.

    Args:
      query, key, value: keys rotated; `heads` is a multiple of `kv_heads`, neighbouring heads sharing one.
      positions: of each token in its row.
      valid: which are tokens at all; no query sees the others.
      is_local: whether a query sees only the last `window` tokens, itself among them.
      window: 0 for a model without local layers.
      scale: factor of the scores.
      softcap: scores become `softcap * tanh(scores / softcap)` (Gemma 2); None for none.

    Returns:
      In the query's dtype; the softmax is float32.
    """
    grouped = query.reshape(*query.shape[:2], key.shape[2], -1, query.shape[3])
    scores = scale * jnp.einsum("bshgd,bthd->bhgst", grouped, key, preferred_element_type=jnp.float32)
    if softcap is not None:
        scores = softcap * jnp.tanh(scores / softcap)
    ahead = positions[:, :, None] - positions[:, None, :]
    seen = valid[:, None, :] & (ahead >= 0)
    if window:
        seen &= jnp.logical_not(is_local) | (ahead < window)
    weights = jax.nn.softmax(jnp.where(seen[:, None, None], scores, -1e30), axis=-1).astype(value.dtype)
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
    """Causal attention of right-padded rows to themselves, the fastest way that their device has.

    The device is that of the arrays' mesh, which traced arrays carry; without one, JAX's default. Where `is_local` is
    traced and tells layers apart, both kinds are compiled and one runs, so that a local layer never multiplies what it
    does not see.

    Args:
      query, key, value: keys rotated; `heads` is a multiple of `kv_heads`.
      is_local: whether a query sees only the last `window` tokens, itself among them; may be traced.
      window: 0 for a model without local layers.
      scale: factor of the scores.
      softcap: tanh cap of the scores, None for none.
      implementation: "xla" (any device), "cudnn" (NVIDIA), "splash" (TPU), or "auto": the device's own, but "xla" where
        that cannot take the dtype, the head size or the soft cap. "native" (CPU) is "xla" here and C++ over caches.

    Returns:
      In the query's dtype. What lies past a row's end is finite and means nothing.

    Raises:
      UserError: the implementation does not exist, or not for this device, dtype, head size or soft cap.
    """
    mesh = jax.typeof(query).sharding.mesh
    platform = platform_of(mesh)
    split = is_split(mesh)
    chosen = choose(implementation, platform, query.dtype, query.shape[3], softcap)
    rule: dict[str, Any] = {"scale": scale, "softcap": softcap}
    attend: Callable[..., jax.Array]
    if chosen == "splash":
        attend = partial(splash_attention, mesh=mesh if split else None, **rule)
    elif chosen == "cudnn":
        attend = partial(_cudnn_attention, scale=scale)
    else:
        attend = partial(blocked_attention, split=split, **rule)
    if not 0 < window < query.shape[1]:
        return attend(query, key, value, window=0)
    if isinstance(is_local, bool):
        return attend(query, key, value, window=window if is_local else 0)
    return jax.lax.cond(is_local, partial(attend, window=window), partial(attend, window=0), query, key, value)


def choose(implementation: str, platform: str, dtype: jnp.dtype, head_dim: int, softcap: float | None) -> str:
    """The implementation that is to run.

    Args:
      implementation: as in `DecoderConfig.attention`.
      platform: "cpu", "gpu" or "tpu".
      dtype: of queries, keys and values.
      head_dim: size of a head.
      softcap: of the scores, None for none.

    Returns:
      "xla", "cudnn" or "splash".

    Raises:
      UserError: a named implementation cannot do this, and why.
    """
    if implementation not in ATTENTIONS:
        raise UserError(f"model: attention is {implementation!r}; it takes {', '.join(map(repr, ATTENTIONS))}")
    obstacles = {
        "xla": None,
        "splash": None if platform == "tpu" else f"it runs on TPUs, and this computation is for {platform}",
        "cudnn": _cudnn_obstacle(platform, dtype, head_dim, softcap),
        "native": _native_obstacle(platform, dtype, head_dim),
    }
    if implementation == "auto":
        fast = {"tpu": "splash", "gpu": "cudnn"}.get(platform, "xla")
        return fast if obstacles[fast] is None else "xla"
    if obstacles[implementation] is not None:
        raise UserError(f"model: attention is {implementation!r}, but {obstacles[implementation]}: {_CURE}")
    return "xla" if implementation == "native" else implementation


def _native_obstacle(platform: str, dtype: jnp.dtype, head_dim: int) -> str | None:
    """Why the C++ for caches cannot run, None if it can."""
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
    generation = _cuda_generation()
    most = 256 if generation >= 9 else 128
    if generation < 8:
        return "it needs CUDA and a GPU of NVIDIA's Ampere generation or later"
    if head_dim > most or head_dim % 8:
        return f"on this GPU its heads have a multiple of 8 up to {most} numbers, and the model's have {head_dim}"
    return None


def _cuda_generation() -> int:
    """The major compute capability of the local GPU: 8 for Ampere, 9 for Hopper; 0 without CUDA."""
    device = jax.local_devices()[0]
    if "cuda" not in device.client.platform_version:
        return 0
    return int(str(device.compute_capability).split(".")[0])


def _cudnn_attention(query: jax.Array, key: jax.Array, value: jax.Array, *, window: int, scale: float) -> jax.Array:
    """cuDNN's fused attention, which JAX splits over rows and heads itself."""
    near = (window - 1, 0) if window else None
    return jax.nn.dot_product_attention(
        query, key, value, scale=scale, is_causal=True, local_window_size=near, implementation="cudnn"
    )


def is_split(mesh: AbstractMesh) -> bool:
    """Whether the compiler is to split the mesh's arrays: not on one device, nor inside a `shard_map`."""
    return mesh.size > 1 and set(mesh.axis_types) == {AxisType.Auto}


def platform_of(mesh: AbstractMesh) -> str:
    """The platform that is compiled for: the mesh's, whose devices need not be here; JAX's default without a mesh."""
    if mesh.abstract_device is not None:
        return mesh.abstract_device.platform
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    return jax.default_backend() if device is None else getattr(device, "platform", device)
