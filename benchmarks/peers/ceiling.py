"""Measures what the machine itself can do: a float32 matrix product, a copy, and reading memory."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from setting import Setting
from side import Run, serve

WIDE = 2048  # rows and columns of the product's factors
COPIED = 1 << 28  # bytes of the copy: more than any cache holds


def jax_product(s: Setting) -> Run:
    """FLOPs of a matrix product by jax."""
    import jax
    import jax.numpy as jnp

    a = jnp.asarray(np.random.default_rng(0).normal(size=(WIDE, WIDE)).astype(np.float32))
    product = jax.jit(jnp.matmul)
    return _timed(lambda: product(a, a).block_until_ready(), 2 * WIDE**3 / 1e9)


def torch_product(s: Setting) -> Run:
    """FLOPs of a matrix product by torch."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    a = torch.as_tensor(np.random.default_rng(0).normal(size=(WIDE, WIDE)).astype(np.float32))
    return _timed(lambda: a @ a, 2 * WIDE**3 / 1e9)


def jax_copy(s: Setting) -> Run:
    """Bytes read and written by jax."""
    import jax
    import jax.numpy as jnp

    held = [jnp.ones(COPIED // 4, jnp.float32)]
    # The compiler may leave a plain copy out. Without donation most of the time would go into fresh pages.
    negate = jax.jit(jnp.negative, donate_argnums=0)

    def call() -> None:
        held[0] = negate(held[0]).block_until_ready()

    return _timed(call, 2 * COPIED / 1e9)


def torch_copy(s: Setting) -> Run:
    """Bytes read and written by torch."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    a, b = torch.ones(COPIED // 4), torch.zeros(COPIED // 4)
    return _timed(lambda: b.copy_(a), 2 * COPIED / 1e9)


def memory_speed(size: int = COPIED, repeats: int = 5) -> float:
    """Bytes a second that all cores read together, each looking for the largest number of an array: the best repeat."""
    # Torch's side, which reads this file too, has not got our package.
    from sml_jax.common.cores import cores

    count = cores()
    arrays = [np.ones(size // 4, np.float32) for _ in range(count)]
    best = float("inf")
    with ThreadPoolExecutor(count) as pool:
        for _ in range(repeats):
            started = time.perf_counter()
            list(pool.map(np.max, arrays))
            best = min(best, time.perf_counter() - started)
    return size * count / best


def read(s: Setting) -> Run:
    """Bytes that all cores read together, by NumPy."""
    return lambda seed: {"units": memory_speed() / 1e9, "seconds": 1.0}


def _timed(call, units: float, times: int = 5) -> Run:
    """Times `call`: the best of a few, since this is a ceiling. `units` are what one call does, in units of 1e9."""
    call()

    def run(seed: int) -> dict[str, float]:
        best = float("inf")
        for _ in range(times):
            started = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - started)
        return {"units": units, "seconds": best}

    return run


if __name__ == "__main__":
    serve(
        {
            "jax_product": jax_product,
            "torch_product": torch_product,
            "jax_copy": jax_copy,
            "torch_copy": torch_copy,
            "read": read,
        }
    )
