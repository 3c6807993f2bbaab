"""Compiles executables before they are needed, and tells how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sml_jax.common.executables import Executable


@dataclass(frozen=True)
class Ready:
    """How far the compilation of several executables is.

    Attributes:
      number: how many are ready. total: how many there will be.
      name: what the executable does that has become ready last; "" before the first one.
      seconds: how long it took to trace, lower and compile it, or to read it from the compilation cache.
    """

    number: int
    total: int
    name: str = ""
    seconds: float = 0.0


Tell = Callable[[Ready], None]


def compile_ahead(executables: Sequence[Executable], tell: Tell | None = None) -> None:
    """Compiles executables, so that the calls of `Executable.jitted` that need them find them ready.

    One after the other: XLA's compiler for CPUs shares an executable out among the cores by itself, and a second
    executable at the same time gained nothing that could be measured on two cores.

    Args:
      executables: what to compile, in this order.
      tell: called at the start and whenever an executable is ready.
    """
    tell = tell or (lambda ready: None)
    tell(Ready(0, len(executables)))
    for number, executable in enumerate(executables, start=1):
        started = time.perf_counter()
        executable.jitted.lower(*executable.args).compile()
        tell(Ready(number, len(executables), executable.name, time.perf_counter() - started))
