"""Counting compilations."""

from typing import Any


def programs(jitted: Any) -> int:
    """How many programs a function from `jax.jit` has been compiled to: one for each shape and static setting."""
    return int(jitted._cache_size())
