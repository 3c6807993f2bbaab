"""Executables: what `jax.jit` compiles a function to, one for each set of shapes and static settings."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Executable:
    """A jitted function with abstract arguments: enough to compile it for any devices, without weights or data.

    Attributes:
      name: what one call does, for tables.
      key: two executables with equal keys are the same one, as long as their model and mesh are the same.
      jitted: a function from `jax.jit`; `jitted.trace(*args)` and `jitted.lower(*args)` work.
      args: its positional arguments: trees of `jax.ShapeDtypeStruct`, with a sharding for arrays that are laid out over
        the mesh.
      calls: how often the job at hand calls it; a job is, for instance, one rollout or one update.
      reads: names of the long-lived arrays among its arguments, such as "weights" or "cache".
      makes: name of the long-lived arrays that it returns and that do not exist before; "" for none.
      loop_steps: the largest number of iterations of its loop, if the data may end that loop earlier; None if it has no
        such loop.
      unrolled: whether its layers are unrolled, so that compile time grows with the model's depth.
    """

    name: str
    key: Hashable
    jitted: Any
    args: tuple[Any, ...]
    calls: int
    reads: tuple[str, ...] = ()
    makes: str = ""
    loop_steps: int | None = None
    unrolled: bool = False


def executable_count(jitted: Any) -> int:
    """How many executables a function from `jax.jit` has compiled and still holds.

    The number grows by one with every recompilation.
    """
    # JAX has no public name for the size of a jitted function's cache.
    return int(jitted._cache_size())
