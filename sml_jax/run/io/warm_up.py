"""Compiles what a run needs before its first step, and shows how far that is."""

from __future__ import annotations

import time
from typing import Any

from sml_jax.common.compilation_cache import executables_read
from sml_jax.engine.compiling import Ready
from sml_jax.engine.engine import Engine
from sml_jax.run.io.display import Progress

_INTERVAL = 10.0  # seconds between lines that are printed


def warm_up(engine: Engine, params: Any, progress: Progress | None = None) -> None:
    """Does `Engine.warm_up`. Where something is left to compile, it shows what, and then how long it took.

    Args:
      engine: of the run.
      params: of its model.
      progress: of the work that waits for it, where it is in use; None to print lines.
    """
    started, read_before, last_printed = time.monotonic(), executables_read(), -_INTERVAL
    total = read = 0

    def tell(ready: Ready) -> None:
        nonlocal total, read, last_printed
        # Smaller ones that are read afterwards are not counted.
        total, read = ready.total, executables_read() - read_before
        name_and_time = f": {ready.name}, {ready.seconds:.1f} s" if ready.number else ""
        text = f"compiling {ready.number} of {ready.total}{name_and_time}"
        if progress is not None:
            progress.status(text)
        elif time.monotonic() - last_printed >= _INTERVAL:
            print(text, flush=True)
            last_printed = time.monotonic()

    engine.warm_up(params, tell)
    if not total:
        return
    text = f"{total} executables are ready after {time.monotonic() - started:.0f} s, {read} from the cache"
    if progress is not None:
        progress.note(text)
    else:
        print(text, flush=True)
