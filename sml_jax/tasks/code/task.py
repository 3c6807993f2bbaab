"""The task of writing Python code, judged by tests and by cases in processes of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sml_jax.common.cores import cores
from sml_jax.common.errors import UserError, at_least
from sml_jax.tasks.code.cases import run_cases
from sml_jax.tasks.code.confined import protection
from sml_jax.tasks.code.detail import failure_hint
from sml_jax.tasks.code.extract import extract_code
from sml_jax.tasks.code.problem import CallCase, CodeProblem
from sml_jax.tasks.code.run_tests import run_tests
from sml_jax.tasks.code.sandbox import DEFAULT_LIMITS, Limits
from sml_jax.tasks.leaks import leaks
from sml_jax.tasks.problems.types import Problem, Turn, Verdict

_LOG = logging.getLogger(__name__)
NO_CODE = "no program found: one was expected in a ```python block"


def verify_program(problem: CodeProblem, program: str, limits: Limits = DEFAULT_LIMITS) -> Verdict:
    """Runs a whole program against the tests and then the cases of a problem.

    Args:
      problem: has tests or cases.
      program: Python text, the problem's prefix included.
      limits: what all tests together may use, and then each case.

    Returns:
      The first Verdict that is not correct, or the last.

    Raises:
      UserError: the problem has neither tests nor cases.
      RuntimeError: no process could be started.
    """
    if not problem.tests and not problem.cases:
        raise UserError(f"{problem.id} has neither tests nor cases, so any code would pass: give at least one")
    verdict = run_tests(program, problem.tests, problem.setup, limits, problem.entry) if problem.tests else None
    if problem.cases and (verdict is None or verdict.correct):
        verdict = run_cases(program, problem.cases, problem.entry, limits, problem.setup)
    assert verdict is not None
    return verdict


class CodeTask:
    """Problems that ask for Python code, judged by tests and cases in a sandbox. Implements `Task`.

    Utterances are judged side by side, at most `workers` at once over all calls; each takes a process, so threads
    that wait for them are enough. The same program for the same problem is run once per call.

    Args:
      name: what reports call the task.
      problems: by split; kept as given, so a sequence that reads from disk stays there.
      limits: what one run may use (see `verify_program`).
      workers: programs run at once; the number of processors by default.

    Raises:
      UserError: a problem that nothing judges or whose id is taken, a `CallCase` without `entry`, no worker.
    """

    def __init__(
        self,
        name: str,
        problems: Mapping[str, Sequence[CodeProblem]],
        limits: Limits = DEFAULT_LIMITS,
        workers: int | None = None,
    ) -> None:
        self.workers = cores() if workers is None else workers
        self._name = name
        at_least(self, workers=1)
        self._limits = limits
        self._problems = dict(problems)
        self._announced = False
        self._slots = threading.BoundedSemaphore(self.workers)
        for split, rows in self._problems.items():
            # Other sequences may read from disk; `verify_program` refuses what is bad in them.
            if isinstance(rows, (tuple, list)):
                _check(f"{name}, split {split}", rows)

    @property
    def name(self) -> str:
        """What reports call the task."""
        return self._name

    def protection(self) -> str:
        """One line that names the sandbox which confines programs on this machine, for the start of a run.

        Raises:
          UserError: nothing works here but resource limits, and `Limits.weak` does not ask for them.
        """
        return protection(self._limits.weak)

    def problems(self, split: str) -> Sequence[CodeProblem]:
        """The problems of a split, in a fixed order.

        Raises:
          UserError: there is no such split, or nothing is in it.
        """
        if not self._problems.get(split):
            filled = [name for name, rows in self._problems.items() if rows]
            raise UserError(f'{self._name} has nothing in a split "{split}": ask for one of {filled}')
        return self._problems[split]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges one utterance for each problem, in order. A turn without a program was no attempt.

        Raises:
          UserError: a problem is not a `CodeProblem`, or no protection works here (see `protection`).
          RuntimeError: no process could be started; no verdict is made up for it.
        """
        # The same program for the same problem is one job.
        keys: list[tuple[int, str] | None] = []
        jobs: dict[tuple[int, str], tuple[CodeProblem, str]] = {}
        for problem, utterance in items:
            if not isinstance(problem, CodeProblem):
                raise UserError(f"{problem.id} is not a CodeProblem: {self._name} can judge only its own problems")
            program = extract_code(utterance, problem.entry, problem.prefix)
            keys.append(None if program is None else (id(problem), program))
            if program is not None:
                jobs[id(problem), program] = (problem, program)
        verdicts = dict(zip(jobs, self._verify_all(list(jobs.values())), strict=True))
        no_attempt = Verdict(correct=False, attempted=False, detail=NO_CODE)
        return [no_attempt if key is None else verdicts[key] for key in keys]

    def static_knowledge(self, problem: Problem) -> str:
        """Nothing: this teacher learns from the verifier alone."""
        return ""

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """The verifier's output on the latest turn; "" before there is one."""
        return "" if verdict is None else verdict.detail

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """Says how the program failed, by its own error or value, and neither what was expected nor how to mend it."""
        if verdict.correct:
            return "That is correct. All tests pass."
        if not verdict.attempted:
            return "I found no program in that. Write the whole of it in one ```python block."
        return f"That is not correct. {failure_hint(verdict.detail)}"

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether the teacher's text gives the reference program away (see `tasks.leaks.leaks`)."""
        return leaks(problem.answer, teacher_text, public_text)

    def _verify_all(self, jobs: Sequence[tuple[CodeProblem, str]]) -> list[Verdict]:
        if not jobs:
            return []
        # Said once, when the first program is about to run.
        if not self._announced:
            self._announced = True
            _LOG.info(self.protection())
        pool = ThreadPoolExecutor(min(self.workers, len(jobs)), thread_name_prefix="code")
        try:
            return list(pool.map(self._verify_one, jobs))
        finally:
            pool.shutdown(cancel_futures=True)  # on an error, nothing new is started

    def _verify_one(self, job: tuple[CodeProblem, str]) -> Verdict:
        with self._slots:
            return verify_program(*job, self._limits)


def _check(place: str, rows: Sequence[CodeProblem]) -> None:
    """Raises a UserError for a problem that could not be judged, or whose id another has."""
    ids: set[str] = set()
    for row in rows:
        if row.id in ids:
            raise UserError(f'{place}: the id "{row.id}" is there twice: make ids unique')
        ids.add(row.id)
        if not row.tests and not row.cases:
            raise UserError(f"{place}: {row.id} has neither tests nor cases: leave it out or give one")
        if not row.entry and any(isinstance(case, CallCase) for case in row.cases):
            raise UserError(f"{place}: {row.id} has cases that call a function: name it in entry")
