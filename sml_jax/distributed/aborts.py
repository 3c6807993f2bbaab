"""Time for a last word: JAX's C++ client aborts the process in the moment that process 0 is gone, without naming it."""

from __future__ import annotations

import ctypes
import signal
import time
from collections.abc import Callable
from typing import Any

_kept: list[Any] = []  # the handler must outlive the call that sets it


def delay_aborts(seconds: float, on_abort: Callable[[], None]) -> None:
    """Holds the thread that calls abort() for so long before the process dies; the other threads go on meanwhile.

    Python's own signal handlers run in the main thread only, which an abort elsewhere does not wait for, so this one is
    set in C: it runs in the aborting thread.

    Args:
      seconds: how long. on_abort: called first, in the aborting thread.
    """

    def handle(_: int) -> None:
        on_abort()
        time.sleep(seconds)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(handle)
    _kept.append(handler)
    setter = ctypes.CDLL(None).signal
    setter.restype = ctypes.c_void_p
    setter(ctypes.c_int(signal.SIGABRT), handler)
