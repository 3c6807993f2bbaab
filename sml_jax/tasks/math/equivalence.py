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
    """Processes that judge whether two LaTeX expressions are equal. It can be used from many threads at once.

    A process is started when it is first needed. It is killed when it takes too long, and then started again in the
    background, or when this object is deleted. No process outlives the interpreter.

    Args:
      workers: the most processes; None for `worker_count()`.
      hard_s: seconds that a process may take over one pair before it is killed.
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
        """Starts `count` of the processes in the background. The others start when they are needed."""
        with self._free:
            self._warm = True
            for worker in self._idle[:count]:
                worker.start()

    def close(self) -> None:
        """Kills all processes that are not answering a question. A later `ask` starts them again."""
        with self._free:
            for worker in self._idle:
                worker.close()

    def ask(self, gold: str, attempt: str, timeout_s: float) -> bool:
        """Whether two LaTeX expressions are equal. The result is remembered.

        Args:
          gold: the reference. The order matters: math-verify judges the attempt by the form of the reference.
          attempt: the expression that is judged.
          timeout_s: seconds that the judgement may take, not counting the wait for a free process.

        Raises:
          TimeoutError: there was no judgement in time, or the process died.
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
    """Number of processes of a pool by default: one for each core, but at least 2 and at most 16.

    With two, one is ready while the other starts again after it was killed.
    """
    return max(2, min(cores(), 16))


@lru_cache(maxsize=1)
def shared_pool() -> EquivalencePool:
    """The pool that all of this Python process shares; the first call makes it.

    Raises:
      UserError: math-verify is not installed.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise UserError("math-verify is not installed and this answer needs it: pip install math-verify")
    return EquivalencePool()


class TimedEquivalence:
    """Asks the shared pool whether expressions are equal, with one deadline for all questions together.

    Args:
      seconds: from the creation of this object to the deadline.
    """

    def __init__(self, seconds: float = _HARD_S) -> None:
        self._deadline = time.monotonic() + seconds

    def equal(self, gold: str, attempt: str) -> bool:
        """Whether two LaTeX expressions are equal, see `EquivalencePool.ask`.

        Raises:
          TimeoutError: the deadline passed, or the process died.
          UserError: math-verify is not installed.
          RuntimeError: no process can be started.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return shared_pool().ask(gold, attempt, left)
