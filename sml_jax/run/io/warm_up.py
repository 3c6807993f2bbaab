"""Compiles what a run needs before its first step, and shows how far that is."""

from __future__ import annotations

import time
from typing import Any

from sml_jax.common.compilation_cache import executables_read
from sml_jax.engine.compiling import Ready
from sml_jax.engine.engine import Engine
from sml_jax.run.io.display import Progress


def warm_up(engine: Engine, params: Any, progress: Progress) -> None:
    """Does `Engine.warm_up`. Where something is left to compile, `progress` shows what, and then how long it took.

    Args:
      engine: of the run.
      params: of its model.
      progress: of the work that waits for it; it is in use, and no step was reported yet.
    """
    started, read_before, total = time.monotonic(), executables_read(), 0

    def tell(ready: Ready) -> None:
        nonlocal total
        total = ready.total
        name_and_time = f": {ready.name}, {ready.seconds:.1f} s" if ready.number else ""
        progress.status(f"compiling {ready.number} of {ready.total}{name_and_time}")

    engine.warm_up(params, tell)
    if total:
        read = min(executables_read() - read_before, total)
        progress.note(f"{total} executables are ready after {time.monotonic() - started:.0f} s, {read} from the cache")
