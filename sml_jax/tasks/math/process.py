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
from sml_jax.tasks.math.expression_pool import LineWorker

_SOFT_S = 3.0  # the child gives up by itself
_HARD_S = 3.5  # the child is killed
_MEMORY_BYTES = 2 << 30
_MEMO_SIZE = 1 << 14


def _serve_equivalence(path: list[str], memory_bytes: int, soft_s: float) -> None:
    """The child: a line `[gold, attempt]` in, "true", "false" or "null" (too slow) out."""
    import contextlib
    import json
    import random
    import resource
    import signal
    import sys
    from functools import lru_cache

    sys.path[:] = path
    for which, most in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
            resource.setrlimit(which, (most, resource.getrlimit(which)[1]))
    out, sys.stdout = sys.stdout, sys.stderr
    import logging

    import sympy  # type: ignore[import-untyped]
    from math_verify import LatexExtractionConfig, parse, verify
    from sympy.core.cache import clear_cache  # type: ignore[import-untyped]

    logging.disable(logging.CRITICAL)

    class LateError(BaseException):
        """Not an Exception, so that nothing in between swallows it."""

    def late(*_):  # type: ignore[no-untyped-def]
        raise LateError

    signal.signal(signal.SIGALRM, late)

    @lru_cache(maxsize=2048)
    def read(text):  # type: ignore[no-untyped-def]
        found = parse("\\boxed{" + text + "}", [LatexExtractionConfig()], parsing_timeout=None)
        if found and isinstance(found[0], sympy.Basic):
            with contextlib.suppress(Exception):  # an index of a sum stays what it is
                found[0] = found[0].xreplace({sympy.Symbol("i", real=False): sympy.I})
            # math-verify takes any two equations that it cannot solve for a symbol for equal, such as f(0) = 1.
            calls = found[0].atoms(sympy.core.function.AppliedUndef)
            found[0] = found[0].xreplace({call: sympy.Symbol(str(call), real=True) for call in calls})
        return found

    def apart(left, right):  # type: ignore[no-untyped-def]
        """Whether two numbers surely differ: to 40 digits, or to 5 where one is written as a decimal."""
        digits = 5 if left.has(sympy.Float) or right.has(sympy.Float) else 40
        left, right = left.evalf(50, maxn=400), right.evalf(50, maxn=400)
        return bool(abs(left - right) > abs(left) * sympy.Float(10) ** -digits)

    def close(left, right):  # type: ignore[no-untyped-def]
        return abs(left - right) <= 1e-9 * max(abs(left), abs(right))

    def at(expression, where):  # type: ignore[no-untyped-def]
        value = complex(expression.subs(where).evalf(20))
        if value != value or abs(value) == float("inf"):
            raise ValueError
        return value

    def compare(left, right, measure):  # type: ignore[no-untyped-def]
        """What `measure` says of the values at random points, if not True; None where there are too few of them."""
        names = sorted(left.free_symbols | right.free_symbols, key=str)
        points = random.Random(0)  # the same for every pair: a verdict does not depend on what came before
        seen = []
        for turn in range(12):
            # Positive points first: more expressions are defined there. Then a negative one: ln x is not ln |x|.
            signs = (1,) if turn < 4 else (-1,) if turn == 4 else (1, -1)
            where = {name: sympy.Rational(points.randint(100, 2300), 1009) * points.choice(signs) for name in names}
            try:
                seen.append((at(left, where), at(right, where)))
            except Exception:
                continue
            found = measure(seen)
            if found is not True:
                return found
            if len(seen) == 7:
                return True
        return None

    def alike(seen):  # type: ignore[no-untyped-def]
        return close(*seen[-1])

    def proportional(seen):  # type: ignore[no-untyped-def]
        (a, b), (c, d) = seen[0], seen[-1]
        if len(seen) == 2 and close(a, c) and close(b, d):
            return "constant"
        return min(abs(a), abs(b), abs(c)) > 1e-9 and close(a * d, b * c)

    def plain(value):  # type: ignore[no-untyped-def]
        return isinstance(value, sympy.Expr) and not value.has(
            sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit, sympy.Derivative, sympy.core.function.AppliedUndef
        )

    def assigns(value):  # type: ignore[no-untyped-def]
        return isinstance(value, sympy.Eq) and value.lhs.is_Symbol and value.lhs not in value.rhs.free_symbols

    def by_values(left, right):  # type: ignore[no-untyped-def]
        """Whether two expressions or equations have the same values; None where values do not tell."""
        if isinstance(right, sympy.Eq) and plain(left):
            right = right.rhs
        elif assigns(left) and plain(right):
            left = left.rhs
        if plain(left) and plain(right):
            if left.is_Symbol or right.is_Symbol:
                return None
            if left.free_symbols | right.free_symbols:
                return compare(left, right, alike)
            return False if apart(left, right) else None
        if not (isinstance(left, sympy.Eq) and isinstance(right, sympy.Eq)):
            return None
        if not all(map(plain, (*left.args, *right.args))):
            return None
        if not (left.free_symbols or right.free_symbols):  # 2 + 3 = 5; math-verify takes them all for equal
            return not apart(left.rhs, right.rhs)
        if assigns(left):
            if assigns(right) and left.lhs == right.lhs:
                return compare(left.rhs, right.rhs, alike)
            # What solves the gold equation must solve the other.
            if compare(right.lhs.subs(left.lhs, left.rhs), right.rhs.subs(left.lhs, left.rhs), alike) is False:
                return False
        found = compare(left.lhs - left.rhs, right.lhs - right.rhs, proportional)
        # f(0) = 1 reads as f * 0 = 1, which is as false as any other.
        return False if found == "constant" else found or None

    def judge(gold, attempt):  # type: ignore[no-untyped-def]
        lefts, rights = read(gold), read(attempt)
        if not lefts or not rights:
            return False
        left, right = lefts[0], rights[0]
        if "%" not in gold + attempt:
            found = by_values(left, right)
            if found is not None:
                return found
        return bool(verify(lefts, rights, allow_set_relation_comp=True, timeout_seconds=None))

    read("1")
    print("ready", file=out, flush=True)
    for count, line in enumerate(sys.stdin):
        gold, attempt = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, soft_s)
        try:
            same = judge(gold, attempt)
        except LateError:
            same = None
        except Exception:
            same = False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(same), file=out, flush=True)
        if count % 1000 == 999:
            clear_cache()


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
            LineWorker(_serve_equivalence, path, _MEMORY_BYTES, min(_SOFT_S, hard_s)) for _ in range(self.workers)
        ]
        self._memo: dict[tuple[str, str], bool] = {}
        self._free = threading.Condition()  # over a lock that its holder may take again
        self._warm = False

    def start(self, count: int = 2) -> None:
        """Starts as many processes without waiting for them; the others start when they are needed."""
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
            worker = max(self._idle, key=lambda one: (one.ready, one.pid is not None))
            self._idle.remove(worker)
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
        same = json.loads(lines[0]) is True
        with self._free:
            while len(self._memo) >= _MEMO_SIZE:
                del self._memo[next(iter(self._memo))]
            self._memo[gold, attempt] = same
        return same


def worker_count() -> int:
    """Processes that a pool has by default."""
    return max(2, min(cores(), 16))


@lru_cache(maxsize=1)
def shared_pool() -> EquivalencePool:
    """The pool of this process. Raises UserError if math-verify is not installed."""
    if importlib.util.find_spec("math_verify") is None:
        raise UserError("math-verify is not installed and this answer needs it: pip install math-verify")
    return EquivalencePool()


class Judge:
    """Asks the shared pool whether expressions are equal, all questions together within a time.

    Args:
      seconds: for all questions.
    """

    def __init__(self, seconds: float = _HARD_S) -> None:
        self._end = time.monotonic() + seconds

    def equal(self, gold: str, attempt: str) -> bool:
        """As `EquivalencePool.ask`."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return shared_pool().ask(gold, attempt, left)
