"""A delay before the process aborts, so that it can still say which peer is gone.

JAX's C++ client aborts the process as soon as process 0 is gone, and does not name it.
"""

from __future__ import annotations

import ctypes
import signal
import time
from collections.abc import Callable
from typing import Any

_handlers: list[Any] = []  # C calls a handler later, so Python must not collect it


def delay_aborts(seconds: float, on_abort: Callable[[], None]) -> None:
    """Makes a thread that calls C's abort() wait before the process dies, while the other threads go on.

    Python runs its own signal handlers in the main thread only, and an abort in another thread does not wait for that.
    This handler of SIGABRT is set in C and runs in the aborting thread.

    Args:
      seconds: how long the thread waits.
      on_abort: called without arguments in the aborting thread, before it waits.
    """

    def handle(_: int) -> None:
        on_abort()
        time.sleep(seconds)

    c_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(handle)
    _handlers.append(c_handler)
    c_signal = ctypes.CDLL(None).signal
    c_signal.restype = ctypes.c_void_p
    c_signal(ctypes.c_int(signal.SIGABRT), c_handler)
