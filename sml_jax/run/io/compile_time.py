"""How long JAX has compiled in this process, so that the pace of work can be told without it."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax

# Lowering and compiling, or reading from the compilation cache. Tracing is left out: its events lie within one another.
_EVENTS = ("/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration")


def compile_seconds() -> float:
    """Seconds of compilation since the first call. Programs that compile at the same time count each for itself."""
    return sum(_durations(), 0.0)


@cache
def _durations() -> list[float]:
    """The seconds of each event so far. The first call asks JAX to report them."""
    durations: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event in _EVENTS:
            durations.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return durations
