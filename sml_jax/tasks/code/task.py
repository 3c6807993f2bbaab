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
    """Runs a program against all tests of a problem and, if it passes them, against its cases.

    Args:
      problem: it must have tests or cases.
      program: Python text, starting with the problem's prefix if it has one.
      limits: the resources that all tests together may use, and again each case.

    Returns:
      The verdict on the tests if the program fails them or there are no cases, else the verdict on the cases.

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

    Utterances are judged in parallel: over all calls of `verify`, at most `workers` programs run at once, each in
    processes of its own. Within one call, the same program for the same problem is run only once.

    Args:
      name: what reports call the task.
      problems: by split. They are not copied, so a sequence that reads from disk still does.
      limits: the resources that one run may use (see `verify_program`).
      workers: the most programs that run at once; None for the number of processors.

    Raises:
      UserError: a problem has neither tests nor cases, or a `CallCase` without `entry`; two problems of a split have
        the same id; or `workers` is below 1.
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
        for split, split_problems in self._problems.items():
            # Other sequences may read from disk; `verify_program` refuses what is bad in them.
            if isinstance(split_problems, (tuple, list)):
                _check(f"{name}, split {split}", split_problems)

    @property
    def name(self) -> str:
        """What reports call the task."""
        return self._name

    def protection(self) -> str:
        """One line of text that names the sandbox in which programs run on this machine, to be logged once.

        Raises:
          UserError: nothing but resource limits works on this machine, and `Limits.weak` does not allow these alone.
        """
        return protection(self._limits.weak)

    def problems(self, split: str) -> Sequence[CodeProblem]:
        """The problems of a split, in a fixed order.

        Raises:
          UserError: there is no such split, or it is empty.
        """
        if not self._problems.get(split):
            filled_splits = [split_name for split_name, split_problems in self._problems.items() if split_problems]
            raise UserError(f'{self._name} has nothing in a split "{split}": ask for one of {filled_splits}')
        return self._problems[split]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges utterances by running the programs in them; an utterance without a program counts as no attempt.

        Args:
          items: n times (problem, the student's utterance).

        Returns:
          n verdicts, in order.

        Raises:
          UserError: a problem is not a `CodeProblem`, or no allowed sandbox works on this machine (see `protection`).
          RuntimeError: no process could be started.
        """
        # The same program for the same problem is one job.
        job_keys: list[tuple[int, str] | None] = []
        jobs: dict[tuple[int, str], tuple[CodeProblem, str]] = {}
        for problem, utterance in items:
            if not isinstance(problem, CodeProblem):
                raise UserError(f"{problem.id} is not a CodeProblem: {self._name} can judge only its own problems")
            program = extract_code(utterance, problem.entry, problem.prefix)
            job_keys.append(None if program is None else (id(problem), program))
            if program is not None:
                jobs[id(problem), program] = (problem, program)
        verdicts = dict(zip(jobs, self._verify_all(list(jobs.values())), strict=True))
        no_attempt = Verdict(correct=False, attempted=False, detail=NO_CODE)
        return [no_attempt if key is None else verdicts[key] for key in job_keys]

    def static_knowledge(self, problem: Problem) -> str:
        """Always "": the teacher of a coding problem knows only what the verifier puts out."""
        return ""

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """The verifier's output (`Verdict.detail`) on the latest turn; "" if `verdict` is None."""
        return "" if verdict is None else verdict.detail

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What a scripted teacher says to the verdict on the last turn: the program's error or its wrong value.

        It tells neither what was expected nor how to mend the program. `problem` and `conversation` have no effect.
        """
        if verdict.correct:
            return "That is correct. All tests pass."
        if not verdict.attempted:
            return "I found no program in that. Write the whole of it in one ```python block."
        return f"That is not correct. {failure_hint(verdict.detail)}"

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether `teacher_text` copies lines of the reference program that `public_text` lacks (see `leaks.leaks`)."""
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
    for problem in rows:
        if problem.id in ids:
            raise UserError(f'{place}: the id "{problem.id}" is there twice: make ids unique')
        ids.add(problem.id)
        if not problem.tests and not problem.cases:
            raise UserError(f"{place}: {problem.id} has neither tests nor cases: leave it out or give one")
        if not problem.entry and any(isinstance(case, CallCase) for case in problem.cases):
            raise UserError(f"{place}: {problem.id} has cases that call a function: name it in entry")
