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
    """Runs `setup`, `code` and then each test, as if in one namespace, until a test raises an error.

    The code runs in one process and the tests in another, both in the strongest sandbox of this machine
    (docs/sandbox.md). What the code defines is called by the tests across the two processes. Arguments and results are
    copied, changes in place included, and compared in the process of the tests. The code never sees a test or an
    expected value, and cannot reach the channel on which the verdict is reported.

    Args:
      code: the program that is judged.
      tests: at least one. Each is Python text that raises on failure and may use the names that `code` and `setup`
        define.
      setup: Python text that runs before `code`, in both processes.
      limits: the resources that the run may use.
      entry: name of the function that the problem asks for; the tests call the code's function even if a builtin has
        the same name. With "", a builtin's name means the code's function only if the tests use no other name of the
        code.

    Returns:
      The verdict: correct if no test raises; `attempted` is False for blank code. `detail` names the first test that
      fails with what it expected and got, or the error with the line of `code`, or the limit that was hit; at most 400
      characters.

    Raises:
      UserError: there is no test, or no sandbox that `limits` allows works on this machine.
      RuntimeError: no process could be started.
    """
    if not (code or "").strip():
        return Verdict(correct=False, attempted=False, detail="no code")
    if not tests:
        raise UserError("run_tests was given no test, so any code would pass: give at least one")
    parts = [("the setup", setup or ""), (CANDIDATE, code)]
    named_tests = [(f"test {i}", test) for i, test in enumerate(tests, 1)]
    ending = run_candidate(Run("tests", parts, named_tests, entry=entry), limits)
    if ending.words == ("passed",):
        return Verdict(correct=True, attempted=True, detail=f"all {len(tests)} tests passed")
    return Verdict(correct=False, attempted=True, detail=detail_of(ending, limits, [*parts, *named_tests]))
