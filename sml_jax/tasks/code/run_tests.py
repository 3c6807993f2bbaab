"""Judges a program by tests that run against it, the program and the tests each in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

from sml_jax.common.errors import UserError
from sml_jax.tasks.code.confined import run_candidate
from sml_jax.tasks.code.detail import detail_of
from sml_jax.tasks.code.sandbox import CANDIDATE, DEFAULT_LIMITS, Limits, Run
from sml_jax.tasks.problems.types import Verdict


def run_tests(
    code: str, tests: Sequence[str], setup: str = "", limits: Limits = DEFAULT_LIMITS, entry: str = ""
) -> Verdict:
    """Runs `setup`, `code` and then each test, as if in one namespace; all tests must end without raising.

    The code runs in one process and the tests in another, each locked up as well as this machine can
    (docs/sandbox.md). A test reaches what the code defines through calls; arguments and results
    travel by value, in-place changes included, and are compared where the tests are. The code never sees a test or an
    expected value, and cannot write to the channel of the verdict.

    Args:
      code: the program judged.
      tests: at least one; each is Python text that raises on failure and may name what `code` and `setup` define.
      setup: Python text run before `code`; in both processes.
      limits: what the run may use.
      entry: the function asked for: tests take it from the code even where a builtin has its name. By default only the
        tests say it: a builtin's name is the code's where they name nothing else of it.

    Returns:
      Verdict. `attempted` is False for blank code. `detail` names the first failing test with what it expected and
      got, or the error with the line of `code`, or the limit that was hit, in at most 400 characters.

    Raises:
      UserError: no test was given, or no protection works here (see `protection`).
      RuntimeError: no process could be started.
    """
    if not (code or "").strip():
        return Verdict(correct=False, attempted=False, detail="no code")
    if not tests:
        raise UserError("run_tests was given no test, so any code would pass: give at least one")
    parts = [("the setup", setup or ""), (CANDIDATE, code)]
    named = [(f"test {i}", test) for i, test in enumerate(tests, 1)]
    ending = run_candidate(Run("tests", parts, named, entry=entry), limits)
    if ending.words == ("passed",):
        return Verdict(correct=True, attempted=True, detail=f"all {len(tests)} tests passed")
    return Verdict(correct=False, attempted=True, detail=detail_of(ending, limits, [*parts, *named]))
