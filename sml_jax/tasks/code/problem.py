"""A problem whose answer is a program, and the cases that a program is judged by."""

from __future__ import annotations

from dataclasses import dataclass

from sml_jax.tasks.problems.types import Problem


@dataclass(frozen=True)
class IoCase:
    """What a whole program reads and must print.

    Attributes:
      stdin: the text on its standard input.
      stdout: the text that it must print.
    """

    stdin: str
    stdout: str


@dataclass(frozen=True)
class CallCase:
    """A call of one function and what it must return.

    Attributes:
      args: a JSON list, the positional arguments.
      expected: JSON, the value that must be returned; a tuple counts as a list.
    """

    args: str
    expected: str


Case = IoCase | CallCase


@dataclass(frozen=True)
class CodeProblem(Problem):
    """A problem that asks for Python code, which is judged by `tests` and then by `cases`. One of them is not empty.

    Attributes:
      tests: Python texts. Each raises on failure, and may use what the code and `setup` define.
      setup: Python text run before the code.
      cases: inputs and outputs.
      entry: the function (or method of `class Solution`) that is asked for; "" where the code is a whole program or
        the tests alone say it.
      prefix: the start of the program where a student only continues it (HumanEval's prompt).
    """

    tests: tuple[str, ...] = ()
    setup: str = ""
    cases: tuple[Case, ...] = ()
    entry: str = ""
    prefix: str = ""
