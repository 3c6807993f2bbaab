"""SIGTERM and SIGINT as a request: the run saves its state at the next safe point and leaves."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether somebody asked this process to stop, and by what signal."""

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Within it, the first SIGTERM or SIGINT is noted and nothing else; a second one acts as it did before.

    Outside the main thread, where Python allows no handlers, nothing is changed and nothing is ever noted.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, _: Any) -> None:
        request.name = signal.Signals(number).name
        _restore(before)
        print(f"{request.name}: saving, then leaving; once more to leave at once", file=sys.stderr, flush=True)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        _restore(before)


def _restore(before: dict[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
