"""Verdicts from a verifier that may fail: it is asked again, and what stays without a verdict is marked as such.

All judging of a rollout goes through `judge` and `judge_in_background`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from sml_jax.common.own_code import WrongResult, raise_own_mistake
from sml_jax.dialogue.drops import in_one_line
from sml_jax.distributed.processes import map_across_processes
from sml_jax.tasks.problems.environment import verify_turns
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

_log = logging.getLogger(__name__)
PAUSE_SECONDS = 0.2  # before failed items are judged again; twice as long before each further round

Item = tuple[Problem, Sequence[Turn]]  # a conversation about the problem, whose last turn is judged


@dataclass(frozen=True)
class Unjudged:
    """Takes the place of a verdict where the verifier failed on an utterance, which is then neither right nor wrong.

    Attributes:
      error: the verifier's last failure, in one line.
    """

    error: str


Judged = Verdict | Unjudged


def judge(task: Task, items: Sequence[Item], retries: int = 2) -> list[Judged]:
    """Judges utterances in one call of the verifier; if that fails, finds the items that make it fail and retries them.

    A call that fails is repeated for each half of its items, down to single ones, so that one bad item does not keep
    the others from being judged in parallel. A single item that fails is retried after a pause, by itself.

    If there are several processes, each judges a share of the items, and all get the same verdicts; otherwise a time
    limit could have different outcomes on different hosts.

    Args:
      task: its verifier may raise what a machine or an utterance can cause.
      items: (problem, conversation) pairs; the last turn is the student's and is judged. An environment judges it in
        the light of the turns before it, see `verify_turns`.
      retries: how often a single item that failed is judged again.

    Returns:
      A Verdict or an Unjudged for each item, in order. Exceptions of the verifier are caught, except those that are
      meant to end the program (KeyboardInterrupt, SystemExit).

    Raises:
      TypeError, KeyError, ...: a mistake in a verifier of the user's own, see `sml_jax.common.own_code`. Something else
        than a verdict for each utterance is one.
    """
    if not items:
        return []
    # A verdict under way to another process is JSON.
    return map_across_processes(partial(_judge, task, retries=retries), items, _to_json, _from_json)


def _judge(task: Task, items: Sequence[Item], retries: int) -> list[Judged]:
    """`judge` for this process's share of the items."""
    if not items:
        return []
    # 1. All items in one call, which nearly always works.
    judged = _verify_all_or_none(task, items)
    if not isinstance(judged[0], Unjudged):
        return judged
    first_error = judged[0].error
    # 2. Smaller and smaller calls, until only the items that fail by themselves have no verdict.
    judged = _verify_halves(task, items) if len(items) > 1 else judged
    # 3. Those once more, after pauses: a machine that was out of memory or processes may have recovered.
    for attempt in range(retries):
        failed_indices = [i for i, result in enumerate(judged) if isinstance(result, Unjudged)]
        if not failed_indices:
            break
        time.sleep(PAUSE_SECONDS * 2**attempt)
        for i in failed_indices:
            judged[i] = _verify_all_or_none(task, items[i : i + 1])[0]
    unjudged = sum(isinstance(result, Unjudged) for result in judged)
    _log.warning(
        "%s: the verifier failed (%s); asked again, it has no verdict on %d of %d utterances",
        task.name,
        first_error,
        unjudged,
        len(items),
    )
    return judged


@contextmanager
def judge_in_background(task: Task, items: Sequence[Item], retries: int = 2) -> Iterator[Callable[[], list[Judged]]]:
    """A context manager that runs `judge` in a thread while its body runs. For the arguments see `judge`.

    Yields:
      A function without arguments that waits for the verdicts and returns them.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="judge") as executor:
        yield executor.submit(judge, task, items, retries).result


def _to_json(judged: Judged) -> list[Any]:
    return [judged.error] if isinstance(judged, Unjudged) else [judged.correct, judged.attempted, judged.detail]


def _from_json(values: list[Any]) -> Judged:
    return Unjudged(*values) if len(values) == 1 else Verdict(*values)


def _verify_halves(task: Task, items: Sequence[Item]) -> list[Judged]:
    """Judges two or more items that failed together."""
    middle = len(items) // 2
    judged: list[Judged] = []
    for half in (items[:middle], items[middle:]):
        results = _verify_all_or_none(task, half)
        half_failed = isinstance(results[0], Unjudged)
        judged += _verify_halves(task, half) if half_failed and len(half) > 1 else results
    return judged


def _verify_all_or_none(task: Task, items: Sequence[Item]) -> list[Judged]:
    """Calls the verifier once. If it fails, no item has a verdict."""
    try:
        return [*_checked_verdicts(task, verify_turns(task, items), len(items))]
    except Exception as error:
        # A mistake in the verifier would fail on every item, and trying again helps nobody.
        raise_own_mistake(error, "judging the student's turns")
        return [Unjudged(in_one_line(error))] * len(items)


def _checked_verdicts(task: Task, returned: object, count: int) -> list[Verdict]:
    """What a verifier returned for `count` utterances, as a list.

    Raises:
      WrongResult: it is something else than a verdict for each of them. Verdicts are used far from here, so they are
        checked at once.
    """
    verify = f"{type(task).__qualname__}.verify"
    if not isinstance(returned, Iterable):
        raise WrongResult(f"{verify} returned a {type(returned).__name__}: return a list with a Verdict for each item")
    verdicts = list(returned)
    if len(verdicts) != count:
        raise WrongResult(f"{verify} returned {len(verdicts)} verdicts for {count} utterances: return one for each")
    for verdict in verdicts:
        if not isinstance(verdict, Verdict):
            raise WrongResult(f"{verify} returned a {type(verdict).__name__} among its verdicts: make it a Verdict")
    return verdicts
