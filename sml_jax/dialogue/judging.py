"""Verdicts from a verifier that may fail: tried again, then told apart from every verdict.

All judging of a rollout goes through `judge` and `judged_aside`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from sml_jax.dialogue.drops import in_one_line
from sml_jax.distributed.processes import map_across_processes
from sml_jax.tasks.problems.types import Problem, Task, Verdict

_log = logging.getLogger(__name__)
PAUSE_SECONDS = 0.2  # before failed items are tried again; twice as long before each further round

Item = tuple[Problem, str]


@dataclass(frozen=True)
class Unjudged:
    """In a verdict's place: the verifier failed on this utterance, however often it was asked. Neither right nor wrong.

    Attributes:
      error: of its last failure, one line.
    """

    error: str


Judged = Verdict | Unjudged


def judge(task: Task, items: Sequence[Item], retries: int = 2) -> list[Judged]:
    """Verdicts on utterances, all judged in one call; where that fails, those that make it fail are found and retried.

    A call that fails is repeated for each half of its items, down to single ones, so that one bad item costs the others
    no parallelism. A single item that fails is retried after a pause, alone.

    Each of several processes judges its share, so that none judges what another host's clock might judge otherwise, and
    all get the same verdicts.

    Args:
      task: whose `verify` may raise, or return too few verdicts or something else.
      items: (problem, utterance) pairs.
      retries: of a single item.

    Returns:
      A Verdict or an Unjudged for each item, in order. Nothing that the verifier raises comes through, but for
      what is to end the program (KeyboardInterrupt, SystemExit).
    """
    if not items:
        return []
    return map_across_processes(partial(_judge, task, retries=retries), items, _to_json, _from_json)


def _judge(task: Task, items: Sequence[Item], retries: int) -> list[Judged]:
    """`judge` in this process."""
    if not items:
        return []
    judged = _asked(task, items)
    if not isinstance(judged[0], Unjudged):
        return judged
    error = judged[0].error
    judged = _by_halves(task, items) if len(items) > 1 else judged
    for attempt in range(retries):
        failed = [i for i, one in enumerate(judged) if isinstance(one, Unjudged)]
        if not failed:
            break
        time.sleep(PAUSE_SECONDS * 2**attempt)
        for i in failed:
            judged[i] = _asked(task, items[i : i + 1])[0]
    without = sum(isinstance(one, Unjudged) for one in judged)
    _log.warning(
        "%s: the verifier failed (%s); asked again, it has no verdict on %d of %d utterances",
        task.name,
        error,
        without,
        len(items),
    )
    return judged


@contextmanager
def judged_aside(task: Task, items: Sequence[Item], retries: int = 2) -> Iterator[Callable[[], list[Judged]]]:
    """`judge` in a thread of its own while the body runs; what it yields, called, waits for the verdicts."""
    with ThreadPoolExecutor(1, thread_name_prefix="judge") as aside:
        yield aside.submit(judge, task, items, retries).result


def _to_json(judged: Judged) -> list[Any]:
    return [judged.error] if isinstance(judged, Unjudged) else [judged.correct, judged.attempted, judged.detail]


def _from_json(values: list[Any]) -> Judged:
    return Unjudged(*values) if len(values) == 1 else Verdict(*values)


def _by_halves(task: Task, items: Sequence[Item]) -> list[Judged]:
    """Verdicts on two or more items that failed together."""
    middle = len(items) // 2
    judged: list[Judged] = []
    for half in (items[:middle], items[middle:]):
        found = _asked(task, half)
        judged += _by_halves(task, half) if len(half) > 1 and isinstance(found[0], Unjudged) else found
    return judged


def _asked(task: Task, items: Sequence[Item]) -> list[Judged]:
    """One call of the verifier: all verdicts, or none."""
    try:
        verdicts = list(task.verify(items))
        if len(verdicts) != len(items):
            raise ValueError(f"{len(verdicts)} verdicts for {len(items)} utterances")
        for verdict in verdicts:
            if not isinstance(verdict, Verdict):
                raise TypeError(f"a {type(verdict).__name__} in place of a Verdict")
        return [*verdicts]
    except Exception as error:
        return [Unjudged(in_one_line(error))] * len(items)
