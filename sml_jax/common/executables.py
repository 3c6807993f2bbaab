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


@dataclass(frozen=True)
class Memory:
    """Bytes of one device's memory that an executable uses while it runs, as the compiler counts them, with padding.

    Attributes:
      arguments, outputs: of the arrays that go in and come out.
      temporaries: of everything else that exists while it runs.
      aliased: of outputs that are written into the memory of a donated argument.
    """

    arguments: float
    outputs: float
    temporaries: float
    aliased: float

    @property
    def total(self) -> float:
        """Bytes of all arrays together; an output in the memory of a donated argument (`aliased`) counts once."""
        return self.arguments + self.added

    @property
    def added(self) -> float:
        """Bytes that it needs beside its arguments."""
        return self.outputs + self.temporaries - self.aliased


def memory_of(compiled: Any) -> Memory:
    """The memory analysis of a `jax.stages.Compiled`."""
    stats = compiled.memory_analysis()
    return Memory(
        float(stats.argument_size_in_bytes),
        float(stats.output_size_in_bytes),
        float(stats.temp_size_in_bytes),
        float(stats.alias_size_in_bytes),
    )


def executable_count(jitted: Any) -> int:
    """How many executables a function from `jax.jit` has compiled and still holds.

    The number grows by one with every recompilation.
    """
    # JAX has no public name for the size of a jitted function's cache.
    return int(jitted._cache_size())
