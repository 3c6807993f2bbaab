"""Compiles executables before they are needed, several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import jax

from sml_jax.common.cores import cores
from sml_jax.common.executables import Executable

MAX_THREADS = 2
"""How many executables are compiled at once. Tracing and lowering hold Python's lock, so that more gain little."""


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


def compile_ahead(executables: Sequence[Executable], tell: Tell | None = None, threads: int | None = None) -> None:
    """Compiles executables, so that the calls of `Executable.jitted` that need them find them ready.

    XLA compiles without Python's lock: with a second thread, one executable is traced while another is compiled.

    Args:
      executables: what to compile, in this order.
      tell: called in the caller's thread, at the start and whenever an executable is ready.
      threads: how many are compiled at once. By default `MAX_THREADS`, where there are as many cores; and 1 where
        processes run together, whose compilers may have to meet in the same order.
    """

    def compile_one(executable: Executable) -> float:
        started = time.perf_counter()
        executable.jitted.lower(*executable.args).compile()
        return time.perf_counter() - started

    tell = tell or (lambda ready: None)
    if threads is None:
        threads = 1 if jax.process_count() > 1 else min(MAX_THREADS, cores())
    tell(Ready(0, len(executables)))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="compile")
    try:
        name_of = {pool.submit(compile_one, executable): executable.name for executable in executables}
        for number, done in enumerate(as_completed(name_of), start=1):
            tell(Ready(number, len(executables), name_of[done], done.result()))
    finally:
        # After an error or Ctrl-C, what has not begun is not compiled any more.
        pool.shutdown(cancel_futures=True)
