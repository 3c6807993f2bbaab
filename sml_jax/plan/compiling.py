"""Compiling an executable ahead of time, and what its compiler says of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax

from sml_jax.common.executables import Executable, Memory, memory_of
from sml_jax.plan.chips import GIB
from sml_jax.plan.counting import Count, count_work
from sml_jax.plan.hlo import parse_hlo
from sml_jax.plan.work import kernel_flops, traced_flops

# "... required for HLO temporaries (57.95G) exceeds ..." and "Used 20.12G of 15.75G hbm": GiB.
_WANTED = re.compile(r"temporaries \(([\d.]+)([KMGT])\)|Used ([\d.]+)([KMGT]) of")
_UNITS = {"K": 2.0**10, "M": 2.0**20, "G": float(GIB), "T": 2.0**40}


@dataclass(frozen=True)
class Compiled:
    """What the compilation of an executable found out about it.

    Attributes:
      memory: what it uses on one device; None if it could not be compiled for lack of device memory.
      wanted: if it could not be compiled, the bytes of a device that the compiler's error says it would need (for
        temporaries alone or for everything); None if it was compiled or the error does not say.
      work: arithmetic and traffic of one call on one device; None if it could not be compiled.
      useful_flops: FLOPs of one call on all devices together, from the trace: what devices repeat counts once.
      seconds: how long tracing and compiling took.
    """

    memory: Memory | None
    wanted: float | None
    work: Count | None
    useful_flops: float
    seconds: float


def compile_executable(executable: Executable) -> Compiled:
    """Compiles an executable for the devices in its abstract arguments' shardings, which need not exist.

    Too little device memory raises no error: then `Compiled.memory` is None, and `Compiled.wanted` says what it needs.

    Raises:
      Exception: whatever JAX raises for any other reason.
    """
    started = time.monotonic()
    # The trace tells what was asked for, before XLA splits it over devices, fuses it or does it twice.
    traced = executable.jitted.trace(*executable.args)
    useful_flops = traced_flops(traced.jaxpr, executable.loop_steps)
    try:
        with _named_kernels():
            compiled = traced.lower().compile()
    except Exception as error:
        # Too little memory is a result, not a failure: the plan says how much was wanted.
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Compiled(None, wanted_bytes(str(error)), None, useful_flops, time.monotonic() - started)
    # What XLA's own cost analysis counts once, such as the body of a loop, is counted here as often as it runs.
    work = count_work(parse_hlo(compiled.as_text()), executable.loop_steps, kernel_flops(traced.jaxpr))
    return Compiled(memory_of(compiled), None, work, useful_flops, time.monotonic() - started)


@contextmanager
def _named_kernels() -> Iterator[None]:
    """A context manager in whose body Pallas kernels keep their names, by which their arithmetic is found.

    JAX takes the names from its call stacks, which it may have been told to leave out.
    """
    option = "jax_include_full_tracebacks_in_locations"
    before = getattr(jax.config, option)
    jax.config.update(option, True)
    try:
        yield
    finally:
        jax.config.update(option, before)


def wanted_bytes(message: str) -> float | None:
    """Number of bytes that an executable needs, read from the compiler's out-of-memory error; None if it has none."""
    match = _WANTED.search(message)
    if not match:
        return None
    number, unit = (match[1], match[2]) if match[1] else (match[3], match[4])
    return float(number) * _UNITS[unit]
