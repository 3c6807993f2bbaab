"""SIGTERM and SIGINT as a request: the run saves its state at the next safe point and ends."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether this process was asked to stop. It is true in a condition if so.

    Attributes:
      name: of the signal that asked, such as "SIGTERM"; "" for none.
    """

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """A context manager in whose body the first SIGTERM or SIGINT only sets the request; a second one acts as usual.

    Outside the main thread, where Python allows no signal handlers, signals act as usual and the request stays unset.

    Yields:
      The request. The run looks at it wherever it can safely stop.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    earlier_handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, _: Any) -> None:
        request.name = signal.Signals(number).name
        # From now on a second signal ends the process at once.
        _restore(earlier_handlers)
        print(f"{request.name}: saving, then leaving; once more to leave at once", file=sys.stderr, flush=True)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        _restore(earlier_handlers)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """Puts signal handlers back."""
    for number, handler in handlers.items():
        signal.signal(number, handler)
