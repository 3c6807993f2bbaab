"""A rollout that is played in a thread of its own while the learner updates."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

# How often a wait looks for a stop request, in seconds.
_PATIENCE = 0.2


class _Cancelled(Exception):
    """Ends the work in its thread; nobody else sees it."""


class Ahead(Generic[T]):
    """Does one piece of work at a time in a thread of its own. It is a context manager, at whose end work is cancelled.

    The caller starts the work, does something else, waits, and then takes the result. Between `wait` and the next
    `start` nothing runs in the thread.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rollout")
        self._future: Future[T] | None = None
        self._cancel = threading.Event()

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        # Work under way ends at its next look at the event. Its result would not be used by anybody.
        self._cancel.set()
        self._pool.shutdown(wait=True)

    def start(self, work: Callable[[Callable[[], None]], T]) -> None:
        """Starts `work` in the thread.

        Args:
          work: it is given a function that it must call every now and then, and that raises an exception in it once the
            work is cancelled.
        """
        assert self._future is None, "the work before was not taken"
        self._cancel.clear()
        self._future = self._pool.submit(work, self._go_on)

    def wait(self, asked_to_stop: Callable[[], bool]) -> None:
        """Waits until the work has ended, if there is any, or cancels it once `asked_to_stop` returns True.

        Raises:
          Exception: whatever ended the work.
        """
        while self._future is not None:
            try:
                self._future.result(timeout=_PATIENCE)
                return
            except TimeoutError:
                # The work itself may have ended by one.
                if self._future.done():
                    raise
                if asked_to_stop():
                    self._cancel.set()
            except _Cancelled:
                self._future = None

    def take(self) -> T | None:
        """The result of the work that was waited for; None where no work was started, or where it was cancelled."""
        future, self._future = self._future, None
        return None if future is None else future.result()

    def _go_on(self) -> None:
        """Raises an exception in the work if it is cancelled."""
        if self._cancel.is_set():
            raise _Cancelled
