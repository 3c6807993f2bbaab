"""Asks math-verify whether two expressions are equal, in processes that may hang, crash or eat their memory."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from functools import lru_cache

from sml_jax.common.cores import cores
from sml_jax.common.errors import UserError
from sml_jax.tasks.math.equivalence_child import serve_equivalence
from sml_jax.tasks.math.line_worker import LineWorker

_SOFT_S = 3.0  # the child gives up by itself
_HARD_S = 3.5  # the child is killed
_MEMORY_BYTES = 2 << 30
_MEMO_SIZE = 1 << 14  # answers


class EquivalencePool:
    """Processes that judge whether two LaTeX expressions are equal. Usable from many threads.

    A process starts at the first need, is killed when it is late or this object goes, and is started again in the
    background; none outlives the interpreter.

    Args:
      workers: processes at most; None for the number of cores that this process may use, and at least 2: while a
        killed one starts again, another is ready.
      hard_s: seconds a process may take over one pair before it is killed.
    """

    def __init__(self, workers: int | None = None, hard_s: float = _HARD_S) -> None:
        self.workers = workers or worker_count()
        self._hard_s = hard_s
        path = [entry for entry in sys.path if entry]
        self._idle = [
            LineWorker(serve_equivalence, path, _MEMORY_BYTES, min(_SOFT_S, hard_s)) for _ in range(self.workers)
        ]
        self._memo: dict[tuple[str, str], bool] = {}
        self._free = threading.Condition()  # its lock may be taken again by the thread that holds it
        self._warm = False  # whether `start` was called

    def start(self, count: int = 2) -> None:
        """Starts `count` processes without waiting for them. The others start when they are needed."""
        with self._free:
            self._warm = True
            for worker in self._idle[:count]:
                worker.start()

    def close(self) -> None:
        """Kills the processes that are idle. A later question starts them again."""
        with self._free:
            for worker in self._idle:
                worker.close()

    def ask(self, gold: str, attempt: str, timeout_s: float) -> bool:
        """Whether two LaTeX texts are equal.

        Args:
          gold: the reference; math-verify follows its form. Answers are remembered, time-outs are not.
          attempt: what is judged.
          timeout_s: seconds that this may take, once a process is free and running.

        Raises:
          TimeoutError: the process gave no verdict in time.
          RuntimeError: no process can be started.
        """
        with self._free:
            known = self._memo.get((gold, attempt))
            if known is not None:
                return known
            self._free.wait_for(lambda: self._idle)
            if not self._warm:
                self.start()
            # One that runs already, if any: starting takes a second.
            worker = max(self._idle, key=lambda worker: (worker.ready, worker.pid is not None))
            self._idle.remove(worker)
        # The lock is free while the worker thinks.
        try:
            lines, trouble = worker.ask(json.dumps([gold, attempt]), 1, min(timeout_s, self._hard_s))
            if trouble:
                worker.start()  # in the background, so that the next caller need not wait
        finally:
            with self._free:
                self._idle.append(worker)
                self._free.notify()
        if trouble:
            raise TimeoutError(trouble)
        if lines[0] == "null":
            raise TimeoutError("timed out")
        equal = json.loads(lines[0]) is True
        with self._free:
            while len(self._memo) >= _MEMO_SIZE:  # the oldest go
                del self._memo[next(iter(self._memo))]
            self._memo[gold, attempt] = equal
        return equal


def worker_count() -> int:
    """How many processes a pool has by default: one for each core, at least 2 and at most 16."""
    return max(2, min(cores(), 16))


@lru_cache(maxsize=1)
def shared_pool() -> EquivalencePool:
    """The one pool of this process.

    Raises:
      UserError: math-verify is not installed.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise UserError("math-verify is not installed and this answer needs it: pip install math-verify")
    return EquivalencePool()


class TimedEquivalence:
    """Asks the shared pool whether expressions are equal, all questions together within a time.

    Args:
      seconds: for all questions, from now on.
    """

    def __init__(self, seconds: float = _HARD_S) -> None:
        self._deadline = time.monotonic() + seconds

    def equal(self, gold: str, attempt: str) -> bool:
        """Whether two LaTeX texts are equal, see `EquivalencePool.ask`."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return shared_pool().ask(gold, attempt, left)
